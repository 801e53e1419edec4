"""A network for clips, from a run to what it says of other clips, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from trg_pyg.cli import main as trg
from trg_pyg.data import Corruption, MovingDigits, VideoFolder
from trg_pyg.errors import InputError
from trg_pyg.look import Album, pictures
from trg_pyg.look.diagnosis import read_lines
from trg_pyg.use.evaluate import check_fits, evaluate_on, read_images_of
from trg_pyg.use.load import load

SMALL = [
    *("run", "--data", "MovingDigits", "--data.clips=16", "--train.epochs=1", "--teacher.train.epochs=1", "--quiet"),
    *("--student.name=c3d", "--teacher.name=c3d", "--student.args={width: 2}", "--teacher.args={width: 3}"),
    *("--train.batch_size=8", "--teacher.train.batch_size=8", "--seeds", "0", "--wandb=disabled", "--device=cpu"),
]


def write_clips(folder: Path, clips: torch.Tensor) -> None:
    for number, clip in enumerate(clips):
        place = folder / f"clip{number}"
        place.mkdir(parents=True)
        for at, frame in enumerate(clip.unbind(1)):
            Image.fromarray(frame.permute(1, 2, 0).numpy()).save(place / f"{at}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert trg([*SMALL, "--methods", "StagedKD", "TRG", "SP", "AT", "--data.labelled=0.5"]) == 0
    (found,) = place.glob("runs/MovingDigits/*/StagedKD-*/seed0")
    return found


def test_classes_of_clips_are_predicted_without_the_data(folder, tmp_path, capsys):
    clips = MovingDigits(clips=8).load().test.images
    write_clips(tmp_path / "new", clips[:2])
    (tmp_path / "new" / "clip1" / "3.png").write_bytes(b"no image")
    assert trg(["predict", str(folder), str(tmp_path / "new"), "--top", "2", "--json"]) == 1
    said = capsys.readouterr()
    first, second = (json.loads(line) for line in said.out.splitlines())
    assert "1 of 2 clips cannot be read" in said.err
    assert "frame 3.png" in second["error"]
    logits = load(folder, kinds=["clips"]).network(clips[:1]).logits
    classes = MovingDigits(clips=8).load().classes
    best = logits.softmax(1)[0].topk(2)
    assert [each["class"] for each in first["classes"]] == [classes[k] for k in best.indices]
    assert [each["probability"] for each in first["classes"]] == pytest.approx(best.values.tolist(), rel=1e-5)


def test_the_frames_that_were_seen_are_drawn(folder, tmp_path, capsys):
    write_clips(tmp_path / "new", MovingDigits(clips=8).load().test.images[:1])
    asked = ["predict", str(folder), str(tmp_path / "new"), "--strips"]
    assert trg([*asked, str(tmp_path / "strips.png")]) == 0
    assert "clip0" in capsys.readouterr().out
    width, height = Image.open(tmp_path / "strips.png").size
    assert width > 4 * height


def test_clips_in_folders_are_evaluated_as_those_that_they_were_written_of(folder, tmp_path):
    splits = MovingDigits(clips=16).load()
    for name, part in (("train", splits.train), ("test", splits.test)):
        for number, label in enumerate(splits.classes):
            write_clips(tmp_path / name / label, part.images[part.targets == number])
    trained = load(folder, kinds=["clips"])
    whole, written = (read_images_of(data) for data in (MovingDigits(clips=16), VideoFolder(str(tmp_path))))
    for images in (whole, written):
        check_fits(trained, images)
    assert evaluate_on(trained, written).metrics == pytest.approx(evaluate_on(trained, whole).metrics)
    assert "16 test clips of 8 frames of 32x32" in written.title
    assert len(read_images_of(VideoFolder(str(tmp_path)), "all").images) == 32
    with pytest.raises(InputError, match=r"takes clips of 8 frames, the data have 4; set --data\.frames 8"):
        check_fits(trained, read_images_of(VideoFolder(str(tmp_path), frames=4)))
    with pytest.raises(InputError, match="corruptions and attacks are of images, and the data are clips"):
        evaluate_on(trained, written, [Corruption("gaussian_noise", 1)])


def test_a_clip_is_drawn_by_a_frame_of_each_time_of_its_tokens_with_each_token_where_it_is(folder, tmp_path):
    run = next(folder.parents[1].glob("TRG-*/seed0"))
    assert trg(["visualize", str(run), "--output", str(tmp_path), "--features", "8"]) == 0
    assert {file.stem for file in tmp_path.glob("*.png")} == {
        *("neighbours", "token_graph", "cross_image", "similarity_cosine", "similarity_softmax", "embedding")
    }
    album = Album(run, ["similarity"], test=1, token=[1, 0, 2])
    cosine, _ = album.draw("similarity")
    assert "in time 1, row 0, column 2 (from 0) of 4x4x4" in cosine.caption
    first, *_, after = [axes.images for axes in cosine.figure.axes if axes.get_label() != "<colorbar>"]
    test = album.networks.trained.read_data().test
    clip = test.images[pictures.choose_examples(test.targets, 1)]
    x = album.networks.after(clip).features[-1][0]
    a, b, c, d = torch.cosine_similarity(x, x[:, 1, 0, 2].view(-1, 1, 1, 1), dim=0)
    wanted = torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])
    torch.testing.assert_close(torch.tensor(after[-1].get_array().filled()), wanted, rtol=1e-4, atol=1e-5)
    sheet = torch.tensor(first[-1].get_array())
    for frame, (row, column) in {1: (0, 0), 3: (0, 32), 5: (32, 0), 7: (32, 32)}.items():
        drawn = sheet[row : row + 31, column : column + 31]
        assert torch.equal(drawn, clip[0, :, frame, :31, :31].permute(1, 2, 0))


def test_clips_that_are_named_are_drawn(folder, tmp_path, capsys):
    write_clips(tmp_path / "new", MovingDigits(clips=8).load().test.images[:2])
    asked = ["visualize", str(folder), "--pictures", "cross_image", "--output", str(tmp_path / "out"), "--images"]
    assert trg([*asked, str(tmp_path / "new")]) == 0
    assert "all tokens of 2 clips: " in (tmp_path / "out" / "index.md").read_text()
    assert trg([*asked, str(tmp_path / "new"), "--pictures", "similarity", "--token", "1", "1"]) == 2
    assert "--token 1 1: the token grid is 4x4x4; give time 0 to 3, row 0 to 3" in capsys.readouterr().err


def test_what_is_said_of_a_study_of_clips_names_clips(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert trg([*(each for each in SMALL if each != "--quiet"), "--methods", "TRG", "KD"]) == 0
    told = capsys.readouterr().out
    assert " FLOPs a clip, taps" in told
    assert "16 tokens a clip, 8 clips a batch" in told
    assert "on 16 test clips (" in told
    assert told.count(" clips/s\n") == 3
    assert "image" not in told


def test_an_exported_network_takes_clips_and_the_code_of_its_card_prepares_them(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert trg(["export", str(folder), "--output", str(out), "--formats", "safetensors", "torch_export"]) == 0
    write_clips(out, MovingDigits(clips=8).load().test.images[:1])
    (out / "clip0").rename(out / "clip")
    (out / "clip" / "7.png").rename(out / "clip" / "10.png")  # behind 6, by its number
    capsys.readouterr()
    for source in (folder, out):
        assert trg(["predict", str(source), str(out / "clip"), "--json"]) == 0
    of_run, of_export = capsys.readouterr().out.splitlines()
    assert of_run == of_export
    monkeypatch.chdir(out)
    card, scope = (out / "README.md").read_text(), {}
    for block in card.split("```python\n")[1:]:
        exec(block.split("```")[0], scope)
    assert torch.allclose(scope["logits"].softmax(1), scope["probabilities"], atol=1e-5)
    assert scope["probabilities"].max().item() == pytest.approx(json.loads(of_run)["classes"][0]["probability"])
    assert "pipeline_tag: video-classification" in card
    assert trg(["export", str(out), "--output", str(tmp_path / "again"), "--formats", "safetensors"]) == 2
    (out / "model.json").write_text((out / "model.json").read_text().replace('"frames": 8', '"frames": "8"'))
    with pytest.raises(InputError, match=r"model\.json is damaged"):
        load(out, kinds=["clips"])


def test_a_training_of_clips_is_diagnosed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--methods", "TRG", "--method_options={TRG: {k: 3, tokens_per_image: 8}}", "--probe_images=8"]
    assert trg(["diagnose", *SMALL[1:], *options]) == 0
    lines = read_lines(next(tmp_path.glob("runs/**/diagnosis.jsonl")))
    assert [(line["epoch"], line["k"], line["tokens"]) for line in lines] == [(0, 3, 8), (1, 3, 8)]
    for line in lines:
        assert line["recall/batch_chance"] == pytest.approx(3 / 63)
        assert min(line["recall/image"], line["grad/ce"], line["grad/local"]) > 0


def test_what_is_of_images_alone_refuses_the_network(folder, tmp_path, capsys):
    assert trg(["compare-cost", str(folder)]) == 2
    assert "is a network of clips, and this is for those of images" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--data", "Digits"]) == 2
    assert "takes clips, the data are images; give data of the same kind" in capsys.readouterr().err
    (tmp_path / "a.png").touch()
    assert trg(["predict", str(folder), str(tmp_path / "a.png")]) == 2
    assert "a clip is a folder of frames, or a file that ends in .avi" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "SSKD"], "SSKD makes views of images, and these data are none"),
        (["--methods", "FitNet"], "features on 8x8x8, cells in time and place, where maps of images are needed"),
        (["--methods", "KD", "--train.mixup=0.2"], "train.mixup = 0.2: it changes images, and these data are none"),
        (["--methods", "KD", "--teacher_store=logits"], "teacher_store keeps what a teacher says of images"),
        (["--methods", "KD", "--student.name=resnet8", "--student.args={}"], "does not take clips of 8 frames"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_teacher_is_trained(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert trg([*SMALL, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "teachers").exists()
