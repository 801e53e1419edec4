"""Texts as numbers: the pieces that a text is cut in, and which number each has."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trg_pyg.errors import InputError, require

# Of a vocabulary of words: padding, a word that is not in it, and what every text begins with.
_PADDING, _UNKNOWN, _BEGIN = 0, 1, 2
_SPECIAL = 3
_PIECES = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Vocabulary:
    """How texts become numbers: by a list of words, or by a file of the library ``tokenizers``.

    Of a list, pieces are words and punctuation marks in lower case. Number 0 is padding, 1 a word that is not in it,
    and every text begins with 2, whose features stand for the whole text.

    Attributes:
        max_tokens: pieces of a text that networks see, the first one included, >= 2; what comes after is cut off, and
            shorter texts are padded.
        words: the words, the commonest first; empty where there is a file.
        tokenizer: content of a ``tokenizer.json``; empty where there are words.

    Raises:
        InputError: there are neither words nor a file or both, fewer than 2 tokens, or the file is none, or
            ``tokenizers`` is not installed.
    """

    max_tokens: int
    words: tuple[str, ...] = ()
    tokenizer: str = ""

    def __post_init__(self) -> None:
        require(self.max_tokens >= 2, f"max_tokens {self.max_tokens} is below 2; a text has a beginning and a word")
        require(bool(self.words) != bool(self.tokenizer), "a vocabulary has words, or a tokenizer: give one of them")
        if self.tokenizer:
            _library(self.tokenizer, self.max_tokens)

    @classmethod
    def of(cls, texts: Iterable[str], most: int, max_tokens: int) -> "Vocabulary":
        """Return that of the commonest words of some texts.

        Args:
            texts: those that are trained on.
            most: words, at most, >= 1; of those that are as common the first in the alphabet.
            max_tokens: as above.
        """
        require(most >= 1, f"words {most} is below 1; it is how many the vocabulary has at most")
        counts = Counter(piece for text in texts for piece in _pieces(text))
        words = sorted(counts, key=lambda word: (-counts[word], word))[:most]
        require(bool(words), "no text has a word: nothing to make a vocabulary of")
        return cls(max_tokens, tuple(words))

    def __len__(self) -> int:
        """Return how many numbers there are."""
        if self.tokenizer:
            size: int = _library(self.tokenizer, self.max_tokens).get_vocab_size()
            return size
        return _SPECIAL + len(self.words)

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return what networks are given of texts.

        Returns:
            ``input_ids`` and ``attention_mask``, which is 1 at pieces and 0 at padding, both int64
            ``[texts, max_tokens]``.

        Raises:
            InputError: a text has no piece.
        """
        if self.tokenizer:
            found = _library(self.tokenizer, self.max_tokens).encode_batch(list(texts))
            ids = torch.tensor([each.ids for each in found], dtype=torch.int64)
            mask = torch.tensor([each.attention_mask for each in found], dtype=torch.int64)
            none = next((text for text, each in zip(texts, found, strict=True) if not any(each.attention_mask)), None)
            require(none is None, f"text {none!r}: the tokenizer makes no piece of it; take it out")
        else:
            number = {word: at for at, word in enumerate(self.words, _SPECIAL)}
            ids = torch.full((len(texts), self.max_tokens), _PADDING, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, text in enumerate(texts):
                pieces = [_BEGIN, *(number.get(piece, _UNKNOWN) for piece in _pieces(text))][: self.max_tokens]
                ids[row, : len(pieces)] = torch.tensor(pieces)
                mask[row, : len(pieces)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the pieces that numbers stand for.

        Of a list ``[pad]``, ``[unknown]`` and ``[text]``, the beginning, are no words. Of a file they are as it says.
        """
        if self.tokenizer:
            library = _library(self.tokenizer, self.max_tokens)
            return [library.id_to_token(number) for number in ids]
        names = ("[pad]", "[unknown]", "[text]", *self.words)
        return [names[number] for number in ids]


def _pieces(text: str) -> list[str]:
    return _PIECES.findall(text.lower())


@lru_cache(maxsize=4)
def _library(content: str, max_tokens: int) -> Any:
    """Return a tokenizer that cuts off and pads, of the content of its file."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError("a tokenizer.json is read by tokenizers: pip install 'trg_pyg[text]'") from error
    try:
        tokenizer = Tokenizer.from_str(content)
        padding = json.loads(content).get("padding") or {}
    except Exception as error:  # the library raises this class itself
        reason = " ".join(str(error).split())
        raise InputError(f"tokenizer: no tokenizer.json of the library tokenizers: {reason}") from error
    pad = padding.get("pad_token", "[PAD]")
    number = padding.get("pad_id", tokenizer.token_to_id(pad))
    require(number is not None, "tokenizer: it has neither padding nor a piece [PAD]; take one that says how it pads")
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(length=max_tokens, pad_id=number, pad_token=pad)
    return tokenizer
