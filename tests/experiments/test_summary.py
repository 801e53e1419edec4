import pytest

from experiments.config import read_choices
from experiments.study import prepare
from experiments.summary import announce


@pytest.mark.parametrize(
    ("options", "announced", "folder"),
    [
        ([], "36 training and 12 test images of 16x16, 3 classes of 12 to 12", "ImageFolder"),
        (
            ["--data.validation=0.25", "--data.imbalance=3"],
            "17 training and 9 validation images (held out of the training set) of 16x16, 3 classes of 3 to 9",
            "ImageFolder-LT3-val",
        ),
    ],
)
def test_a_study_says_which_images_it_evaluates_on(small, tmp_path, capsys, options, announced, folder):
    study = prepare(read_choices([*small, "--methods", "Vanilla", *options]))
    assert study.folder == tmp_path / "runs" / folder / "resnet8-resnet8"
    announce(study)
    out = capsys.readouterr().out
    assert f"data     ImageFolder: {announced}\n" in out
    assert f"runs     {study.folder} on cpu" in out
