import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.data.files.loose_images import find_images, read_images
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.errors import InputError


def write(path: Path, size=(40, 30), mode="RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def test_images_are_those_that_a_dataset_has(tmp_path):
    files = [write(tmp_path / "data" / name / f"{i}.png", (40 + 9 * i, 33)) for name in "ab" for i in range(3)]
    data = ImageFolder(str(tmp_path / "data"), size=16, crop_share=0.8, holdout=0.34, cache=False)
    splits = data.load()
    held = torch.cat([splits.train.images, splits.test.images])
    images, bad = read_images(files, 16, data.shorter)
    assert bad == []
    assert sorted(map(torch.Tensor.tolist, images)) == sorted(map(torch.Tensor.tolist, held))


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a/deep/3.png", ".hidden/4.png", "b/.5.png"):
        write(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    odd = write(tmp_path / "c.png").rename(tmp_path / "scan.0001")
    found = find_images([odd, tmp_path / "b", tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["scan.0001", "b/1.jpg", "b/2.PNG", "a/deep/3.png"]


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing.png: there is no such file or folder"):
        find_images([tmp_path / "nothing.png"])
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"no images in this folder or below; they are known by .*: bmp, .*png"):
        find_images([tmp_path])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_images_of_other_modes_become_rgb(tmp_path, mode):
    ending = "tif" if mode == "CMYK" else "png"
    file = write(tmp_path / f"image.{ending}", (16, 16), mode)
    images, bad = read_images([file], 16, 16)
    assert bad == []
    expected = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(images[0].numpy(), expected)


@pytest.mark.parametrize(("mode", "ending"), [("RGBA", "png"), ("LA", "png"), ("P", "gif"), ("RGB", "png")])
def test_what_is_transparent_shows_the_background_and_not_what_lies_below(tmp_path, mode, ending):
    pixels = np.full((16, 16, 4), (200, 200, 200, 255), np.uint8)
    pixels[:, :8] = 0, 0, 0, 0  # cut away, with black below
    if mode in ("RGBA", "LA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    else:  # one colour of a palette, or one of all, is transparent
        image = Image.fromarray(pixels[:, :, :3])
        image = image.quantize(2) if mode == "P" else image
        hole = image.getpixel((0, 0))
        image.save(tmp_path / f"a.{ending}", transparency=hole)
    for colour, expected in (("white", 255), ("#202020", 32)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            images, bad = read_images([tmp_path / f"a.{ending}"], 16, 16, background=colour)
        assert bad == []
        assert images[0, 0, 0].tolist() == [expected] * 8 + [200] * 8


def test_half_of_a_colour_is_mixed_with_the_background(tmp_path):
    Image.new("RGBA", (16, 16), (100, 0, 200, 51)).save(tmp_path / "a.png")
    images, _ = read_images([tmp_path / "a.png"], 16, 16, background="white")
    assert images[0, :, 0, 0].tolist() == [224, 204, 244]  # 0.2 of the colour, 0.8 of white


def test_what_cannot_be_read_is_named_and_the_others_are_read(tmp_path):
    good = write(tmp_path / "good.png")
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-200])
    files = find_images([tmp_path])
    images, bad = read_images(files, 16, 16)
    reasons = {Path(each.file).name: each.reason for each in bad}
    assert set(reasons) == {"cut.png", "deep.png", "empty.png", "gone.png", "text.png"}
    assert reasons["deep.png"] == "I;16 pixels would be clipped to 8 bits, convert the file"
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["text.png"] == "it is no image of a known format"
    assert reasons["gone.png"] == "No such file or directory"
    alone, _ = read_images([good], 16, 16)
    assert torch.equal(images[files.index(good)], alone[0])
