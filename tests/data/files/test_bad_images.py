import json
import os
import pickle
import shutil
import traceback
import warnings
from pathlib import Path

import pytest
import torch
from pairs import pairs
from PIL import Image

from trg_pyg.data import (
    BadImage,
    BadImages,
    FileSet,
    ImageFolder,
    ImageList,
    RandomResizedCrop,
    make_loader,
)
from trg_pyg.data.files import _decode, image_files
from trg_pyg.errors import InputError

DAMAGED = {"cat/2.png": b"", "cat/7.png": b"no image", "dog/0.png": None}  # None: cut off
MODES = [{"stream": False}, {"stream": True}]


def write_classes(root: Path, count: int) -> None:
    """Red is 20 * class + number."""
    for label, name in enumerate(["cat", "dog"]):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (6, 5), (20 * label + number, 10, 20)).save(root / name / f"{number}.png")


def damage(root: Path, names=DAMAGED) -> None:
    for name in names:
        whole = (root / name).read_bytes()
        content = DAMAGED[name]
        (root / name).write_bytes(whole[:45] if content is None else content)


@pytest.fixture
def flat_root(tmp_path) -> Path:
    """Two classes of ten images, three of them damaged."""
    root = tmp_path / "images"
    write_classes(root, 10)
    damage(root)
    return root


@pytest.fixture
def split_root(tmp_path) -> Path:
    root = tmp_path / "images"
    write_classes(root / "train", 10)
    write_classes(root / "test", 4)
    damage(root / "train")
    damage(root / "test", ["cat/2.png"])
    return root


def folder(root: Path, **options) -> ImageFolder:
    return ImageFolder(root=str(root), size=4, **options)


def skipping(root: Path, **options):
    with pytest.warns(UserWarning, match="cannot be read and are left out"):
        return folder(root, skip_bad_images=True, **options).load()


def reds(image_set) -> list[int]:
    loader = make_loader(image_set, 100, shuffle=False)
    return [value for batch in loader for value in batch.inputs[:, 0, 0, 0].tolist()]


def content(splits) -> list:
    parts = [(reds(part), part.targets.tolist()) for part in (splits.train, splits.test)]
    return [*parts, splits.classes, splits.mean, splits.std]


def forbid(monkeypatch) -> None:
    for name in ("decode_images", "check_images"):
        monkeypatch.setattr(image_files, name, lambda *args, name=name: pytest.fail(f"{name} once more"))


def records(root: Path) -> list[Path]:
    return sorted(root.glob(".trg_pyg_cache/*.json"))


# --- refused


@pytest.mark.parametrize("mode", [*MODES, {"stream": True, "check": "pixels"}, {"crop": "resized"}])
def test_bad_files_are_refused_before_the_training_and_all_of_them_are_listed(flat_root, mode):
    with pytest.raises(BadImages) as caught:
        folder(flat_root, **mode).load()
    (record,) = records(flat_root)
    names = [os.path.normpath(name) for name in DAMAGED]
    assert str(caught.value) == (
        f"3 of 20 images under {flat_root} cannot be read: {', '.join(names)} (the first: the file is empty; all of "
        f"them are in {record}); replace or remove them, or set skip_bad_images to leave damaged ones out"
    )
    assert [bad.file for bad in caught.value.failures] == names
    listed = json.loads(record.read_text())["bad"]
    assert [bad["file"] for bad in listed] == names
    assert "truncated" in listed[2]["reason"]


def test_without_a_cache_the_error_itself_has_the_list(flat_root):
    with pytest.raises(BadImages, match=r"\(the first: the file is empty\); replace") as caught:
        folder(flat_root, stream=True, cache=False).load()
    assert len(caught.value.failures) == 3
    assert records(flat_root) == []


def test_the_error_survives_being_sent_from_a_worker(flat_root):
    with pytest.raises(BadImages) as caught:
        folder(flat_root).load()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.failures) == (str(caught.value), caught.value.failures)


