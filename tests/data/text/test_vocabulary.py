import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from trg_pyg.data import DataFacts, Vocabulary
from trg_pyg.errors import InputError


def test_words_are_numbered_by_how_common_they_are_behind_padding_unknown_and_beginning():
    vocabulary = Vocabulary.of(["The tea, the TEA!", "the bread"], most=3, max_tokens=6)
    assert vocabulary.words == ("the", "tea", "!")
    assert len(vocabulary) == 6
    found = vocabulary.encode(["tea the wine", "the the the the the the the"])
    assert found["input_ids"].tolist() == [[2, 4, 3, 1, 0, 0], [2, 3, 3, 3, 3, 3]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert vocabulary.pieces([2, 4, 1, 0]) == ["[text]", "tea", "[unknown]", "[pad]"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 1, "words": ("a",)}, "max_tokens 1 is below 2"),
        ({"max_tokens": 4}, "words, or a tokenizer"),
        ({"max_tokens": 4, "words": ("a",), "tokenizer": "{}"}, "words, or a tokenizer"),
    ],
)
def test_impossible_vocabularies_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Vocabulary(**options)


def test_texts_without_a_word_make_none():
    with pytest.raises(InputError, match="no text has a word"):
        Vocabulary.of([" "], 5, 5)


class Library:
    """What of the library tokenizers is used: pieces are letters."""

    def __init__(self) -> None:
        self.told: dict[str, object] = {}

    @classmethod
    def from_str(cls, content: str) -> "Library":
        json.loads(content)
        return cls()

    def token_to_id(self, piece: str) -> int | None:
        return None

    def enable_truncation(self, length: int) -> None:
        self.length = length

    def enable_padding(self, **told: object) -> None:
        self.told = told

    def get_vocab_size(self) -> int:
        return 300

    def encode_batch(self, texts: list[str]) -> list[SimpleNamespace]:
        rows = [list(map(ord, text[: self.length])) for text in texts]
        pad = self.told["pad_id"]
        return [
            SimpleNamespace(
                ids=row + [pad] * (self.length - len(row)),
                attention_mask=[1] * len(row) + [0] * (self.length - len(row)),
            )
            for row in rows
        ]


@pytest.fixture
def library(monkeypatch):
    module = ModuleType("tokenizers")
    module.Tokenizer = Library  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tokenizers", module)


def test_a_tokenizer_pads_as_its_file_says(library):
    vocabulary = Vocabulary(4, tokenizer=json.dumps({"padding": {"pad_id": 7, "pad_token": "<p>"}}))
    assert len(vocabulary) == 300
    assert vocabulary.encode(["ab"])["input_ids"].tolist() == [[97, 98, 7, 7]]
    assert vocabulary.encode(["ab"])["attention_mask"].tolist() == [[1, 1, 0, 0]]
    with pytest.raises(InputError, match="text '': the tokenizer makes no piece of it; take it out"):
        vocabulary.encode(["ab", ""])


@pytest.mark.parametrize(
    ("content", "message"), [("{", "no tokenizer.json of the library"), ("{} ", r"neither padding nor a piece \[PAD\]")]
)
def test_what_is_no_tokenizer_is_refused(content, message, library):
    with pytest.raises(InputError, match=message):
        Vocabulary(4, tokenizer=content)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'trg_pyg\[text\]'"):
        Vocabulary(5, tokenizer="{}")


def test_a_run_keeps_it_with_its_classes(tmp_path):
    facts = DataFacts(("bad", "good"), 0, (), (), "abc", Vocabulary(9, ("tea", "é")))
    facts.write(tmp_path)
    assert DataFacts.read(tmp_path) == facts
    (tmp_path / "data.json").write_text((tmp_path / "data.json").read_text().replace('"tea"', "5"))
    with pytest.raises(InputError, match="is damaged"):
        DataFacts.read(tmp_path)


def test_a_tokenizer_json_of_the_real_library_is_read_and_applied():
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "tea", "lov", "##ely"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    vocabulary = Vocabulary(6, tokenizer=made.to_str())
    assert len(vocabulary) == 7
    found = vocabulary.encode(["Lovely TEA", "tea " * 9])
    # Cut off before its end is put on, as BERT sees it; padding by the piece [PAD], of which the file says nothing.
    assert found["input_ids"].tolist() == [[2, 5, 6, 4, 3, 0], [2, 4, 4, 4, 4, 3]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    assert vocabulary.pieces([2, 5, 6, 4, 3]) == ["[CLS]", "lov", "##ely", "tea", "[SEP]"]
