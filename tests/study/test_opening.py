import pytest

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.metrics import PASSES
from trg_pyg.study.agenda import Agenda
from trg_pyg.study.opening import announce
from trg_pyg.study.study import prepare


def announced(arguments, capsys):
    """The lines that a study begins with."""
    study = prepare(read_choices(arguments))
    announce(study, Agenda.of(study))
    return study, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("options", "expected", "folder"),
    [
        ([], "36 training and 12 test images of 16x16, 3 classes of 12", "ImageFolder"),
        (
            ["--data.validation=0.25", "--data.imbalance=3"],
            "17 training and 9 validation images (held out of the training set) of 16x16, 3 classes of 3 to 9",
            "ImageFolder-LT3-val",
        ),
        (
            ["--data.heldout=0.25"],
            "27 training and 12 test images of 16x16, 9 held out to choose by, 3 classes of 9",
            "ImageFolder",
        ),
    ],
)
def test_a_study_says_which_images_it_evaluates_on(small, tmp_path, capsys, options, expected, folder):
    study, lines = announced([*small, "--methods", "Vanilla", *options], capsys)
    assert study.folder == tmp_path / "runs" / folder / "resnet8-resnet8"
    assert f"data      ImageFolder: {expected}" in lines
    assert f"output    {study.folder} on cpu; wandb disabled" in lines


def test_networks_methods_graphs_recipe_and_runs_are_said_in_about_ten_lines(small, capsys):
    arguments = [*small, "--methods", "Vanilla", "KD", "TRG", "SP+KD", "--seeds", "0", "1", "--distiller=TRG"]
    _, lines = announced([*arguments, "--distiller.alpha=0", "--distiller.warmup=0.1"], capsys)
    assert lines[1:-1] == [
        "teacher   resnet8: 77,587 parameters, 6.25 MFLOPs an image, taps layer3 64x4x4; trained first, 1 epoch",
        "student   resnet8: 77,587 parameters, 6.25 MFLOPs an image, taps layer3 64x4x4",
        "methods   Vanilla  1 pass    1 ce",
        "          KD       2 passes  0.1 ce + 0.9 kd",
        "          TRG      2 passes  "
        "1 ce + 1 kd + 0 to 4 local (beta) + 0 to 8 global (gamma) + 0 to 0.4 graph (delta)",
        "          SP+KD    2 passes  1 ce + 1 kd + 3000 similarity",
        f"          passes: {PASSES.about}",
        "graphs    TRG: 16 tokens an image, 18 images a batch",
        "              local: 1 KNNGraph of 288 nodes, 2,304 edges",
        "              graph: 18 times KNNGraph of 16 nodes, 128 edges",
        "          SP+KD: similarity: 1 CompleteGraph of 18 nodes, 324 edges, of 18 images",
        "training  2 epochs of 2 steps of 18 images; SGD, lr 0.05, weight decay 0.0005; onecycle; fp32",
        "runs      8: 4 methods x seeds 0, 1",
    ]


def test_what_is_less_than_was_asked_for_is_said(small, capsys):
    _, lines = announced([*small, "--methods", "TRG", "--distiller=TRG", "--distiller.patch=2"], capsys)
    assert "graphs    TRG: 4 tokens an image, 18 images a batch" in lines
    fitted = "4 tokens an image (16 asked for), k 3 in a graph of 4 nodes (8 asked for)"
    assert f"              fitted: {fitted}" in lines


def test_the_graphs_are_those_of_a_part_where_a_step_is_computed_in_parts(small, capsys):
    recipe = ["--train.accumulate=2", "--train.schedule=multistep", "--train.milestones=[1]", "--train.compile=true"]
    changes = ["--train.randaugment=9", "--train.views=20"]
    _, lines = announced([*small, "--methods", "RKD", *recipe, *changes], capsys)
    assert "graphs    RKD: distance, angle: 1 CompleteGraph of 9 nodes, 81 edges, of 9 images" in lines
    (training,) = (line for line in lines if line.startswith("training"))
    assert training.endswith("; multistep x 0.1 at 1; fp32; 2 parts a step; randaugment 9; views 20; compile")


def test_a_batch_of_more_images_than_there_are_is_said_to_have_them_all(small, capsys):
    _, lines = announced([*small, "--methods", "Vanilla", "--train.batch_size=1000"], capsys)
    (training,) = (line for line in lines if line.startswith("training"))
    assert "2 epochs of 1 step of 36 images (all there are; batch_size is 1,000); SGD" in training


def test_it_is_said_where_the_teacher_comes_from(small, capsys, tmp_path):
    assert main([*small, "--methods", "KD", "--quiet"]) == 0
    capsys.readouterr()
    _, lines = announced([*small, "--methods", "KD"], capsys)
    (file,) = tmp_path.glob("runs/teachers/ImageFolder/*/last.safetensors")
    assert lines[1].endswith(f"; trained before, {file.parent}")
    _, lines = announced([*small, "--methods", "KD", f"--teacher.weights={file}"], capsys)
    assert lines[1].endswith(f"; weights {file}")


def test_quiet_leaves_the_table_alone(small, capsys):
    assert main([*small, "--methods", "KD", "Vanilla", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("\nImageFolder/resnet8-resnet8, last epoch, seeds 0\n\n| method ")


def test_a_terminal_has_lines_of_its_width(small, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    _, lines = announced([*small, "--methods", "KD", "TRG", "--output=runs"], capsys)
    assert max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 10) or line[:10].rstrip().isalpha() for line in lines)
