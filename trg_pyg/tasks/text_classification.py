"""Texts of one class each."""

from typing import ClassVar

from trg_pyg.tasks.image_classification import ImageClassification


class TextClassification(ImageClassification):
    """One class a text: loss, logits and score are those of images of one class each."""

    item: ClassVar[str] = "text"
