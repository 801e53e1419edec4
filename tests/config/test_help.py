import pytest

from trg_pyg.config.choices import build_parser, read_choices
from trg_pyg.config.help import GroupedParser, overview
from trg_pyg.errors import InputError

SUBJECTS = ["data", "student", "teacher", "method", "training of the student", "tracking", "run"]


def options(text):
    return [line.split()[0] for line in text.splitlines() if line.startswith("  --")]


@pytest.fixture
def text(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return build_parser().format_help()


def test_the_help_is_grouped_by_subject_and_fits_the_terminal(text):
    headings = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == SUBJECTS
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 140
    assert "..." not in text.replace("--OPTION VALUE ...", "")


def test_every_option_is_there_once_but_for_those_of_the_teachers_training(text):
    known = {
        name
        for action in build_parser()._actions
        for name in action.option_strings
        if name.startswith("--") and not name.endswith(("+", ".help"))
    }
    left_out = {name for name in known if name.startswith("--teacher.train")} | {"--student", "--teacher", "--train"}
    shown = [name for name in options(text) if name != "--teacher.train.OPTION"]
    assert len(set(shown)) == len(shown)
    assert set(shown) == known - left_out - {"--auto_resume"}


def test_a_line_has_what_the_option_is_its_values_and_its_default(text):
    words = " ".join(text.split())
    assert "--train.schedule learning rate over the steps: multistep, cosine, onecycle, constant [onecycle]" in words
    assert "--train.optimizer SGD, or AdamW with PyTorch's betas (0.9, 0.999) [SGD]" in words
    assert "--seeds one run of every method for each [0]" in words
    assert "class with options, such as {TRG k=4: {class_path: TRG, init_args: {k: 4}}} --reference" in words
    assert "known: AT, CC, CRD, DKD, FitNet, HKD, IRG, KD, LSP, PKT, RKD, SP, TRG, TRGPaper, VID, Vanilla;" in words


def test_the_whole_text_is_there_as_well(capsys):
    with pytest.raises(SystemExit) as ended:
        read_choices(["--help_all"])
    assert ended.value.code == 0
    whole = capsys.readouterr().out
    assert "--teacher.train.warmup_epochs" in whole
    assert "type: dict[str" in whole


def test_a_method_and_a_data_set_have_help_of_their_own(capsys):
    for option, expected in (("--distiller.help=SP", "--distiller.weight"), ("--data.help=Digits", "--data.imbalance")):
        with pytest.raises(SystemExit) as ended:
            read_choices([option])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert expected in shown
        assert "--distiller.student" not in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--distiller.help", "TRGG"], "distiller.help=TRGG: no such class; did you mean TRG"),
        (["--data.help=Digitz"], "data.help=Digitz: no such class; did you mean Digits"),
        (["--distiller.help"], "distiller.help: name a class"),
    ],
)
def test_help_of_what_there_is_not_is_an_error(arguments, line):
    with pytest.raises(InputError, match=line):
        read_choices(arguments)


def test_other_parsers_are_as_jsonargparse_has_them():
    parser = GroupedParser(prog="other")
    parser.add_argument("--x", help="a number; or none")
    assert "a number; or none" in parser.format_help()
    assert "a number\n" in overview(parser)
