import hashlib
import pickle

import numpy as np
import pytest
import torch
from torchvision import datasets

from experiments.data import cifar_folder
from experiments.data.cifar_folder import write
from trg_pyg.data import CIFAR100, ImageFolder
from trg_pyg.errors import InputError

CLASSES = ["apple", "maple_tree"]
TRAIN = {"acer_s_000009.png": 1, "pomum_s_000002.png": 0, "apple_s_000027.png": 0, "acer_s_000001.png": 1}
TEST = {"apple_s_000001.png": 0, "maple_s_000003.png": 1}


def dump(path, content) -> str:
    data = pickle.dumps(content)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def part(names, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(names), 3072), dtype=np.uint8)
    return {"filenames": list(names), "fine_labels": list(names.values()), "data": pixels}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Four training and two test images in torchvision's layout, with their own MD5 sums."""
    folder = tmp_path / "archive" / "cifar-100-python"
    folder.mkdir(parents=True)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", dump(folder / "train", part(TRAIN, 0))]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", dump(folder / "test", part(TEST, 1))]])
    meta = dump(folder / "meta", {"fine_label_names": CLASSES})
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": meta})
    return tmp_path / "archive"


def files(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_image_lies_in_its_class_under_its_original_name(root, tmp_path):
    assert write(tmp_path / "new" / "cifar100", root, quiet=True).startswith("6 images in ")
    assert files(tmp_path / "new") == [
        "cifar100/test/apple/apple_s_000001.png",
        "cifar100/test/maple_tree/maple_s_000003.png",
        "cifar100/train/apple/apple_s_000027.png",
        "cifar100/train/apple/pomum_s_000002.png",
        "cifar100/train/maple_tree/acer_s_000001.png",
        "cifar100/train/maple_tree/acer_s_000009.png",
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cifar100"]


def test_the_folder_has_the_pixels_and_labels_of_the_archive(root, tmp_path):
    write(tmp_path / "cifar100", root, quiet=True)
    ours = ImageFolder(str(tmp_path / "cifar100"), cache=False).load()
    theirs = CIFAR100(str(root), download=False).load()
    assert ours.classes == theirs.classes
    by_name = sorted(range(4), key=lambda i: (list(TRAIN.values())[i], list(TRAIN)[i]))
    assert by_name == [2, 1, 3, 0]
    assert torch.equal(ours.train.images, theirs.train.images[by_name])
    assert torch.equal(ours.train.targets, theirs.train.targets[by_name])
    assert torch.equal(ours.test.images, theirs.test.images)


def test_an_empty_folder_is_filled_and_another_one_refused_before_reading(root, tmp_path, monkeypatch):
    target = tmp_path / "cifar100"
    target.mkdir()
    write(target, root, quiet=True)
    before = files(target)
    monkeypatch.setattr(cifar_folder, "read_splits", lambda *args: pytest.fail("read"))
    (tmp_path / "file").touch()
    for taken in (target, tmp_path / "file"):
        with pytest.raises(InputError, match=f"{taken} is not an empty folder; give another one"):
            write(taken, root, quiet=True)
    assert files(target) == before


def test_an_interruption_leaves_nothing(root, tmp_path, monkeypatch):
    def interrupted(pixels):
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar_folder.Image, "fromarray", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cifar100", root, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


class Trap:
    """What a pickle can do: it raises when it is read."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_a_damaged_archive_is_never_unpickled(root, tmp_path, monkeypatch):
    dump(root / "cifar-100-python" / "train", Trap())
    # torchvision fetches a damaged archive again.
    monkeypatch.setattr(datasets.CIFAR100, "download", lambda self: None)
    with pytest.raises(InputError, match=r"CIFAR100 cannot be read .* corrupted"):
        write(tmp_path / "cifar100", root, quiet=True)


def test_a_file_that_is_exchanged_after_the_check_is_never_unpickled(root, tmp_path, monkeypatch):
    def read_and_exchange(*args):
        splits = read_splits(*args)
        dump(root / "cifar-100-python" / "test", Trap())
        return splits

    read_splits = cifar_folder.read_splits
    monkeypatch.setattr(cifar_folder, "read_splits", read_and_exchange)
    with pytest.raises(InputError, match=r"cifar-100-python/test: its md5 is .*, torchvision has .*: it was not read"):
        write(tmp_path / "cifar100", root, quiet=True)
    assert not (tmp_path / "cifar100").exists()


@pytest.mark.parametrize("member", ["../../outside.png", "/tmp/outside.png", "..", "", "a/b.png", "..\\outside.png"])
def test_a_name_that_leads_out_of_its_folder_is_refused(root, tmp_path, monkeypatch, member):
    names = part(TRAIN, 0) | {"filenames": ["a.png", "b.png", member, "c.png"]}
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", dump(root / "cifar-100-python" / "train", names)]])
    with pytest.raises(InputError, match=r"the train split names '.*', which would be written elsewhere") as error:
        write(tmp_path / "new" / "cifar100", root, quiet=True)
    assert repr(f"apple/{member}") in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert not list(tmp_path.rglob("outside.png"))


def test_an_image_that_is_named_twice_is_refused(root, tmp_path, monkeypatch):
    twice = part(TRAIN, 0) | {"filenames": ["a.png", "b.png", "b.png", "c.png"]}
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", dump(root / "cifar-100-python" / "train", twice)]])
    with pytest.raises(InputError, match=r"the train split names apple/b\.png twice"):
        write(tmp_path / "cifar100", root, quiet=True)
