"""Texts of one class each, as numbers in memory."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, NamedTuple

import torch

from trg_pyg.data.base import Data
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.splits.holdout import holdout_indices
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.errors import InputError
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.text_classification import TextClassification


@dataclass(frozen=True, eq=False)
class TextSet(InputSet):
    """Texts and their classes; ``inputs`` are what :meth:`~trg_pyg.data.text.vocabulary.Vocabulary.encode` gives.

    Attributes:
        vocabulary: how they became numbers.
    """

    task: ClassVar[Task] = TextClassification()

    vocabulary: Vocabulary | None = None


class Texts(NamedTuple):
    """Texts as they were read.

    Attributes:
        texts: N of them.
        labels: of each.
    """

    texts: list[str]
    labels: list[str]


class TextData(Data):
    """Base class of the sets of texts: a subclass implements ``_texts``.

    Args:
        max_tokens: pieces of a text that networks see, the one that it begins with included; see
            :class:`~trg_pyg.data.text.vocabulary`.
        words: in the vocabulary, at most: the commonest of the training texts, before any of them are held out.
        imbalance: as of :class:`~trg_pyg.data.base.Data`.
        subset_seed: as of :class:`~trg_pyg.data.base.Data`; chooses the test texts too, where there are none.
        validation: as of :class:`~trg_pyg.data.base.Data`.
        heldout: as of :class:`~trg_pyg.data.base.Data`.
    """

    def __init__(
        self,
        max_tokens: int = 64,
        words: int = 4000,
        imbalance: float | None = None,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(imbalance, subset_seed, validation, heldout)
        self.max_tokens, self.words = max_tokens, words
        # Of a network that is to see the texts; None has one made of the training texts.
        self.vocabulary: Vocabulary | None = None

    @abstractmethod
    def _texts(self) -> tuple[Texts, Texts | None]:
        """Return the training texts, and the test texts, or None to have a share of each class held out."""

    def _vocabulary(self, training: Sequence[str]) -> Vocabulary:
        return Vocabulary.of(training, self.words, self.max_tokens)

    # Of each class, where there are no test texts.
    _test_share: float = 0.2

    def _read(self) -> tuple[TextSet, TextSet, tuple[str, ...]]:
        train, test = self._texts()
        classes = tuple(sorted(set(train.labels)))
        if test is None:
            targets = _numbers(train.labels, classes, "training")
            held = holdout_indices(targets, classes, self._test_share, self.subset_seed, item="text").tolist()
            left = sorted({*range(len(train.texts))} - {*held})
            train, test = _part(train, left), _part(train, held)
        vocabulary = self.vocabulary or self._vocabulary(train.texts)
        return self._set(train, classes, vocabulary, "training"), self._set(test, classes, vocabulary, "test"), classes

    def _set(self, part: Texts, classes: tuple[str, ...], vocabulary: Vocabulary, split: str) -> TextSet:
        targets = _numbers(part.labels, classes, split)
        digest = hashlib.sha256(json.dumps([part, asdict(vocabulary)]).encode()).hexdigest()
        return TextSet(vocabulary.encode(part.texts), targets, digest, vocabulary=vocabulary)


def _part(texts: Texts, index: Sequence[int]) -> Texts:
    return Texts(*([each[at] for at in index] for each in texts))


def _numbers(labels: Sequence[str], classes: Sequence[str], split: str) -> torch.Tensor:
    number = {name: at for at, name in enumerate(classes)}
    for place, label in enumerate(labels, 1):
        if label not in number:
            raise InputError(
                f"label {label!r} of {split} text {place} is none of the training labels, {', '.join(classes)}; "
                "correct it, or add training texts of it"
            )
    return torch.tensor([number[label] for label in labels], dtype=torch.int64)
