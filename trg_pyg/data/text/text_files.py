"""Texts and labels in files: comma- or tab-separated values, or lines of JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trg_pyg.data.text.text_data import TextData, Texts
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.errors import InputError, few, near, require

_KINDS = (".csv", ".tsv", ".jsonl")


class TextFiles(TextData):
    """Texts of one class each, a text a row: ``.csv`` and ``.tsv`` with a line of names, or ``.jsonl``.

    Files are UTF-8. Tabs separate without quotation marks; a comma, a quotation mark or a line break in a cell of
    ``.csv`` is quoted as spreadsheets do it. Classes are numbered in the order of their names.

    Args:
        train_file: the texts that are trained on.
        test_file: the texts to evaluate on; None holds out a fifth of each class of ``train_file``.
        text: column, or key, of the text.
        label: column, or key, of the class.
        tokenizer: a ``tokenizer.json`` of the library tokenizers, such as pretrained networks come with; None makes a
            vocabulary of the training texts.
        max_tokens: pieces of a text that networks see; what comes after is cut off.
        words: in a vocabulary of the training texts, at most.
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training text.
        subset_seed: chooses the texts that are held out, and those that a long-tailed split takes.
        validation: share of each class of the training texts, in (0, 1), that is held out and takes the place of the
            test texts; None evaluates on the test texts.
        heldout: share of each class of the training texts, in (0, 1), by which the best epoch is chosen, and of which
            methods may learn.
    """

    def __init__(
        self,
        train_file: str,
        test_file: str | None = None,
        text: str = "text",
        label: str = "label",
        tokenizer: str | None = None,
        max_tokens: int = 64,
        words: int = 4000,
        imbalance: float | None = None,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        super().__init__(max_tokens, words, imbalance, subset_seed, validation, heldout)
        self.train_file = Path(train_file).expanduser()
        self.test_file = None if test_file is None else Path(test_file).expanduser()
        self.text, self.label = text, label
        self.tokenizer = None if tokenizer is None else Path(tokenizer).expanduser()

    def _texts(self) -> tuple[Texts, Texts | None]:
        test = None if self.test_file is None else read_texts(self.test_file, self.text, self.label)
        return read_texts(self.train_file, self.text, self.label), test

    def _vocabulary(self, training: Sequence[str]) -> Vocabulary:
        if self.tokenizer is None:
            return super()._vocabulary(training)
        return Vocabulary(self.max_tokens, tokenizer=_content(self.tokenizer))


def read_texts(file: Path, text: str, label: str) -> Texts:
    """Return the texts of a file with their labels.

    Args:
        file: ``.csv``, ``.tsv`` or ``.jsonl``.
        text: column of the text.
        label: column of the class.

    Raises:
        InputError: the file cannot be read, is not UTF-8, lacks a column or is damaged, or a text or a label is empty.
    """
    require(
        file.suffix.lower() in _KINDS,
        f"{file}: texts are read of files that end in {', '.join(_KINDS)}; save it as one of them",
    )
    content = _content(file)
    rows = _of_json(content, file) if file.suffix.lower() == ".jsonl" else _of_table(content, file)
    found = Texts([], [])
    for place, row in rows:
        for column, cells in ((text, found.texts), (label, found.labels)):
            require(
                column in row,
                f"{place}: no column {column!r}{near(column, list(row), '')}; it has {', '.join(map(str, row))}: set "
                f"data.{'text' if cells is found.texts else 'label'}",
            )
            cell = row[column]
            cell = str(cell) if isinstance(cell, int) and cells is found.labels else cell
            require(
                isinstance(cell, str) and bool(cell.strip()),
                f"{place}: {column!r} is {'empty' if cell is None or isinstance(cell, str) else repr(cell)}; give a "
                "text, or take the row out",
            )
            cells.append(cell if cells is found.texts else cell.strip())
    require(bool(found.texts), f"{file}: it has no texts")
    return found


def _content(file: Path) -> str:
    require(file.is_file(), f"{file}: no such file")
    try:
        data = file.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8, such as by "
            f"iconv -f latin1 -t utf8 {file.name}"
        ) from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def _of_table(content: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # Lines end as files' do: text of the web has characters that Python, too, takes for the end of one.
    lines = io.StringIO(content, newline="")
    if file.suffix.lower() == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, strict=True)
    try:
        names = next(reader, [])
        twice = few([name for name, times in Counter(names).items() if times > 1])
        require(not twice, f"{file}, line 1: {twice} names several columns; name each once")
        for row in reader:
            if not row:
                continue
            require(
                len(row) == len(names),
                f"{file}, line {reader.line_num}: {len(row)} cells under {len(names)} names; quote what has a "
                "separator in it, or mend the row",
            )
            yield f"{file}, line {reader.line_num}", dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}; mend the row") from error


def _of_json(content: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: no JSON: {error}; give one object a line") from error
        require(isinstance(row, dict), f'{place}: no object; give lines such as {{"text": "...", "label": "..."}}')
        yield place, row
