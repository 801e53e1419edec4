import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from trg_pyg.data import CIFAR10, Digits, ImageFolder, ImageSet
from trg_pyg.data.files import _contents
from trg_pyg.data.files._contents import read_contents


@pytest.fixture
def place(tmp_path) -> Path:
    for name in ("a|b.png", "line\nbreak.bmp"):
        Image.new("RGBA" if name.endswith("png") else "RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def names(root: Path) -> list[str]:
    return sorted(file.name for file in root.iterdir() if file.is_file())


def kept(root: Path) -> list[_contents.Content]:
    return read_contents(root, names(root), [root / "kept"])


def test_a_file_is_read_once_while_it_does_not_change(place, monkeypatch):
    read = []
    monkeypatch.setattr(_contents, "_read", lambda path, whole=_contents._read: read.append(path) or whole(path))
    first = kept(place)
    assert [content.alpha for content in first] == [True, False]
    assert kept(place) == first
    assert len(read) == 2
    file = place / "line\nbreak.bmp"
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as copies do that keep times
    assert kept(place) != first
    assert read[2:] == [str(file)]


@pytest.mark.parametrize("junk", [b"", b"|||", b"\0", b"0" * 32 + b"|a|1 2 3 4|x\0||\0"])
def test_a_damaged_record_is_made_anew(place, junk):
    first = kept(place)
    sound = (place / "kept" / "contents").read_bytes()
    (place / "kept" / "contents").write_bytes(junk)
    assert kept(place) == first
    if junk:  # an empty one is a sound one of no files
        assert (place / "kept" / "contents").read_bytes() == sound


def test_what_the_system_does_not_hand_out_has_no_digest_and_is_not_kept(place):
    (place / "gone.png").symlink_to(place / "nowhere")
    files = [*names(place), "gone.png"]
    assert [bool(content.digest) for content in read_contents(place, files, [place / "kept"])] == [True, True, False]
    assert b"gone" not in (place / "kept" / "contents").read_bytes()


def test_files_have_one_digest_in_memory_and_streamed(tmp_path):
    for name, value in (("cat", 1), ("dog", 2)):
        for number in range(4):
            file = tmp_path / name / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (4, 4), (value, number, 0)).save(file)

    def digest(**options: object) -> str:
        return ImageFolder(str(tmp_path), size=4, **options).load().digest

    plain = digest()
    assert digest(stream=True) == digest(cache=False) == plain
    assert digest(validation=0.5) == digest(imbalance=2) == plain  # which the options of a run say
    assert digest(subset_seed=1) != plain  # other images are held out


def test_images_from_no_files_are_known_by_their_pixels_and_classes(monkeypatch):
    digits = Digits().load().digest
    assert digits == Digits(imbalance=10).load().digest
    assert len(digits) == 64

    def colours(value: int, names: tuple[str, str] = ("a", "b")) -> str:
        part = ImageSet(torch.full((2, 3, 4, 4), value).byte(), torch.tensor([0, 1]))
        monkeypatch.setattr(CIFAR10, "_read", lambda self: (part, part, names))
        return CIFAR10().load().digest

    assert colours(1) == colours(1)
    assert len({colours(1), colours(2), colours(1, ("b", "a"))}) == 3
