"""Clips of one class each."""

from typing import ClassVar

from trg_pyg.tasks.image_classification import ImageClassification


class VideoClassification(ImageClassification):
    """One class a clip: loss, logits and score are those of images of one class each."""

    item: ClassVar[str] = "clip"