def test_a_stream_that_is_never_checked_stops_at_the_batch_and_says_how_to_find_them_all(flat_root):
    train = folder(flat_root, stream=True, check="never").load().train
    assert records(flat_root) == []
    with pytest.raises(BadImages, match=r"images of a batch from .*; replace them and resume; check=pixels finds all"):
        reds(train)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lack_of_memory_while_streaming_is_one_line(flat_root, monkeypatch, workers):
    def to_rgb(image, background):
        raise MemoryError

    monkeypatch.setattr(_decode, "to_rgb", to_rgb)
    train = folder(flat_root, stream=True, check="never", workers=workers).load().train
    with pytest.raises(InputError, match="the memory does not suffice to decode") as caught:
        reds(train)
    traceback.clear_frames(caught.tb)  # as in test_file_loader: it holds the loader
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check": "often"}, "check=often: choose headers or pixels or never"),
        ({"check": "never", "skip_bad_images": True}, "skip_bad_images needs all bad images .* check=never does not"),
        ({"check": "headers", "skip_bad_images": True}, "check=headers does not: leave check out"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        folder(Path("nowhere"), **options)


@pytest.mark.parametrize("mode", MODES)
def test_a_set_that_cannot_be_split_is_refused_before_its_files_are_looked_at(flat_root, mode, monkeypatch):
    forbid(monkeypatch)
    with pytest.raises(InputError, match="holdout 2 is not between"):
        folder(flat_root, holdout=2, **mode).load()


# --- remembered


@pytest.mark.parametrize("check", ["headers", "pixels"])
def test_files_that_were_checked_are_not_checked_again(split_root, check, monkeypatch):
    for split in ("train", "test"):
        shutil.rmtree(split_root / split)
        write_classes(split_root / split, 4)
    first = folder(split_root, stream=True, check=check).load()
    assert len(records(split_root)) == 1
    forbid(monkeypatch)
    assert content(folder(split_root, stream=True, check=check).load()) == content(first)
    with pytest.raises(pytest.fail.Exception):
        folder(split_root, stream=True, check=check, cache=False).load()
    write_classes(split_root / "train" / "cat" / "ignored", 1)
    folder(split_root, stream=True, check=check).load()
    (split_root / "train" / "cat" / "0.png").write_bytes(b"")
    with pytest.raises(pytest.fail.Exception):
        folder(split_root, stream=True, check=check).load()


def test_a_check_of_all_pixels_stands_for_one_of_headers_and_not_the_other_way_round(tmp_path, monkeypatch):
    write_classes(tmp_path, 4)
    folder(tmp_path, stream=True, check="headers").load()
    forbid(monkeypatch)
    with pytest.raises(pytest.fail.Exception):
        folder(tmp_path, stream=True, check="pixels").load()
    monkeypatch.undo()
    shutil.rmtree(tmp_path / ".trg_pyg_cache")
    folder(tmp_path, stream=True, check="pixels").load()
    forbid(monkeypatch)
    folder(tmp_path, stream=True, check="headers").load()


@pytest.mark.parametrize("mode", MODES)
def test_what_was_refused_is_looked_at_again(flat_root, mode, monkeypatch):
    with pytest.raises(BadImages, match="3 of 20"):
        folder(flat_root, **mode).load()
    monkeypatch.setattr(image_files, "check_images", lambda *args: [])
    monkeypatch.setattr(image_files, "decode_images", lambda *args: (torch.zeros(20, 3, 4, 4).byte(), []))
    assert len(folder(flat_root, **mode).load().train) == 16


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"images": 20, "bad": [{"file": "x"}]}', '{"images": 20}'])
def test_a_damaged_record_is_written_anew(flat_root, junk):
    expected = content(skipping(flat_root, stream=True))
    (record,) = records(flat_root)
    sound = record.read_text()
    record.write_text(junk)
    assert content(skipping(flat_root, stream=True)) == expected
    assert record.read_text() == sound


def test_the_users_cache_folder_stands_in_for_a_root_that_cannot_be_written(flat_root, user_cache, monkeypatch):
    (flat_root / ".trg_pyg_cache").write_bytes(b"a file in the way of the folder")
    expected = content(skipping(flat_root, stream=True))
    assert len(list(user_cache.rglob("*.json"))) == 1
    forbid(monkeypatch)
    assert content(skipping(flat_root, stream=True)) == expected


# --- left out


@pytest.mark.parametrize(
    ("layout", "stream", "validation", "imbalance"),
    pairs(["flat_root", "split_root"], [False, True], [None, 0.3], [None, 3]),
)
def test_the_splits_are_those_of_a_folder_without_the_damaged_files(request, layout, stream, validation, imbalance):
    root = request.getfixturevalue(layout)
    options = {"stream": stream, "validation": validation, "imbalance": imbalance}
    skipped = content(skipping(root, **options))
    again = content(skipping(root, **options))
    for top in ("", "train", "test"):
        for name in DAMAGED:
            if (root / top / name).exists() and (top, name) not in {("test", "cat/7.png"), ("test", "dog/0.png")}:
                (root / top / name).unlink()
    assert skipped == again == content(folder(root, **options).load())


def test_one_warning_says_how_many_of_how_many_which_and_why(flat_root):
    with pytest.warns(UserWarning, match="left out") as caught:
        folder(flat_root, stream=True, skip_bad_images=True).load()
    (record,) = records(flat_root)
    names = ", ".join(os.path.normpath(name) for name in DAMAGED)
    assert [str(warning.message) for warning in caught] == [
        f"3 of 20 images under {flat_root} cannot be read and are left out: {names} (the first: the file is empty; all "
        f"of them are in {record})"
    ]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_left_out_survives_in_the_cache(flat_root, mode, monkeypatch):
    first = content(skipping(flat_root, **mode))
    forbid(monkeypatch)
    assert content(skipping(flat_root, **mode)) == first


