"""A small English set that comes with the package: nothing to download, trains in minutes."""

from pathlib import Path

from trg_pyg.data.text.text_data import TextData, Texts
from trg_pyg.data.text.text_files import read_texts


class Reviews(TextData):
    """1,200 short reviews of a tea room in three classes, a fifth of each held out for testing.

    They were not written by guests: a script puts two opinions together out of parts written for it
    (``experiments/data/reviews.py``). Two good opinions are praise, two bad ones a complaint, one of each is mixed, and
    every fifth opinion is turned round by a negation. Test texts are of the same parts as training texts, so accuracies
    say nothing of other English.

    Args:
        max_tokens: pieces of a text that networks see; the longest review has 30.
        words: in the vocabulary, at most.
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training text.
        subset_seed: chooses the test texts, the validation texts among the others, and those that a long-tailed
            split takes.
        validation: share of each class of the training texts, in (0, 1), that is held out and takes the place of the
            test texts; None evaluates on the test texts.
        heldout: share of each class of the training texts, in (0, 1), by which the best epoch is chosen, and of which
            methods may learn.
    """

    def __init__(
        self,
        max_tokens: int = 32,
        words: int = 4000,
        imbalance: float | None = None,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(max_tokens, words, imbalance, subset_seed, validation, heldout)

    def _texts(self) -> tuple[Texts, None]:
        return read_texts(Path(__file__).with_name("reviews.tsv"), "text", "label"), None
