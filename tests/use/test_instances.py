"""A network that finds instances, from a run to the label maps of other images, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.cli import main as trg
from trg_pyg.data import LabelMaps, read_labels
from trg_pyg.errors import InputError
from trg_pyg.look import Album
from trg_pyg.look.diagnosis import read_lines
from trg_pyg.tasks import instances_of
from trg_pyg.use.evaluate import check_fits, evaluate_on, read_images_of
from trg_pyg.use.load import load
from trg_pyg.use.within import predict_instances

SMALL = [
    *("run", "--data", "TouchingDigits", "--train.epochs=1", "--teacher.train.epochs=1", "--seeds", "0", "--quiet"),
    *("--student.name=unet", "--teacher.name=unet", "--wandb=disabled", "--device=cpu", "--train.batch_size=4"),
    *("--student.args={widths: [4, 6, 8]}", "--teacher.args={widths: [4, 8, 8]}"),
]


@pytest.fixture(scope="module")
def folder(few_scenes, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("instances")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert trg([*SMALL, "--methods", "GRD", "TRG"]) == 0
    (found,) = place.glob("runs/TouchingDigits/*/GRD-*/seed0")
    return found


def test_label_maps_and_contours_are_written(folder, scenes, tmp_path, capsys):
    assert trg(["predict", str(folder), str(scenes), "--output", str(tmp_path / "out"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["high.png", "wide.png"]
    network = load(folder, kinds=["pixels"]).network
    for row in rows:
        file = Path(row["file"])
        pixels = torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())
        with torch.no_grad():
            wanted = instances_of(network(pixels[None]).logits)[0]
        assert read_labels(tmp_path / "out" / file.name).tolist() == wanted.tolist()
        assert row["instances"] == wanted.max()
        with Image.open(tmp_path / "out" / f"{file.stem}_contours.png") as drawn:
            assert drawn.mode == "RGB"
            assert min(drawn.size) >= 384


def test_files_that_cannot_be_read_are_named_and_the_others_counted(folder, scenes, capsys):
    (scenes / "broken.png").write_bytes(b"no image")
    assert trg(["predict", str(folder), str(scenes)]) == 1
    printed = capsys.readouterr()
    assert "broken.png cannot be read: it is no image of a known format" in printed.err
    assert printed.out.count("instance") == 2
    assert trg(["predict", str(folder), str(scenes / "broken.png")]) == 2


def test_two_files_of_one_name_are_refused(folder, scenes, tmp_path):
    twin = scenes / "wide.bmp"
    Image.new("RGB", (8, 8)).save(twin)
    with pytest.raises(InputError, match=r"would both be written to wide.png"):
        list(predict_instances(load(folder, kinds=["pixels"]), [scenes / "wide.png", twin], tmp_path / "out"))


def test_it_is_evaluated_on_its_own_data_and_on_others(folder, tmp_path, capsys):
    assert trg(["evaluate", str(folder)]) == 0
    table = capsys.readouterr().out
    assert all(title in table for title in ("SBD", "DiC", "VOI", "ARAND", "AP50", "loss"))
    own = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{own['test/sbd']:.2f}" in table
    for split in ("train", "test"):
        for part, mode in (("images", "RGB"), ("labels", "L")):
            (tmp_path / split / part).mkdir(parents=True)
            Image.new(mode, (80, 64)).save(tmp_path / split / part / "one.png")
    trained = load(folder, kinds=["pixels"])
    images = read_images_of(LabelMaps(str(tmp_path)), "all")
    check_fits(trained, images)
    assert len(images.images) == 4
    assert set(evaluate_on(trained, images).metrics) == {"sbd", "dic", "voi", "arand", "ap50", "loss"}


def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(few_scenes, stopped_and_whole):
    resumed, whole = stopped_and_whole([*SMALL, "--train.epochs=2", "--methods", "GRD"], "GRD")
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_an_exported_network_finds_the_same_instances_and_its_card_says_how(
    folder, scenes, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    assert trg(["export", str(folder), "--output", str(out), "--formats", "safetensors", "torch_export"]) == 0
    capsys.readouterr()
    for source in (folder, out):
        assert trg(["predict", str(source), str(scenes), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[2:]
    image = Image.open(scenes / "wide.png").resize((64, 64))
    image.save(out / "image.png")
    monkeypatch.chdir(out)
    card, scope = (out / "README.md").read_text(), {}
    for block in card.split("```python\n")[1:]:
        exec(block.split("```")[0], scope)
    assert torch.equal(scope["instances"], instances_of(scope["logits"]))
    assert card.count("% SBD on the test images") == 1
    assert "DiC: size of the difference in count" in card


def test_token_graphs_of_images_without_a_class_are_drawn(folder, tmp_path):
    run = next(folder.parents[1].glob("TRG-*/seed0"))
    assert trg(["visualize", str(run), "--pictures", "token_graph", "--test", "2", "--output", str(tmp_path)]) == 0
    assert "Token graphs of 2 test images, drawn at random: " in (tmp_path / "index.md").read_text()
    (picture,) = Album(run, ["token_graph"], test=2).draw("token_graph")
    assert sorted(picture.figure.axes[place].get_title()[:11] for place in (0, 4)) == ["test image "] * 2


def test_a_diagnosis_of_images_without_a_class_says_nothing_of_classes(few_scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert trg(["diagnose", *SMALL[1:], "--methods", "GRD", "--probe_images=4"]) == 0
    for line in read_lines(next(tmp_path.glob("runs/**/diagnosis.jsonl"))):
        assert min(line["recall/image"], line["cross/share"], line["grad/affinity"]) > 0
        assert "cross/same_class" not in line


def test_what_is_for_classes_of_images_refuses_the_network(folder, tmp_path, capsys):
    assert trg(["predict", str(folder), str(tmp_path), "--strips", str(tmp_path / "strips.png")]) == 2
    assert "is of pixels, and strips are of clips" in capsys.readouterr().err
    assert trg(["visualize", str(folder), "--pictures", "embedding"]) == 2
    assert "is a network of pixels, of which there are neighbours, token_graph" in capsys.readouterr().err
    assert trg(["visualize", str(folder), "--images", str(tmp_path)]) == 2
    assert "is a network of pixels; leave it out" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--attack", "1"]) == 2
    assert "attack" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--data", "Digits"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "CRD"], "CRD is a method for ImageClassification, and the data are for InstanceSegmentation"),
        (
            ["--methods", "KD", "--train.mixup=0.2"],
            "mixup = 0.2: it is for images of one class each, and these networks",
        ),
        (
            ["--methods", "KD", "--train.label_smoothing=0.1"],
            "label_smoothing = 0.1: it is for images",
        ),
        (
            ["--methods", "KD", "--train.effective_number=0.9"],
            "effective_number = 0.9: it is for images",
        ),
        (["--methods", "KD", "--teacher_store=logits"], "these networks answer for each pixel"),
        (
            ["--methods", "KD", "--student.name=resnet8", "--student.args={}"],
            "resnet8 answers for an image, and the data are for InstanceSegmentation: choose another",
        ),
        (
            ["--methods", "GRD", "--data=Digits"],
            "unet answers for each pixel, and the data are for ImageClassification: choose another network",
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
