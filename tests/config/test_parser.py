import re

import pytest

from trg_pyg.config.choices import read_choices
from trg_pyg.config.parser import build_parser, overview
from trg_pyg.errors import InputError

SUBJECTS = ["data", "student", "teacher", "method", "training of the student", "tracking", "run"]


def options(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("  --")]


@pytest.fixture
def text(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return overview()


def test_the_help_is_grouped_by_subject_and_fits_the_terminal(text):
    headings = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == SUBJECTS
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 160
    assert "..." not in text.replace("--OPTION VALUE ...", "")


def test_every_option_is_there_once_but_for_those_of_the_teachers_training(text):
    defaults = build_parser().get_defaults().items()
    keys = {name.partition(".class_path")[0] for name, _ in defaults if ".init_args" not in name}
    known = {f"--{name}" for name in keys if not name.startswith("teacher.train.")}
    shown = [name for name in options(text) if name != "--teacher.train.OPTION"]
    assert len(set(shown)) == len(shown)
    assert set(shown) == known | {"--help", "--help_all", "--print_config"}


def test_a_line_has_what_the_option_is_its_values_and_its_default(text):
    words = " ".join(text.split())
    assert "--train.schedule learning rate over the steps: multistep, cosine, onecycle, constant [onecycle]" in words
    assert "--train.optimizer SGD, or AdamW with PyTorch's betas (0.9, 0.999) [SGD]" in words
    assert "--seeds one run of every method for each [0]" in words
    assert "class with options, such as {TRG k=4: {class_path: TRG, init_args: {k: 4}}} --reference" in words
    assert re.search("known: ADKD, AEKT, AT, .*, TRG, TRGPaper, .*, Vanilla, WKD, WTTM;", words)


def test_the_whole_text_is_there_as_well(capsys):
    whole = printed(["--help_all"], capsys)
    assert "--teacher.train.warmup_epochs" in whole
    assert "type: dict[str" in whole
    assert overview() not in whole
    assert printed(["-h"], capsys) == f"{overview()}\n"


def printed(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        read_choices(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_method_and_a_data_set_have_help_of_their_own(capsys):
    for option, first, expected in (
        ("--distiller.help=SP", "usage: trg run --distiller SP [--distiller.OPTION VALUE ...]", "--distiller.weight"),
        ("--data.help=Digits", "usage: trg run --data Digits [--data.OPTION VALUE ...]", "--data.imbalance"),
        ("--distiller.help=trg_pyg.distillers.trg.TRG", "usage: trg run --distiller TRG", "--distiller.k"),
    ):
        shown = printed([option], capsys)
        assert shown.startswith(first)
        assert expected in shown
        assert "--distiller.student" not in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--distiller.help", "TRGG"], "distiller.help=TRGG: no such class; did you mean TRG"),
        (["--data.help=Digitz"], "data.help=Digitz: no such class; did you mean Digits"),
        (["--distiller.help=torch.nn.Linear"], "distiller.help=torch.nn.Linear: no such class"),
        (["--distiller.help"], "distiller.help: name a class"),
    ],
)
def test_help_of_what_there_is_not_is_an_error(arguments, line):
    with pytest.raises(InputError, match=line):
        read_choices(arguments)
