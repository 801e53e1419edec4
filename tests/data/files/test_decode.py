import numpy as np
import pytest
from PIL import Image

from trg_pyg.data.files._decode import read_rgb, shrink, upright_size


@pytest.fixture
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 62, 3), dtype=np.uint8))


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("MPO", "RGB")])
def test_a_jpeg_has_the_pixels_that_pillow_converts_it_to(noise, tmp_path, kind, mode):
    file = tmp_path / "image.jpg"
    noise.convert(mode).save(file, kind, **({"save_all": True, "append_images": [noise]} if kind == "MPO" else {}))
    assert Image.open(file).format == kind
    assert np.array_equal(np.asarray(read_rgb(file)), np.asarray(Image.open(file).convert("RGB")))


@pytest.mark.parametrize(
    ("most", "times", "size"),
    [(0.3, 1, (62, 45)), (1.9, 1, (62, 45)), (2, 2, (31, 23)), (7.9, 4, (16, 12)), (31, 8, (8, 6))],
)
def test_a_jpeg_is_made_smaller_as_far_as_it_may_be(noise, tmp_path, most, times, size):
    noise.save(tmp_path / "image.jpg")
    image = Image.open(tmp_path / "image.jpg")
    assert (shrink(image, most), image.convert("RGB").size) == (times, size)


@pytest.mark.parametrize(("orientation", "size"), [(1, (62, 45)), (3, (62, 45)), (6, (45, 62))])
def test_what_is_turned_is_made_smaller_only_where_its_sides_are_multiples(noise, tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise.save(tmp_path / "image.jpg", exif=exif)
    image = Image.open(tmp_path / "image.jpg")
    assert upright_size(image) == size == read_rgb(tmp_path / "image.jpg").size
    assert shrink(image, 8) == (8 if orientation == 1 else 1)
    noise.resize((60, 44)).save(tmp_path / "even.jpg", exif=exif)
    assert shrink(Image.open(tmp_path / "even.jpg"), 8) == (8 if orientation == 1 else 4)
