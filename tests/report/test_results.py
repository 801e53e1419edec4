from dataclasses import replace
from pathlib import Path

import pytest

from trg_pyg.cli.table import main
from trg_pyg.errors import InputError
from trg_pyg.report.results import Results, Run

RESULTS = Results(
    study="Digits/resnet20-resnet8",
    command="python experiments/run.py --seeds 0 1",
    settings={"train": {"epochs": 1}},
    environment={"python": "3.11"},
    teacher={"name": "resnet20", "metrics": {"top1": 99.0}},
    reference="KD",
    runs=[
        Run(method, seed, {"class_path": method}, [{"epoch": 1, "test/top1": top1, "best/top1": top1}])
        for method, seed, top1 in (("KD", 0, 50.0), ("KD", 1, 52.0), ("TRG", 0, 53.0), ("TRG", 1, 55.0))
    ],
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    RESULTS.write(tmp_path / "new" / "results.jsonl")
    assert Results.read(tmp_path / "new" / "results.jsonl") == RESULTS
    assert len((tmp_path / "new" / "results.jsonl").read_text().splitlines()) == 5


def test_the_report_has_title_table_and_command() -> None:
    lines = RESULTS.report().splitlines()
    assert lines[0] == "Digits/resnet20-resnet8, last epoch, seeds 0, 1"
    assert [line.split("|")[1].strip() for line in lines[4:7]] == ["teacher resnet20", "KD", "TRG"]
    assert lines[6].split("|")[4].strip() == "+3.00 [3.00, 3.00]"
    assert lines[-1] == "python experiments/run.py --seeds 0 1"


def test_several_files_are_several_tables(tmp_path: Path, capsys) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file in files:
        RESULTS.write(file)
    assert main([str(file) for file in files]) == 0
    assert capsys.readouterr().out.count("Digits/resnet20-resnet8, last epoch") == 2


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"epoch": 1}', '{"study": "x"}'])
def test_another_file_is_refused(text: str, tmp_path: Path, capsys) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=r"metrics.jsonl holds no results of trg run \(.*name a .jsonl file beside a"):
        Results.read(file)
    assert main([str(file)]) == 2
    assert "trg table: error: " in capsys.readouterr().err


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Results.read(tmp_path / "none.jsonl")


def changed(**values: object) -> Results:
    return replace(RESULTS, **values)


def one_run(**values: object) -> list[Run]:
    return [replace(RESULTS.runs[0], **values), *RESULTS.runs[1:]]


@pytest.mark.parametrize(
    ("results", "place"),
    [
        (changed(study=None), "study: None"),
        (changed(settings=[]), r"settings: \[\]"),
        (changed(teacher=["resnet20"]), "teacher: "),
        (changed(teacher={"name": "resnet20"}), "teacher: "),
        (changed(teacher={"name": 1, "metrics": {}}), "name of the teacher: 1"),
        (changed(teacher={"name": "resnet20", "metrics": {"top1": "high"}}), "metrics of the teacher: "),
        (changed(reference="SP"), "reference: 'SP'"),
        (changed(reference={}), "reference: {}"),
        (changed(runs=one_run(method=["KD"])), r"method: \['KD'\]"),
        (changed(runs=one_run(seed=True)), "seed of KD: True"),
        (changed(runs=one_run(distiller="KD")), "distiller of KD: 'KD'"),
        (changed(runs=one_run(history=[])), r"history of KD, seed 0: \[\]"),
        (changed(runs=one_run(history={"test/top1": 1.0})), "history of KD, seed 0: "),
        (changed(runs=one_run(history=[{"test/top1": None}])), "history of KD, seed 0: "),
        (changed(runs=one_run(history=[{"test/top1": float("inf")}])), "history of KD, seed 0: "),
        (changed(runs=one_run(history=[{"epoch": 1}])), "last epoch of KD, seed 0: {'epoch': 1}"),
    ],
)
def test_what_makes_no_table_is_refused(results: Results, place: str, tmp_path: Path) -> None:
    results.write(tmp_path / "table.jsonl")
    with pytest.raises(InputError, match=rf"table.jsonl holds no results of trg run \({place}"):
        Results.read(tmp_path / "table.jsonl")


def test_deeply_nested_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.jsonl").write_text("[" * 100_000)
    with pytest.raises(InputError, match="holds no results"):
        Results.read(tmp_path / "table.jsonl")


def test_a_metric_that_no_column_shows_may_be_infinite(tmp_path: Path) -> None:
    results = changed(runs=one_run(history=[{"test/top1": 50.0, "train/ce": float("inf")}]))
    results.write(tmp_path / "table.jsonl")
    assert Results.read(tmp_path / "table.jsonl") == results
