"""A detector, from a run to the boxes of other images, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.cli import main as trg
from trg_pyg.data import BoxFolder
from trg_pyg.errors import InputError
from trg_pyg.tasks import boxes_of
from trg_pyg.use.evaluate import check_fits, evaluate_on, read_images_of
from trg_pyg.use.load import load
from trg_pyg.use.within import predict_boxes

SMALL = [
    *("run", "--data", "PastedDigits", "--train.epochs=1", "--teacher.train.epochs=1", "--seeds", "0", "--quiet"),
    *("--student.name=retinanet", "--teacher.name=retinanet", "--wandb=disabled", "--device=cpu"),
    *("--student.args={channels: 8}", "--teacher.args={channels: 16}", "--train.batch_size=4"),
]


@pytest.fixture(scope="module")
def folder(few_scenes, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("boxes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert trg([*SMALL, "--methods", "FGD", "IKD"]) == 0
    (found,) = place.glob("runs/PastedDigits/*/IKD-*/seed0")
    return found


def test_boxes_are_in_pixels_of_the_file_and_drawn(folder, scenes, tmp_path, capsys):
    given = ["predict", str(folder), str(scenes), "--least", "0", "--output", str(tmp_path / "out"), "--json"]
    assert trg(given) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["high.png", "wide.png"]
    network = load(folder, kinds=["anchors"]).network
    for row in rows:
        file = Path(row["file"])
        with Image.open(file) as image:
            size = torch.tensor(image.size * 2)
            pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1).copy()
        with torch.no_grad():
            wanted = boxes_of(network(torch.from_numpy(pixels)[None]).logits)[0]
        wanted = wanted[wanted[:, 4] >= 0]
        assert len(row["boxes"]) == len(wanted)
        for box, found in zip(row["boxes"], wanted, strict=True):
            assert box["box"] == pytest.approx((found[:4] * size).tolist(), rel=1e-5)
            assert box["class"] == ("0", "1", "4")[int(found[4])]
            assert box["score"] == pytest.approx(found[5].item())
        with Image.open(tmp_path / "out" / f"{file.stem}_boxes.png") as drawn:
            assert drawn.mode == "RGB"
            assert min(drawn.size) >= 384


def test_boxes_of_a_lower_score_are_left_out(folder, scenes):
    trained, files = load(folder, kinds=["anchors"]), sorted(scenes.iterdir())
    bias = trained.network.model.head.classification_head.cls_logits.bias
    bias.fill_(0)  # surer than two steps have made it
    every = [each.boxes for each in predict_boxes(trained, files, 0)]
    score = max(box.score for boxes in every for box in boxes)
    kept = [box for each in predict_boxes(trained, files, score) for box in each.boxes]
    assert {box.score for box in kept} == {score}
    assert len(kept) < sum(map(len, every))
    with pytest.raises(InputError, match="least 2: scores are from 0 to 1"):
        list(predict_boxes(trained, files, 2))


def test_files_that_cannot_be_read_are_named_and_the_others_looked_at(folder, scenes, capsys):
    (scenes / "broken.png").write_bytes(b"no image")
    assert trg(["predict", str(folder), str(scenes)]) == 1
    printed = capsys.readouterr()
    assert "broken.png cannot be read" in printed.err
    assert "high.png" in printed.out
    assert trg(["predict", str(folder), str(scenes / "broken.png")]) == 2


def test_it_is_evaluated_on_its_own_data_and_on_others(folder, tmp_path, capsys):
    assert trg(["evaluate", str(folder)]) == 0
    table = capsys.readouterr().out
    assert all(title in table for title in ("AP", "AP50", "AP75", "AP small", "AP medium", "loss"))
    own = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{own['test/ap']:.2f}" in table
    categories = [{"id": n, "name": name} for n, name in enumerate(("0", "1", "4"))]
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        Image.new("RGB", (80, 64)).save(tmp_path / split / "images" / "one.png")
        listed = {
            "images": [{"id": 1, "file_name": "one.png"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}],
        }
        (tmp_path / split / "boxes.json").write_text(json.dumps(listed | {"categories": categories}))
    trained = load(folder, kinds=["anchors"])
    images = read_images_of(BoxFolder(str(tmp_path), size=64), "all")
    check_fits(trained, images)
    assert len(images.images) == 2
    assert set(evaluate_on(trained, images).metrics) == {"ap", "ap50", "ap75", "ap_medium", "loss"}


def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(few_scenes, stopped_and_whole):
    resumed, whole = stopped_and_whole([*SMALL, "--train.epochs=2", "--methods", "IKD"], "IKD")
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_what_is_for_classes_of_images_refuses_the_network(folder, tmp_path, capsys):
    assert trg(["export", str(folder), "--output", str(tmp_path / "out")]) == 2
    assert "is a network of anchors, and this is for those of images" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--attack", "1"]) == 2
    assert "this network answers for each anchor" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--data", "Digits"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "KD"], "logits of a detector are compared with background one by one"),
        (["--methods", "GRD"], "GRD compares embeddings of pixels"),
        (["--methods", "FGD", "--train.mixup=0.2"], "and these networks answer for each anchor"),
        (
            ["--methods", "Vanilla", "--data=Digits"],
            "retinanet answers for each anchor, and the data are for ImageClass",
        ),
        (
            ["--methods", "Vanilla", "--student.name=unet", "--student.args={}"],
            "unet answers for each pixel, and the data are for Detection: choose another network, such as retinanet",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_a_teacher_is_trained(
    few_scenes, options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert trg([*SMALL, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "teachers").exists()
