from pathlib import Path

import pytest

from trg_pyg.errors import InputError
from trg_pyg.report.comparison import studies_of
from trg_pyg.report.rows import accuracy_table, recipes_table, result_rows
from trg_pyg.report.runs import Found
from trg_pyg.report.table import results_table
from trg_pyg.runs import Run

SHA = "ab" * 32


def record(method="KD", seed=0, top1=50.0, *, epochs=2, done=2, sha256=SHA, options=None, source="a", **train):
    """A run of two epochs; without ``sha256`` it has no teacher."""
    settings = {
        "data": {"class_path": "trg_pyg.data.Digits", "init_args": {"imbalance": None}},
        "student": {"name": "resnet8"},
        "train": {"epochs": epochs, "lr": 0.1, **train},
    }
    if sha256:
        settings["teacher"] = {"name": "resnet20", "weights": f"{source}.pth"}
    history = [{"epoch": i + 1, "test/top1": top1 - done + 1 + i, "ms_per_step": 1.0 + i} for i in range(done)]
    return Run(
        method=method,
        seed=seed,
        distiller={"class_path": f"trg_pyg.distillers.{method}", "init_args": options or {}},
        settings=settings,
        history=history,
        command="run",
        environment={},
        teacher={"sha256": sha256, "test_top1": 90.0} if sha256 else None,
        source=Path(source),
    )


def one(*runs, reference=None, **found):
    (study,) = studies_of(Found(list(runs), **found), reference)
    return study


@pytest.mark.parametrize(
    "other",
    [{"lr": 0.2}, {"sha256": "cd" * 32}, {"epochs": 1, "done": 1}, {"weight_decay": 0.1}, {"precision": "bf16"}],
)
def test_runs_that_differ_in_recipe_or_teacher_are_no_study(other):
    studies = studies_of(Found([record(), record("TRG", **other)]), None)
    assert [list(study.methods) for study in studies] == [["KD"], ["TRG"]]
    assert len({study.title for study in studies}) == 2
    assert all(study.title.startswith("Digits/resnet20-resnet8, ") for study in studies)


@pytest.mark.parametrize("other", [{"compile": True}, {"eval_every": 2}, {"nonfinite": "skip"}, {"source": "b"}])
def test_what_changes_no_result_does_not_part_runs(other):
    assert list(one(record(), record("TRG", **other)).methods) == ["KD", "TRG"]


def test_a_run_without_a_teacher_belongs_to_every_study_of_its_recipe():
    runs = [record(), record(sha256="cd" * 32), record("Vanilla", sha256=None), record("Vanilla", sha256=None, lr=9)]
    studies = studies_of(Found(runs), None)
    assert [list(study.methods) for study in studies] == [["KD", "Vanilla"], ["KD", "Vanilla"], ["Vanilla"]]
    assert [study.teacher for study in studies] == [("resnet20", {"top1": 90.0})] * 2 + [None]


def test_unfinished_runs_are_in_no_row():
    study = one(record(), record("TRG", 0, 60.0), record("TRG", 1, 99.0, done=1), record("SP", done=0))
    assert [(run.method, run.seed) for run in study.unfinished] == [("TRG", 1), ("SP", 0)]
    assert list(study.methods["TRG"]) == [0]
    assert "SP" not in study.methods


def test_options_tell_methods_of_one_name_apart():
    study = one(record(options={"weight": 1.0, "tau": 4}), record(options={"weight": 4.0, "tau": 4}, source="b"))
    assert list(study.methods) == ["KD (weight=1.0)", "KD (weight=4.0)"]
    assert study.reference is None
    assert "There is no KD among these runs, so nothing is compared" in study.notes[0]


def test_a_training_counts_once_and_two_with_other_results_are_refused():
    study = one(record(), record(source="b"))
    assert len(study.runs) == 1
    assert study.notes[0].startswith("1 run given twice with the same results")
    with pytest.raises(InputError, match="KD seed 0 is in a and in b with other results; leave one of them out"):
        one(record(), record(top1=51.0, source="b"))


