import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
from torchvision import datasets

from trg_pyg.data import CIFAR10, CIFAR100
from trg_pyg.errors import InputError


def dump(path, content) -> str:
    data = pickle.dumps(content)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


def batch(label_key, labels, first):
    """Image i of the batch has red ``first + i``, green 100, blue 200, and one red pixel of 7 at row 1, column 2."""
    pixels = np.zeros((len(labels), 3, 32, 32), np.uint8)
    pixels[:, 0] = np.arange(first, first + len(labels))[:, None, None]
    pixels[:, 1], pixels[:, 2] = 100, 200
    pixels[:, 0, 1, 2] = 7
    return {"data": pixels.reshape(len(labels), -1), label_key: labels}


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    train = [
        [f"data_batch_{i}", dump(folder / f"data_batch_{i}", batch("labels", [i % 2, 1 - i % 2], 10 * i))]
        for i in range(1, 6)
    ]
    test = [["test_batch", dump(folder / "test_batch", batch("labels", [1, 0, 1], 90))]]
    meta = dump(folder / "batches.meta", {"label_names": ["airplane", "automobile"]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": meta})
    return tmp_path


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    train = [["train", dump(folder / "train", batch("fine_labels", [0, 1, 0, 1], 0))]]
    test = [["test", dump(folder / "test", batch("fine_labels", [1, 0], 50))]]
    meta = dump(folder / "meta", {"fine_label_names": ["apple", "aquarium_fish"]})
    monkeypatch.setattr(datasets.CIFAR100, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR100, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": meta})
    return tmp_path


def test_cifar10_is_read_from_its_files(cifar10):
    splits = CIFAR10(root=str(cifar10)).load()
    assert splits.classes == ("airplane", "automobile")
    assert splits.train.images.shape == (10, 3, 32, 32)
    assert splits.train.images.is_contiguous()
    assert splits.train.images[:, :, 0, 0].tolist()[:3] == [[10, 100, 200], [11, 100, 200], [20, 100, 200]]
    assert splits.train.images[0, 0, 1, 2] == 7
    assert splits.train.targets.tolist() == [1, 0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert splits.test.targets.tolist() == [1, 0, 1]
    assert splits.mean == (0.4914, 0.4822, 0.4465)
    assert splits.std == (0.2470, 0.2435, 0.2616)


def test_cifar100_is_read_from_its_files(cifar100):
    splits = CIFAR100(root=str(cifar100), download=False).load()
    assert splits.classes == ("apple", "aquarium_fish")
    assert splits.class_counts == (2, 2)
    assert splits.test.images[:, 0, 0, 0].tolist() == [50, 51]
    assert splits.test.images[0, 0, 1, 2] == 7
    assert splits.mean == (0.5071, 0.4867, 0.4408)
    assert splits.std == (0.2675, 0.2565, 0.2761)


def test_crop_of_four_and_flip_are_the_default():
    augment = CIFAR100().augment()
    assert (augment.crop_padding, augment.flip) == (4, True)


@pytest.mark.parametrize("dataset", [CIFAR10, CIFAR100])
def test_missing_files_are_named_with_the_remedy(dataset, tmp_path):
    with pytest.raises(InputError) as caught:
        dataset(root=str(tmp_path), download=False).load()
    message = str(caught.value)
    folder, file = ("cifar-100-python", "train, test, meta") if dataset is CIFAR100 else ("batches-py", "data_batch_1")
    assert folder in message
    assert file in message
    assert str(tmp_path) in message
    assert "turn download on" in message
    assert "\n" not in message


def test_a_damaged_file_is_refused(cifar100):
    (cifar100 / "cifar-100-python" / "train").write_bytes(b"cut off")
    with pytest.raises(InputError, match="corrupted"):
        CIFAR100(root=str(cifar100), download=False).load()


def test_a_failed_download_is_refused_with_the_remedy(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(InputError, match=r"CIFAR100 .* \(<urlopen error no route to host>\); check the network or put"):
        CIFAR100(root=str(tmp_path)).load()
