import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trg_pyg.data.files._check import check_images
from trg_pyg.data.files._decode import decode_images
from trg_pyg.errors import InputError


def picture(kind: str, width: int = 60, height: int = 50) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def of_mode(mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def declared(width: int, height: int) -> bytes:
    """A PNG that states a size and has next to no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def scratched(content: bytes) -> bytes:
    """The same length and end, with another middle."""
    middle = len(content) // 2
    return content[:middle] + bytes(100) + content[middle + 100 :]


def bad(root: Path, content: bytes, check: str, name: str = "x.png"):
    (root / name).write_bytes(content)
    return check_images(root, [name], 8, check)


DAMAGES = {
    "empty": (b"", "the file is empty"),
    "text": (b"<html>404 not found</html>", "it is no image of a known format"),
    "JPEG cut off": (picture("JPEG")[:-500], "truncated"),
    "PNG cut off": (picture("PNG")[:-500], "truncated"),
    "GIF cut off": (picture("GIF")[:-500], "truncated"),
    "only a header": (picture("JPEG")[:300], None),
    "16 bits": (of_mode("I;16", "PNG"), "I;16 pixels would be clipped to 8 bits"),
    "32 bits": (of_mode("I", "TIFF"), "I pixels would be clipped"),
    "floating point": (of_mode("F", "TIFF"), "F pixels would be clipped"),
    "enormous": (declared(30_000, 30_000), "Image size (900000000 pixels) exceeds limit of 178956970 pixels"),
}


@pytest.mark.parametrize("check", ["headers", "pixels"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_found_and_said_to_be_so(tmp_path, damage, check):
    content, reason = DAMAGES[damage]
    ((position, file, why, damaged),) = bad(tmp_path, content, check)
    assert (position, file, damaged) == (0, "x.png", True)
    assert (reason or "") in why
    assert why
    assert "\n" not in why


@pytest.mark.parametrize("check", ["headers", "pixels"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_sound_file_passes_whatever_its_name(tmp_path, kind, check):
    assert bad(tmp_path, picture(kind), check) == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_a_mode_that_rgb_can_be_made_of_passes(tmp_path, mode):
    assert bad(tmp_path, of_mode(mode, "PNG"), "headers") == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_what_follows_a_whole_image_does_no_harm(tmp_path, kind):
    assert bad(tmp_path, picture(kind) + b"appended by a camera", "headers") == []


def test_a_scratch_within_a_file_is_found_in_its_pixels_only(tmp_path):
    content = scratched(picture("PNG"))
    assert bad(tmp_path, content, "headers") == []
    assert len(bad(tmp_path, content, "pixels")) == 1
    assert bad(tmp_path, content, "never") == []


@pytest.mark.parametrize("check", ["headers", "pixels"])
def test_an_image_so_narrow_that_resizing_would_fill_the_memory(tmp_path, check):
    Image.new("L", (20_000, 1)).save(tmp_path / "x.png")
    assert check_images(tmp_path, ["x.png"], 64, check) == []
    (failure,) = check_images(tmp_path, ["x.png"], 256, check)
    assert failure.reason == "20000x1 pixels are too narrow: resized, they would be 5120000x256"
    assert decode_images(tmp_path, ["x.png"], 224, 256)[1] == [failure]


@pytest.mark.parametrize("check", ["headers", "pixels"])
def test_what_the_system_does_not_hand_out_is_not_damaged(tmp_path, check):
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "folder.png").mkdir()
    names = ["nowhere.png", "circle.png", "folder.png"]
    failures = check_images(tmp_path, names, 8, check)
    assert [failure.file for failure in failures] == names
    assert [failure.reason for failure in failures][::2] == ["No such file or directory", "Is a directory"]
    assert not any(failure.damaged for failure in failures)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails")
def test_a_disk_error_is_no_damage(tmp_path):
    (tmp_path / "x.png").symlink_to("/proc/self/mem")
    ((_, _, reason, damaged),) = check_images(tmp_path, ["x.png"], 8, "headers")
    assert (reason, damaged) == ("Input/output error", False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_damaged(tmp_path):
    (tmp_path / "x.png").write_bytes(picture("PNG"))
    (tmp_path / "x.png").chmod(0)
    ((_, _, reason, damaged),) = check_images(tmp_path, ["x.png"], 8, "headers")
    assert (reason, damaged) == ("Permission denied", False)


def test_failures_come_in_the_order_of_the_files(tmp_path):
    names = [f"{number}.png" for number in range(600)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"" if number % 7 == 0 else picture("PNG", 3, 3))
    found = [bad.position for bad in check_images(tmp_path, names, 3, "headers")]
    assert found == list(range(0, 600, 7))
    images, failures = decode_images(tmp_path, names, 3, 3)
    assert [bad.position for bad in failures] == found
    assert (images[1] == images[599]).all()


def test_a_lack_of_memory_is_not_the_fault_of_the_file(tmp_path, monkeypatch):
    def convert(image, mode):
        raise MemoryError

    (tmp_path / "x.png").write_bytes(picture("PNG"))
    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(InputError, match=r"memory does not suffice to decode x\.png; .* fewer workers"):
        check_images(tmp_path, ["x.png"], 8, "pixels")