def test_one_check_serves_a_stream_and_the_memory(flat_root, monkeypatch):
    skipping(flat_root, stream=True)
    decode = image_files.decode_images
    forbid(monkeypatch)
    monkeypatch.setattr(image_files, "decode_images", decode)
    skipping(flat_root, stream=False)
    forbid(monkeypatch)
    skipping(flat_root, stream=True)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_left_out_once_is_refused_without_the_option(flat_root, mode):
    skipping(flat_root, **mode)
    with pytest.raises(BadImages, match="3 of 20"):
        folder(flat_root, **mode).load()


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_was_mended_comes_back(flat_root, mode):
    assert len(skipping(flat_root, **mode).train) == 13
    shutil.copy(flat_root / "cat" / "0.png", flat_root / "cat" / "2.png")
    splits = skipping(flat_root, **mode)
    assert len(splits.train) + len(splits.test) == 18


@pytest.mark.parametrize("mode", MODES)
def test_the_option_changes_nothing_where_all_is_well(tmp_path, mode):
    write_classes(tmp_path, 10)
    expected = content(folder(tmp_path, **mode).load())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert content(folder(tmp_path, skip_bad_images=True, **mode).load()) == expected


def test_damage_in_the_middle_of_a_streamed_file_is_left_out_too(tmp_path):
    write_classes(tmp_path, 4)
    noise = torch.randint(0, 256, (60, 60, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    Image.fromarray(noise).save(tmp_path / "cat" / "0.png")
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    (tmp_path / "cat" / "0.png").write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    assert len(folder(tmp_path, stream=True).load().train) == 6
    splits = skipping(tmp_path, stream=True)
    assert len(splits.train) + len(splits.test) == 7


@pytest.mark.parametrize("mode", MODES)
def test_a_class_that_would_lose_all_its_images_is_named(split_root, mode):
    for number in range(4):
        (split_root / "test" / "dog" / f"{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"class dog has no image left for testing, since 8 of 28 .*; replace them"):
        folder(split_root, skip_bad_images=True, **mode).load()
    for file in (split_root / "train").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="class cat, dog has no image left for training"):
        folder(split_root, skip_bad_images=True, **mode).load()


@pytest.mark.parametrize("mode", MODES)
def test_a_class_that_is_left_with_too_few_to_hold_out_is_named(flat_root, mode):
    for number in range(9):
        (flat_root / "dog" / f"{number}.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="11 of 20 images .* left out"),
        pytest.raises(InputError, match="dog has fewer than two images"),
    ):
        folder(flat_root, skip_bad_images=True, **mode).load()
    (flat_root / "dog" / "9.png").write_bytes(b"")
    with pytest.raises(InputError, match="class dog has no image left, since 12 of 20"):
        folder(flat_root, skip_bad_images=True, **mode).load()


@pytest.mark.parametrize("mode", MODES)
def test_files_that_the_system_does_not_hand_out_are_never_left_out(flat_root, mode):
    (flat_root / "dog" / "5.png").unlink()
    (flat_root / "dog" / "5.png").symlink_to(flat_root / "later.png")
    message = r"1 of 20 images under .*5\.png \(the first: No such file .*\); see to their permissions, links or disk"
    for _ in range(2):
        with pytest.raises(BadImages, match=message):
            folder(flat_root, skip_bad_images=True, **mode).load()
    shutil.copy(flat_root / "dog" / "6.png", flat_root / "later.png")
    splits = skipping(flat_root, **mode)
    assert len(splits.train) + len(splits.test) == 17


@pytest.mark.parametrize("mode", MODES)
def test_a_disk_error_is_not_remembered(flat_root, mode, monkeypatch):
    failures = [BadImage(5, os.path.normpath("cat/5.png"), "Input/output error", damaged=False)]
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "check_images", lambda *args: failures)
        patch.setattr(image_files, "decode_images", lambda *args: (torch.zeros(20, 3, 4, 4).byte(), failures))
        with pytest.raises(BadImages, match=r"1 of 20 images .*5\.png \(the first: Input/output error"):
            folder(flat_root, skip_bad_images=True, **mode).load()
    splits = skipping(flat_root, **mode)
    assert len(splits.train) + len(splits.test) == 17


def test_images_of_lists_are_left_out_as_those_of_folders(split_root):
    for split in ("train", "test"):
        lines = [f"{split}/{name}/{n}.png {label}" for label, name in enumerate(["cat", "dog"]) for n in range(4)]
        (split_root / f"{split}.txt").write_text("\n".join(lines))
    lists = str(split_root), str(split_root / "train.txt"), str(split_root / "test.txt")
    with pytest.raises(BadImages, match="3 of 16 images"):
        ImageList(*lists, size=4).load()
    data = ImageList(*lists, size=4, skip_bad_images=True)
    with pytest.warns(UserWarning, match="3 of 16 images .* left out"):
        splits = data.load()
    assert isinstance(data.augment(), RandomResizedCrop)
    assert isinstance(splits.train, FileSet)
    assert splits.class_counts == (3, 3)
    assert splits.test.targets.tolist() == [0, 0, 0, 1, 1, 1, 1]
