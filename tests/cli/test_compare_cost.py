import shutil

import pytest

from trg_pyg.cli.compare_cost import main

QUICK = ["--batches", "1", "4", "--rounds", "2", "--device", "cpu"]


def first_cells(out):
    return [row.strip("|").split("|")[0].strip() for row in out.splitlines() if row.startswith("| ")]


def copy(run, place, old, new):
    folder = shutil.copytree(run, place)
    config = folder / "config.yaml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    return folder


def test_a_student_stands_beside_its_teacher(finished_run, capsys):
    # Twice, as several seeds would be.
    assert main([str(finished_run), str(finished_run), *QUICK]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("images of 16x16, cpu (")
    assert "batch 4: student resnet8 takes " in err
    assert first_cells(out) == ["", "teacher resnet14", "student resnet8", "gain"]


def test_neither_the_data_nor_the_weights_of_the_teacher_are_needed(finished_run, tmp_path, capsys):
    run = copy(finished_run, tmp_path / "run", str(finished_run.parents[4]), "gone")
    assert main([str(run), *QUICK]) == 0
    assert "teacher resnet14" in capsys.readouterr().out


def test_a_run_without_a_teacher_stands_alone(finished_run, capsys):
    (teacher,) = (finished_run.parents[3] / "teachers").glob("*/resnet14-*")
    assert main([str(teacher), *QUICK]) == 0
    assert first_cells(capsys.readouterr().out) == ["", "resnet14"]


def test_what_cannot_be_compared_is_refused(finished_run, tmp_path, capsys):
    other = copy(finished_run, tmp_path / "teacher", "name: resnet14", "name: resnet20")
    assert main([str(finished_run), str(other), *QUICK]) == 2
    assert f"{other}: its teacher is resnet20, that of {finished_run} resnet14" in capsys.readouterr().err
    facts = other / "data.json"
    facts.write_text(facts.read_text().replace('"image_size": 16', '"image_size": 32'))
    assert main([str(finished_run), str(other), *QUICK]) == 2
    assert "compare runs of the same kind of data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batches", "0"], "--batches 0: give 1 or more"),
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
        (["--minutes", "0"], "--minutes 0: give more than 0"),
        (["--round", "2"], "unknown option --round; did you mean --rounds?"),
        (["--rounds", "few"], "--rounds few: expected int"),
        (["--rounds"], "--rounds: one argument expected; --help describes it"),
    ],
)
def test_odd_numbers_are_refused(finished_run, capsys, arguments, message):
    assert main([str(finished_run), *arguments]) == 2
    assert capsys.readouterr().err == f"trg compare-cost: error: {message}\n"
