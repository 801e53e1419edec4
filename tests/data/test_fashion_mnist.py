import struct
import urllib.error

import pytest
import torch

from trg_pyg.data import FashionMNIST
from trg_pyg.errors import InputError


def write_split(folder, name, labels):
    """Image i is filled with 10 + i, its label file names the classes."""
    pixels = b"".join(bytes([10 + i]) * 784 for i in range(len(labels)))
    (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, len(labels), 28, 28) + pixels)
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(labels)) + bytes(labels))


@pytest.fixture
def root(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_split(raw, "train", list(range(10)) * 2)
    write_split(raw, "t10k", list(range(9, -1, -1)))
    return tmp_path


def test_images_get_a_border_of_two_and_three_channels(root):
    splits = FashionMNIST(root=str(root)).load()
    assert splits.train.images.shape == (20, 3, 32, 32)
    expected = torch.zeros(32, 32, dtype=torch.uint8)
    expected[2:30, 2:30] = 13
    assert all(torch.equal(channel, expected) for channel in splits.train.images[3])
    assert splits.test.targets.tolist() == list(range(9, -1, -1))
    assert splits.classes[0] == "T-shirt/top"
    assert splits.class_counts == (2,) * 10


def test_statistics_include_the_border(root):
    mean = FashionMNIST(root=str(root)).load().mean
    assert mean == pytest.approx([19.5 / 255 * 784 / 1024] * 3)


def test_missing_files_are_named_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"FashionMNIST/raw .*turn download on .*t10k-labels-idx1-ubyte"):
        FashionMNIST(root=str(tmp_path), download=False).load()


def test_a_damaged_file_is_refused(root):
    (root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"cut off")
    with pytest.raises(InputError, match="FashionMNIST cannot be read"):
        FashionMNIST(root=str(root)).load()


def test_a_failed_download_is_refused_in_one_line(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*check the network") as caught:
        FashionMNIST(root=str(tmp_path)).load()
    assert "\n" not in str(caught.value)
