import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.cli.export import export
from trg_pyg.cli.predict import main
from trg_pyg.use.load import load


@pytest.fixture
def photos(finished_run, tmp_path):
    """Two images of each class of the run's test images, in one folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("blue", "green", "red"):
        for i in range(2):
            shutil.copy(finished_run.parents[4] / "images" / "test" / name / f"{i}.png", folder / f"{name}{i}.png")
    return folder


def lines(capsys):
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err.splitlines()


def test_images_get_the_classes_that_they_get_in_the_evaluation(finished_run, photos, capsys):
    assert main([str(finished_run), str(photos), "--json", "--top", "2", "--batch_size", "4"]) == 0
    out, err = lines(capsys)
    assert err == []
    answers = [json.loads(line) for line in out]
    assert [answer["file"] for answer in answers] == [str(path) for path in sorted(photos.iterdir())]

    trained = load(finished_run)
    test = trained.read_data().test
    images = test.images[[0, 1, 4, 5, 8, 9]]
    probabilities = trained.network(images).logits.softmax(dim=1)
    for answer, expected in zip(answers, probabilities, strict=True):
        shares, ids = expected.topk(2)
        assert [each["class"] for each in answer["classes"]] == [trained.facts.classes[i] for i in ids]
        assert [each["probability"] for each in answer["classes"]] == pytest.approx(shares.tolist(), rel=1e-4)


def test_a_line_has_file_class_and_percent(finished_run, photos, capsys):
    assert main([str(finished_run), str(photos / "red0.png"), "--top", "9"]) == 0
    (line,), _ = lines(capsys)
    file, *cells = line.split()
    assert file == str(photos / "red0.png")
    assert sorted(cells[::3]) == ["blue", "green", "red"]
    assert sum(map(float, cells[1::3])) == pytest.approx(100, abs=0.02)
    assert set(cells[2::3]) == {"%"}


def test_an_exported_folder_predicts_alike(finished_run, photos, tmp_path, capsys):
    export(load(finished_run), tmp_path / "exported", ["safetensors"])
    capsys.readouterr()
    assert main([str(finished_run), str(photos)]) == 0
    of_run = lines(capsys)
    assert main([str(tmp_path / "exported"), str(photos)]) == 0
    assert lines(capsys) == of_run


def test_what_cannot_be_read_is_named_and_the_rest_predicted(finished_run, photos, capsys):
    (photos / "empty.png").touch()
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(photos / "deep.png")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(photos / "line\nbreak.png")
    assert main([str(finished_run), str(photos)]) == 1
    out, err = lines(capsys)
    assert len(out) == 7
    assert [line.split()[0] for line in out if "break" in line] == [f"{photos}/line\\nbreak.png"]
    assert err == [
        f"trg predict: cannot read {photos}/deep.png: I;16 pixels would be clipped to 8 bits, convert the file",
        f"trg predict: cannot read {photos}/empty.png: the file is empty",
        "trg predict: 2 of 9 images cannot be read",
    ]
    assert main([str(finished_run), str(photos / "empty.png"), str(photos / "red0.png"), "--json"]) == 1
    first, second = map(json.loads, lines(capsys)[0])
    assert first == {"file": str(photos / "empty.png"), "error": "the file is empty"}
    assert "classes" in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "{photos}/empty.png"], "trg predict: error: the image cannot be read"),
        (
            ["{run}", "{photos}/nothing.png"],
            "trg predict: error: {photos}/nothing.png: there is no such file or folder",
        ),
        (["{photos}", "{photos}"], "trg predict: error: {photos}: no config.yaml in {photos}, so this is no run;"),
        (["{run}", "{photos}", "--top", "0"], "trg predict: error: --top 0: give 1 or more"),
        (["{run}", "{photos}", "--batch_size", "0"], "trg predict: error: --batch_size 0: give 1 or more"),
        (["{run}", "{photos}/none"], "trg predict: error: {photos}/none: no images in this folder or below"),
    ],
)
def test_a_mistake_ends_in_one_line(finished_run, photos, capsys, arguments, message):
    (photos / "empty.png").touch()
    (photos / "none").mkdir()
    places = {"run": finished_run, "photos": photos}
    assert main([each.format(**places) for each in arguments]) == 2
    out, err = lines(capsys)
    assert out == []
    assert err[-1].startswith(message.format(**places))


def test_outputs_that_are_not_finite_are_refused(finished_run, photos, tmp_path, capsys, monkeypatch):
    trained = load(finished_run)
    next(trained.network.model.parameters()).fill_(torch.nan)
    monkeypatch.setattr("trg_pyg.cli.predict.load", lambda *_, **options: trained)
    assert main([str(finished_run), str(photos)]) == 2
    assert "its outputs are not finite for an image of" in lines(capsys)[1][0]
