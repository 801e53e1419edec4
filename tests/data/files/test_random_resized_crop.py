import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from trg_pyg.data import RandomResizedCrop
from trg_pyg.data.files import random_resized_crop
from trg_pyg.data.files._decode import read_rgb, shrink
from trg_pyg.errors import InputError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(width: int, height: int) -> Image.Image:
    pixels = torch.randint(0, 256, (height, width, 3), generator=seeded(1)).byte().numpy()
    return Image.fromarray(pixels)


@given(width=st.integers(1, 600), height=st.integers(1, 600), seed=st.integers(0, 2**62))
def test_a_box_lies_within_its_image(width, height, seed):
    left, top, w, h = RandomResizedCrop().box(width, height, seeded(seed))
    assert w >= 1
    assert h >= 1
    assert 0 <= left <= width - w
    assert 0 <= top <= height - h


def test_area_and_ratio_are_drawn_as_by_torchvision():
    crop, generator = RandomResizedCrop(), seeded(0)
    ours = np.array([crop.box(400, 300, generator) for _ in range(8000)], dtype=float)
    theirs = v2.RandomResizedCrop(224)
    image = torch.empty(3, 300, 400, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([image]) for _ in range(8000)]
    theirs = np.array([[d["left"], d["top"], d["width"], d["height"]] for d in drawn], dtype=float)
    for boxes in (ours, theirs):  # area and logarithm of the ratio in the place of width and height
        boxes[:, 2:] = np.stack([boxes[:, 2] * boxes[:, 3] / 120_000, np.log(boxes[:, 2] / boxes[:, 3])], axis=1)
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        difference = np.quantile(ours, quantile, axis=0) - np.quantile(theirs, quantile, axis=0)
        assert np.all(np.abs(difference) < [6, 6, 0.025, 0.025])


@pytest.mark.parametrize(("width", "height"), [(500, 20), (20, 500)])
def test_where_no_box_fits_the_largest_centred_one_is_taken(width, height):
    crop = RandomResizedCrop(scale=(1.0, 1.0))
    left, top, w, h = crop.box(width, height, seeded(0))
    assert (left, top) == ((width - w) // 2, (height - h) // 2)
    assert (w, h) == ((27, 20) if width > height else (20, 27))


def test_pixels_are_those_of_torchvision_for_the_same_box():
    crop, image = RandomResizedCrop(flip=False), picture(60, 45)
    for seed in range(20):
        left, top, width, height = crop.box(60, 45, seeded(seed))
        cut = functional.resized_crop(image, top, left, height, width, [32, 32], InterpolationMode.BILINEAR)
        assert np.array_equal(crop(image, 32, seeded(seed)), np.asarray(cut).transpose(2, 0, 1))


def test_half_of_the_images_are_mirrored_and_nothing_else_changes():
    image, plain, flipped = picture(20, 20), RandomResizedCrop(flip=False), RandomResizedCrop()
    mirrored = 0
    for seed in range(400):
        expected, drawn = plain(image, 8, seeded(seed)), flipped(image, 8, seeded(seed))
        mirrored += not np.array_equal(drawn, expected)
        assert np.array_equal(drawn, expected) or np.array_equal(drawn, expected[:, :, ::-1])
    assert 160 < mirrored < 240


def ramps(width: int, height: int) -> Image.Image:
    """Red grows to the right and green downwards, so that the mean of a cut says where it lies."""
    right, down = np.linspace(0, 255, width)[None], np.linspace(0, 255, height)[:, None]
    grid = np.zeros((height, width))
    return Image.fromarray(np.stack([right + grid, down + grid, grid + 128], axis=-1).round().astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(501, 377), (480, 640)])
def test_scaled_the_same_boxes_are_cut_out_of_smaller_images(tmp_path, monkeypatch, width, height, orientation):
    file, exif, times = tmp_path / "image.jpg", Image.Exif(), []
    exif[0x0112] = orientation
    ramps(width, height).save(file, quality=95, exif=exif)

    monkeypatch.setattr(random_resized_crop, "shrink", lambda *args: times.append(shrink(*args)) or times[-1])
    for seed in range(30):
        size = 20 + 3 * seed
        exact = RandomResizedCrop()(read_rgb(file), size, seeded(seed)).astype(float)
        scaled = RandomResizedCrop(scaled=True).read(file, size, seeded(seed)).astype(float)
        assert np.abs(scaled - exact).mean() < 0.8
        # A pixel of the photograph is a ramp's half; a box that lay one pixel of an eighth further on would be 4 away.
        assert np.abs((scaled - exact).mean(axis=(1, 2))).max() < 0.3
    assert set(times) == ({1, 2, 4, 8} if orientation == 1 or width == 480 else {1})


def test_what_is_no_jpeg_is_the_same_scaled_and_so_is_a_jpeg_that_is_not(tmp_path):
    for name, options in (("image.png", {"scaled": True}), ("image.webp", {"scaled": True}), ("image.jpg", {})):
        picture(400, 300).save(tmp_path / name)
        read = RandomResizedCrop(**options).read(tmp_path / name, 20, seeded(3))
        assert np.array_equal(read, RandomResizedCrop()(read_rgb(tmp_path / name), 20, seeded(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.5, 0.1)}, "scale"),
        ({"scale": (0.5, 1.5)}, "scale"),
        ({"ratio": (0.0, 1.0)}, "ratio"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
        ({"ratio": (1.0, math.inf)}, "ratio"),
    ],
)
def test_impossible_ranges_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        RandomResizedCrop(**options)