def test_the_reference_is_the_one_asked_for_else_kd_else_that_of_the_files():
    runs = [record("SP"), record("TRG")]
    assert one(*runs).reference is None
    assert one(*runs, references={Path("a"): "SP"}).reference == "SP"
    assert one(*runs, record("KD"), references={Path("a"): "SP"}).reference == "KD"
    assert one(*runs, record("KD"), reference="TRG").reference == "TRG"
    with pytest.raises(InputError, match="reference=TGR: no method of that name has a finished run; did you mean TRG"):
        one(*runs, reference="TGR")


def test_the_teacher_has_the_metrics_of_a_results_file_of_its_weights():
    known = {"sha256": SHA, "test_top1": 90.0, "metrics": {"top1": 90.0, "top5": 99.0}}
    other = {"sha256": "cd" * 32, "test_top1": 90.0, "metrics": {"top1": 1.0}}
    study = one(record(), teachers=[other, known])
    assert study.teacher == ("resnet20", {"top1": 90.0, "top5": 99.0})
    assert one(record(), teachers=[other]).teacher == ("resnet20", {"top1": 90.0})


def test_figures_are_those_of_the_table_of_trg_run():
    tops = {"KD": (50.0, 52.0, 51.0), "TRG": (53.0, 56.0, 52.5)}
    runs = [record(method, seed, top) for method, of_seeds in tops.items() for seed, top in enumerate(of_seeds)]
    study = one(*runs)
    table = accuracy_table(study, result_rows(study))
    histories = {name: [run.history for run in of_method.values()] for name, of_method in study.methods.items()}
    lines = results_table(study.teacher, histories, "KD").splitlines()
    expected = {cells[0]: cells for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    for row in table:
        of_trg_run = expected[row[0]]
        assert row[1] == of_trg_run[1]  # top-1
        assert row[2] == of_trg_run[-1]  # over KD
    assert table[0][:4] == ["method", "top-1", "top-1 over KD [95 %]", "p"]
    assert table[-1][3] == "0.060"  # of 3, 4 and 1.5: t = 2.833 / 0.726 = 3.900, two degrees of freedom


def test_methods_are_paired_on_the_seeds_that_both_have():
    runs = [*(record("KD", seed, 50.0 + seed) for seed in (0, 1)), *(record("TRG", seed, 60.0) for seed in (1, 2))]
    study = one(*runs, record("SP", 5))
    rows = {row.name: row for row in result_rows(study)}
    assert rows["TRG"].common == [1]
    assert rows["TRG"].difference.mean == 9
    assert rows["SP"].difference is None
    table = accuracy_table(study, list(rows.values()))
    assert table[0] == ["method", "seeds", "top-1", "top-1 over KD"]
    assert [row[1] for row in table[2:]] == ["0, 1", "1, 2", "5"]
    assert [row[3] for row in table[2:]] == ["", "+9.00 (seed 1)", "no seed in common"]


def test_recipes_of_a_pair_are_in_one_table_that_says_what_differs():
    runs = [record(), record("TRG", 0, 53.0), record("TRG", 1, 55.0)]
    others = [record(top1=60.0, lr=0.2, epochs=1, done=1), record("TRG", 0, 61.5, lr=0.2, epochs=1, done=1)]
    studies = studies_of(Found([*runs, *others]), None)
    assert [study.recipe for study in studies] == [
        {"train.epochs": 2, "train.lr": 0.1},
        {"train.epochs": 1, "train.lr": 0.2},
    ]
    assert [study.title.partition(", ")[2] for study in studies] == ["2 epochs, train.lr 0.1", "1 epoch, train.lr 0.2"]
    table = recipes_table("Digits/resnet20-resnet8", studies)
    assert table.rows == [
        ["method", "epochs", "train.lr", "seeds", "top-1", "top-1 over KD"],
        ["KD", "2", "0.1", "0", "50.00", ""],
        ["TRG", "2", "0.1", "0, 1", "54.00 ± 1.41", "+3.00 (seed 0)"],
        ["KD", "1", "0.2", "0", "60.00", ""],
        ["TRG", "1", "0.2", "0", "61.50", "+1.50"],
    ]


def test_recipes_without_a_reference_have_an_empty_cell():
    studies = studies_of(Found([record(), record("TRG", lr=0.2), record("SP", lr=0.2)]), None)
    assert [row[-1] for row in recipes_table("pair", studies).rows] == ["top-1 over KD", "", "", ""]
