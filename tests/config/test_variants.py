"""Rows under names of one's own: ``variants``."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.config.variants import check_variants, folder_name
from trg_pyg.distillers.kd import KD
from trg_pyg.errors import InputError
from trg_pyg.study.progress import Display
from trg_pyg.study.study import prepare

TABLE = """
variants:
  "TRG k=4": {class_path: TRG, init_args: {k: 4}}
  "TRG k=6": {class_path: TRG, init_args: {k: 6}}
  "KD 1/1": {class_path: KD, init_args: {ce_weight: 1, kd_weight: 1}}
"""
FOLDERS = {"TRG k=4": "TRG_k=4", "TRG k=6": "TRG_k=6", "KD 1/1": "KD_1_1"}


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text(TABLE)
    return file


def options(choices):
    return {method.name: method.settings["init_args"] for method in choices.methods}


def names(choices):
    return [method.name for method in choices.methods]


def test_variants_are_the_methods_unless_others_are_named(table):
    choices = read_choices([f"--config={table}"])
    assert names(choices) == list(FOLDERS)
    given = options(choices)
    assert [given[name]["k"] for name in ("TRG k=4", "TRG k=6")] == [4, 6]
    assert (given["KD 1/1"]["ce_weight"], given["KD 1/1"]["kd_weight"]) == (1.0, 1.0)
    assert "variants" not in choices.settings


def test_methods_name_variants_beside_classes(table):
    table.write_text(TABLE + "methods: [KD, 'KD 1/1', 'TRG k=6', 'TRG k=4']\nreference: KD 1/1\n")
    choices = read_choices([f"--config={table}"])
    assert names(choices) == ["KD", "KD 1/1", "TRG k=6", "TRG k=4"]
    assert choices.reference == "KD 1/1"
    # The command line picks rows, as it does of classes.
    assert names(read_choices([f"--config={table}", "--methods", "KD 1/1", "Vanilla"])) == ["KD 1/1", "Vanilla"]


def test_options_of_a_class_do_not_flow_into_its_variants(table):
    table.write_text(
        TABLE + "methods: [TRG, KD, 'TRG k=4', 'TRG k=6', 'KD 1/1']\n"
        "method_options: {TRG: {alpha: 3, k: 5}}\ndistiller: {class_path: KD, init_args: {tau: 2}}\n"
    )
    given = options(read_choices([f"--config={table}"]))
    assert (given["TRG"]["alpha"], given["TRG"]["k"], given["KD"]["tau"]) == (3.0, 5, 2.0)
    plain = options(read_choices(["--methods", "TRG", "KD"]))
    assert given["TRG k=4"] == plain["TRG"] | {"k": 4}
    assert given["KD 1/1"] == plain["KD"] | {"ce_weight": 1.0, "kd_weight": 1.0}


def test_a_class_without_options_is_a_variant_too(table):
    table.write_text("variants: {no teacher: Vanilla}\nmethods: [KD, no teacher]\n")
    choices = read_choices([f"--config={table}"])
    assert names(choices) == ["KD", "no teacher"]
    assert [method.needs_teacher for method in choices.methods] == [True, False]


# Among them a fullwidth dot and slash.
HARD = "a./\\\0 -~:é\uff0e\uff0f\n"


@settings(max_examples=100, deadline=None)
@given(name=st.text(st.sampled_from(HARD), min_size=1, max_size=12) | st.text(min_size=1, max_size=99))
def test_no_name_leads_out_of_the_folder_of_its_study(name):
    try:
        check_variants({name: "TRG"})
    except InputError:
        return
    part = Path(f"{folder_name(name)}-0123abcd")
    assert len(part.parts) == 1
    assert not part.is_absolute()
    assert not {"/", "\\", "\0", ":"} & set(str(part))
    assert len(str(part).encode()) < 255


def test_a_name_that_is_too_long_for_a_file_system_is_refused():
    check_variants({"é" * 100: "TRG"})
    with pytest.raises(InputError, match="300 bytes in a path; give a name of at most 200 bytes"):
        check_variants({"雪" * 100: "TRG"})


@pytest.mark.parametrize(
    ("name", "folder"),
    [("TRG k=4", "TRG_k=4"), ("KD 1/1", "KD_1_1"), ("../up", "up"), ("TRG é=0.5", "TRG_é=0.5"), ("TRG+KD", "TRG+KD")],
)
def test_a_folder_has_the_name_in_letters_that_a_path_may_have(name, folder):
    assert folder_name(name) == folder


def test_a_row_may_have_the_name_of_a_class_of_ones_own():
    class OwnMethod(KD):
        pass

    check_variants({OwnMethod.__name__: "TRG"})


K4 = "{class_path: TRG, init_args: {k: 4}}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"KD: {K4}", "variants.KD: that is the name of a class; give the row another name, such as KD 2"),
        (f"KD!: {K4}", "variants.KD!: that is the name of a class"),
        (f"mine.Method: {K4}", "variants.mine.Method: that is the name of a class; give the row another name"),
        (
            f"TRG+KD: {K4}",
            "variants.TRG+KD: +KD stands for a class joined with KD; give the row another name, and kd_w",
        ),
        (f"TRG k=4+KD: {K4}", "variants.TRG k=4+KD: +KD stands for a class joined with KD"),
        (f"4: {K4}", "variants: 4 is no text; write the name in quotes"),
        (f"'': {K4}", "variants: '' is no usable name; it needs a letter or a digit"),
        (f"'/': {K4}", "variants: '/' is no usable name; it needs a letter or a digit"),
        (f"'a|b': {K4}", "variants: 'a|b' is no usable name"),
        (f'"a\\nb": {K4}', r"variants: 'a\nb' is no usable name"),
        (f"'a ': {K4}", "variants: 'a ' is no usable name"),
        (f"{'a' * 101}: {K4}", "101 characters; give a name of at most 100"),
        ("a: {class_path: TRGG}", "variants.a: distiller=TRGG: no such class; did you mean TRG"),
        ("a: TRGG", "variants.a: distiller=TRGG: no such class; did you mean TRG"),
        ("a: {class_path: TRG, init_args: {alfa: 1}}", "variants.a: unknown option alfa of TRG; did you mean alpha"),
        ("a: {class_path: TRG, init_args: {k: few}}", "variants.a: distiller.k=few: expected int"),
        ("a: {class_path: no_such.Mine}", "variants.a: distiller=no_such.Mine: no module named no_such"),
        ("a: {k: 4}", "variants.a={'k': 4}: write {class_path: TRG, init_args: {k: 4}}"),
        ("a: {class_path: TRG, k: 4}", "variants.a={'class_path': 'TRG', 'k': 4}: write {class_path: TRG"),
        ("a: {class_path: TRG, init_args: 4}", "variants.a={'class_path': 'TRG', 'init_args': 4}: write {class_p"),
        ("a: 4", "variants=4: expected str or dict"),
        ("a: null", "variants=None: expected str or dict"),
        (f"a b: {K4}, a/b: TRG", "variants: a b and a/b would both have folders a_b-...; rename one"),
        (
            f"a: {K4}, b: {K4}",
            "methods: a and b are the same, class and options; leave one out, or change an option in v",
        ),
        ("a: TRG, b: {class_path: trg_pyg.distillers.trg.TRG, init_args: {k: 8}}", "methods: a and b are the same"),
    ],
)
def test_a_variant_that_cannot_be_is_one_line(table, text, line):
    table.write_text(f"variants: {{{text}}}\n")
    check_refused([f"--config={table}"], line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--methods", "TRG k=5"], "methods=TRG k=5: no such class or variant; did you mean TRG k=6, TRG k=4"),
        (["--methods", "TRG k=4+KD"], "methods=TRG k=4+KD: TRG k=4 is a variant, complete in itself; add a variant of"),
        (["--methods", "TRG k=4", "TRG k=4"], "methods: ['TRG k=4', 'TRG k=4'] names one twice"),
        (["--methods", "KD 1/1", "KD", "--distiller=KD", "--distiller.ce_weight=1", "--distiller.kd_weight=1"], "same"),
        (["--distiller=KD"], "variants.TRG k=4: nothing uses it; name it in methods, or leave it out"),
        (["--reference=TRG k=5"], "reference=TRG k=5: not among the methods; did you mean TRG k=6, TRG k=4?"),
        (["--variants=3"], "variants=3: expected dict"),
    ],
)
def test_a_bad_choice_among_variants_is_one_line(table, arguments, line):
    check_refused([f"--config={table}", *arguments], line)


def test_a_variant_that_the_methods_of_its_file_leave_out_is_refused(table):
    table.write_text(TABLE + "methods: [KD, 'TRG k=4']\n")
    check_refused([f"--config={table}"], "variants.TRG k=6: nothing uses it; name it in methods, or leave it out")


def check_refused(arguments, line):
    with pytest.raises(InputError) as error:
        read_choices(arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_impossible_option_names_the_variant(small, table):
    table.write_text("variants:\n  TRG 1: {class_path: TRG, init_args: {k: 3}}\n  TRG 2: TRG\n  TRG 3: {class_path: ")
    table.write_text(table.read_text() + "TRG, init_args: {gamma: -1}}\n")
    with pytest.raises(InputError, match=r"^variants\.TRG 3: .*gamma=-1"):
        prepare(read_choices([f"--config={table}", *small]))


def test_wandb_has_a_variant_by_its_name_with_options_where_every_run_has_them(small, table, monkeypatch):
    begun = []

    class Recorder:
        def __init__(self, folder, mode, **about):
            begun.append((about["name"], about["config"]))

        def log(self, metrics): ...

        def finish(self, failed): ...

    monkeypatch.setattr("trg_pyg.study.train.Tracker", Recorder)
    table.write_text("variants: {no teacher: Vanilla}\nmethods: [no teacher, Vanilla]\n")
    # Vanilla has no options to tell the two apart by.
    check_refused([f"--config={table}", *small], "methods: no teacher and Vanilla are the same")
    table.write_text("variants: {no teacher: Vanilla}\n")
    assert main([f"--config={table}", *small, "--train.epochs=1", "--quiet"]) == 0
    ((name, config),) = begun
    assert name == "no teacher seed 0"
    assert config["variants"] == {"no teacher": config["distiller"]}
    assert config["distiller"]["class_path"].endswith("Vanilla")


def weights(output: Path):
    files = sorted(output.glob("ImageFolder/*/*/seed*/last.safetensors"))
    return {f"{file.parent.parent.name} {file.parent.name}": load_file(file) for file in files}


def check_same(found, expected):
    assert found.keys() == expected.keys()
    for run, values in expected.items():
        assert [name for name, value in values.items() if not torch.equal(found[run][name], value)] == []


def test_variants_run_side_by_side_stop_resume_and_repeat_from_their_configs(
    small, table, tmp_path, capsys, monkeypatch
):
    # KD itself beside them: its folder is that of a class, as ever.
    given = [f"--config={table}", *small, "--seeds", "0", "1", "--quiet"]
    several = [*given, "--methods", "KD", *FOLDERS]
    ablation = tmp_path / "tables" / "ablation.md"
    assert main([*several, f"--table={ablation}"]) == 0
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line[:2] == "| "]
    assert [line[0] for line in lines] == ["method", "teacher resnet8", "KD", *FOLDERS]
    assert lines[0][-1] == "top-1 over KD [95 %]"
    assert ["[" in line[-1] for line in lines[1:]] == [False, False, True, True, True]
    assert ablation.read_text() in printed
    assert not list((tmp_path / "runs").rglob("table.md"))
    whole = weights(tmp_path / "runs")
    folders = {run.split()[0].rpartition("-")[0] for run in whole}
    assert folders == {"KD", *FOLDERS.values()}
    # The teacher run once, stopped after an epoch of some of them, and gone on with.
    shared = [*several, "--share_teacher=true", f"--output={tmp_path / 'shared'}"]

    class Stopped(Exception):
        pass

    def stop(display, metrics):
        if "TRG k=4 seed 1" in display.title:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Display, "epoch", stop)
        with pytest.raises(Stopped):
            main(shared)
    assert main([*shared, "--resume"]) == 0
    check_same(weights(tmp_path / "shared"), whole)
    # Each is done again by its own configuration, under its name, in a folder of the same name.
    again = tmp_path / "again"
    for name, folder in FOLDERS.items():
        (run,) = (tmp_path / "runs").glob(f"ImageFolder/*/{folder}-*/seed1")
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert list(config["variants"]) == [name]
        common = ["--wandb=disabled", "--device=cpu", "--quiet", f"--output={again}"]
        assert main([f"--config={run / 'config.yaml'}", *common]) == 0
        assert f"| {name} " in capsys.readouterr().out
    check_same(weights(again), {run: value for run, value in whole.items() if run[:3] != "KD-" and run[-1] == "1"})
