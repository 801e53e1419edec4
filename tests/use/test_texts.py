"""A network for texts, from a run to what it says of other texts, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg.cli import main as trg
from trg_pyg.data import Reviews, TextFiles, Texts
from trg_pyg.errors import InputError
from trg_pyg.look import Album
from trg_pyg.look.diagnosis import read_lines
from trg_pyg.look.pictures import choose_examples
from trg_pyg.models.attack import Attack
from trg_pyg.use.evaluate import check_fits, evaluate_on, read_images_of
from trg_pyg.use.load import load
from trg_pyg.use.predict import predict

SMALL = [
    *("run", "--data", "Reviews", "--train.epochs=1", "--teacher.train.epochs=1", "--seeds", "0", "--quiet"),
    *("--student.name=text_transformer", "--teacher.name=text_transformer", "--wandb=disabled", "--device=cpu"),
    *("--student.args={width: 8, depth: 1, heads: 2}", "--teacher.args={width: 8, depth: 2, heads: 2}"),
]


@pytest.fixture(scope="module")
def few_texts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        read = Reviews._texts
        patch.setattr(Reviews, "_texts", lambda self: (Texts(*(each[:45] for each in read(self)[0])), None))
        yield


@pytest.fixture(scope="module")
def folder(few_texts, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("texts")
    assert trg([*SMALL, "--output", str(place), "--methods", "ADKD", "TRG"]) == 0
    (found,) = place.glob("Reviews/*/ADKD-*/seed0")
    return found


def test_classes_of_texts_are_predicted_without_the_data(folder, tmp_path, capsys):
    file = tmp_path / "new.txt"
    file.write_text("The tea was lovely.\n\nThe soup was awful and the cake was dull.\n")
    assert trg(["predict", str(folder), str(file), "--top", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["The tea was lovely.", "The soup was awful and the cake was dull."]
    for row in rows:
        assert len(row["classes"]) == 2
        assert {each["class"] for each in row["classes"]} <= {"complaint", "mixed", "praise"}
    assert trg(["predict", str(folder), str(file)]) == 0
    assert "The tea was lovely.  " in capsys.readouterr().out


def test_files_are_no_texts(folder):
    with pytest.raises(InputError, match="takes texts, and these are files: give texts, as str"):
        next(predict(load(folder, kinds=["texts"]), [Path("new.txt")]))


@pytest.mark.parametrize(
    ("content", "message"), [(b"caf\xe9\n", "byte 3 is no UTF-8"), (b"\n \n", "no line has a text"), (None, "No such")]
)
def test_files_that_are_none_of_texts_are_refused(folder, tmp_path, capsys, content, message):
    file = tmp_path / "new.txt"
    if content is not None:
        file.write_bytes(content)
    assert trg(["predict", str(folder), str(file)]) == 2
    assert message in capsys.readouterr().err


def test_other_texts_are_read_by_the_words_of_the_network(folder, tmp_path):
    file = tmp_path / "other.csv"
    rows = [f"{label},unheard words of {label}" for label in ("complaint", "mixed", "praise") for _ in range(2)]
    file.write_text("\n".join(["label,text", *rows]))
    trained = load(folder, kinds=["texts"])
    images = read_images_of(TextFiles(str(file), str(file)), None, trained.facts.vocabulary)
    check_fits(trained, images)
    assert images.facts.vocabulary == trained.facts.vocabulary
    assert evaluate_on(trained, images).metrics["top1"] in [pytest.approx(100 * hits / 6) for hits in range(7)]
    assert "6 test texts of at most 32 tokens" in images.title
    with pytest.raises(InputError, match="corruptions and attacks are of images"):
        evaluate_on(trained, images, attack=Attack(1))


def test_the_words_of_texts_are_drawn_with_what_teacher_and_student_rest_on(folder, tmp_path, capsys):
    assert trg(["visualize", str(folder), "--test", "3", "--output", str(tmp_path)]) == 0
    assert {file.stem for file in tmp_path.glob("*.png")} == {"attribution", "embedding"}
    assert "edge_recall is left out" in capsys.readouterr().out
    album = Album(folder, ["attribution"], test=3)
    (picture,) = album.draw("attribution")
    networks, splits = album.networks, album.networks.trained.read_data()
    texts = splits.test.read(choose_examples(splits.test.targets, 3))
    first = [number for number in texts["input_ids"][0].tolist() if number]
    teacher, student = picture.figure.axes[:2]
    words = ["[text]", *(splits.vocabulary.words[number - 3] for number in first[1:])]
    assert [each.get_text() for each in teacher.texts] == [each.get_text() for each in student.texts] == words
    for axes, network in ((teacher, networks.teacher), (student, networks.after)):
        x = network.model.embeddings(texts["input_ids"]).detach().requires_grad_()
        handle = network.model.embeddings.register_forward_hook(lambda module, args, out, x=x: x)
        logits = network(texts).logits
        handle.remove()
        loss = cross_entropy(logits, splits.test.targets[choose_examples(splits.test.targets, 3)], reduction="sum")
        scores = (x * torch.autograd.grad(loss, x)[0]).norm(dim=2)[0, : len(first)]
        assert [each.get_alpha() for each in axes.patches] == pytest.approx((scores / scores.max()).tolist(), rel=1e-3)


def test_a_report_has_what_networks_for_texts_predict(folder, tmp_path):
    assert trg(["report", str(folder.parents[1]), "--output", str(tmp_path / "report.html")]) == 0
    assert "Expected calibration error" in (tmp_path / "report.html").read_text()
    assert "images" not in (tmp_path / "report.md").read_text()


def test_a_method_that_asks_the_student_again_is_diagnosed_of_texts(few_texts, tmp_path):
    options = ["--methods", "ADKD", "TRG", "--probe_images=16", "--output", str(tmp_path)]
    assert trg(["diagnose", *SMALL[1:], *options]) == 0
    (of_words,), (of_graphs,) = (list(tmp_path.glob(f"**/{name}-*/seed0/diagnosis.jsonl")) for name in ("ADKD", "TRG"))
    for line in read_lines(of_words):
        assert line["grad/attribution"] > 0 == line["grad_logits/attribution"]
    for line in read_lines(of_graphs):
        assert 0 < line["cross/same_class_chance"] < 1
        assert line["recall/image"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pictures", "similarity"], "a network of texts, of which there are embedding, edge_recall, attribution"),
        (["--images", __file__], "is a network of texts; leave it out"),
        (["--test", "99"], "--test 99: the evaluated texts are"),
    ],
)
def test_pictures_that_are_none_of_texts_are_refused(folder, options, message, tmp_path, capsys):
    assert trg(["visualize", str(folder), *options, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_what_is_of_images_alone_refuses_the_network(folder, tmp_path, capsys):
    assert trg(["export", str(folder), "--output", str(tmp_path / "out")]) == 2
    assert "is a network of texts, and this is for those of images" in capsys.readouterr().err
    assert trg(["evaluate", str(folder), "--data", "Digits"]) == 2
    assert "takes texts, the data are images; give data of the same kind" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "SSKD"], "SSKD makes views of images, and these data are none"),
        (["--methods", "KD", "--train.mixup=0.2"], "train.mixup = 0.2: it changes images, and these data are none"),
        (["--methods", "KD", "--teacher_store=logits"], "teacher_store keeps what a teacher says of images"),
        (["--methods", "KD", "--student.name=resnet8", "--student.args={}"], "vocabulary_size"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_teacher_is_trained(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert trg([*SMALL, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs" / "teachers").exists()
