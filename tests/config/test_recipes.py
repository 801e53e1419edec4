import pytest
import yaml

from trg_pyg.config.choices import read_choices
from trg_pyg.config.recipes import RECIPES
from trg_pyg.errors import InputError
from trg_pyg.training.config import TrainConfig


def trainings(*arguments):
    config = read_choices(list(arguments)).config
    return config.train, config.teacher.train


def test_a_recipe_is_the_training_of_student_and_teacher():
    for name, expected in RECIPES.items():
        assert trainings("--recipe", name) == (expected, expected)


def test_the_recipe_of_crd_is_the_default_of_a_training():
    assert trainings("--recipe=crd") == (TrainConfig(), TrainConfig())


def test_the_teacher_may_have_a_recipe_of_its_own():
    assert trainings("--recipe=deit", "--teacher_recipe=crd") == (RECIPES["deit"], RECIPES["crd"])
    assert trainings("--teacher_recipe=lt") == (trainings()[0], RECIPES["lt"])


def test_what_is_set_wins_over_a_recipe_wherever_it_stands(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("train: {lr: 0.3}\nrecipe: lt\n")
    for arguments in ([f"--config={file}", "--train.momentum=0.5"], ["--train.momentum=0.5", f"--config={file}"]):
        student, teacher = trainings(*arguments)
        assert (student.lr, student.momentum, student.batch_size) == (0.3, 0.5, 128)
        assert teacher == RECIPES["lt"]


def test_other_epochs_keep_the_shares_of_milestones_and_warm_up():
    student, teacher = trainings("--recipe=lt", "--train.epochs=20")
    assert (student.epochs, student.milestones, student.warmup_epochs) == (20, [16, 18], 0.5)
    assert teacher == RECIPES["lt"]
    student, _ = trainings("--recipe=crd", "--train.epochs=480")
    assert student.milestones == [300, 360, 420]
    student, _ = trainings("--recipe=lt", "--train.epochs=20", "--train.milestones=[3]", "--train.warmup_epochs=0")
    assert (student.milestones, student.warmup_epochs) == ([3], 0)


def test_a_training_too_short_for_its_milestones_is_refused_unless_it_has_another_schedule():
    with pytest.raises(InputError, match=r"train.milestones = \[1, 1, 1\]: give epochs .* or another train.schedule"):
        trainings("--recipe=crd", "--train.epochs=1")
    assert trainings("--recipe=crd", "--train.epochs=1", "--train.schedule=cosine")[0].epochs == 1


def test_a_recipe_leaves_no_trace_but_the_training_so_that_runs_keep_their_folders():
    typed = ["epochs=20", "batch_size=128", "lr=0.1", "weight_decay=2e-4", "schedule=multistep", "milestones=[16,18]"]
    typed += ["gamma=0.01", "warmup_epochs=0.5"]
    by_hand = read_choices([f"--{part}.{each}" for part in ("train", "teacher.train") for each in typed])
    by_name = read_choices(["--recipe=lt", "--train.epochs=20", "--teacher.train.epochs=20"])
    assert yaml.safe_dump(by_name.settings) == yaml.safe_dump(by_hand.settings)  # which tells 5 from 5.0


def test_the_printed_configuration_has_the_recipe_in_it(capsys, tmp_path):
    with pytest.raises(SystemExit):
        read_choices(["--recipe=lt", "--print_config"])
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert yaml.safe_load(file.read_text())["train"]["milestones"] == [160, 180]
    assert trainings(f"--config={file}") == trainings("--recipe=lt")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--recipe=crt"], "recipe=crt: no such recipe; did you mean crd?"),
        (["--teacher_recipe=x"], "teacher_recipe=x: no such recipe; known: crd, deit, imagenet, imagenet_lt, lt"),
        (["--recipe"], "recipe: it needs a value, such as --recipe crd"),
        (["--recipe=lt", "--train=5"], "train=5: it has keys of its own"),
    ],
)
def test_what_is_no_recipe_is_refused(arguments, line):
    with pytest.raises(InputError) as caught:
        read_choices(arguments)
    assert line in str(caught.value)
