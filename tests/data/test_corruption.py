import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.data.corruption import CORRUPTIONS, SEVERITIES, Corruption
from trg_pyg.errors import InputError


def smooth(count=4, size=32):
    """Images with large and small structures, uint8 [count, 3, size, size]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    fine = torch.rand(count, 3, size, size, generator=generator)
    large = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return ((0.8 * large + 0.2 * fine) * 255).to(torch.uint8)


def distance(images, corrupted):
    return (images.float() - corrupted.float()).abs().mean().item()


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_gets_worse_with_its_severity(name, size):
    images = smooth(size=size)
    before = images.clone()
    corrupted = [Corruption(name, severity)(images) for severity in SEVERITIES]
    assert torch.equal(images, before)
    assert all(each.dtype == torch.uint8 and each.shape == images.shape for each in corrupted)
    distances = [distance(images, each) for each in corrupted]
    assert distances[0] > 0
    # Pillow's box hits whole pixels at some sizes and not at others, so pixelation is not monotone from step to step.
    steady = distances if name != "pixelate" else distances[::2]
    assert steady == sorted(steady)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_every_batch(name):
    images = smooth()
    whole = Corruption(name, 3, seed=7)(images)
    parts = [Corruption(name, 3, seed=7)(part, first) for part, first in ((images[:1], 0), (images[1:], 1))]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_noise_follows_the_seed_and_differs_between_images(name):
    images = smooth(1).expand(2, -1, -1, -1)
    corrupted = Corruption(name, 5)(images)
    assert not torch.equal(corrupted[0], corrupted[1])
    assert not torch.equal(Corruption(name, 5, seed=1)(images), corrupted)


def grey(level=128, count=20):
    return torch.full((count, 3, 32, 32), level, dtype=torch.uint8)


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.04), (5, 0.10)])
def test_gaussian_noise_has_its_deviation(severity, deviation):
    noise = Corruption("gaussian_noise", severity)(grey()).float() / 255 - 128 / 255
    assert noise.mean().item() == pytest.approx(0, abs=0.001)
    assert noise.std().item() == pytest.approx(deviation, rel=0.02)


def test_shot_noise_is_that_of_counted_photons():
    level = 128 / 255
    noise = Corruption("shot_noise", 5)(grey()).float() / 255 - level
    assert noise.mean().item() == pytest.approx(0, abs=0.001)
    assert noise.std().item() == pytest.approx((level / 50) ** 0.5, rel=0.02)


def test_impulse_noise_is_salt_and_pepper_in_equal_parts():
    corrupted = Corruption("impulse_noise", 5)(grey())
    assert (corrupted == 0).float().mean().item() == pytest.approx(0.035, rel=0.1)
    assert (corrupted == 255).float().mean().item() == pytest.approx(0.035, rel=0.1)
    assert set(corrupted.unique().tolist()) == {0, 128, 255}


def test_a_blur_keeps_what_is_even_and_spreads_a_point():
    assert torch.equal(Corruption("gaussian_blur", 5)(grey(77)), grey(77))
    point = grey(0, 1)
    point[:, :, 16, 16] = 255
    blurred = Corruption("gaussian_blur", 5)(point)[0, 0].float()
    # sigma 1: the density of the normal distribution in two dimensions
    assert blurred[16, 16] == round(255 / (2 * np.pi))
    assert blurred[16, 17] == pytest.approx(255 / (2 * np.pi) * np.exp(-0.5), abs=1)


def test_contrast_scales_the_distance_from_the_mean_of_each_channel():
    images = grey(100, 1)
    images[:, :, :16] = 200
    images[:, 2] = 50
    corrupted = Corruption("contrast", 2)(images)
    assert corrupted[0, 0, 0, 0] == 175
    assert corrupted[0, 0, 31, 0] == 125
    assert torch.equal(corrupted[:, 2], images[:, 2])


@pytest.mark.parametrize("colour", [(200, 100, 50), (10, 10, 10), (0, 0, 0), (1, 0, 0), (255, 3, 250), (240, 240, 0)])
def test_brightness_adds_to_the_value_of_hsv(colour):
    images = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))
    corrupted = Corruption("brightness", 5)(images)
    assert corrupted[0, :, 4, 4].tolist() == [round(255 * channel) for channel in expected]


def test_jpeg_and_pixelate_are_pillows():
    images = smooth(1)
    image = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    stream = BytesIO()
    image.save(stream, "JPEG", quality=40)
    small = image.resize((20, 20), Image.Resampling.BOX)
    for name, expected in (
        ("jpeg_compression", Image.open(stream)),
        ("pixelate", small.resize((32, 32), Image.Resampling.BOX)),
    ):
        corrupted = Corruption(name, 5)(images)
        assert np.array_equal(corrupted[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_large_images_take_the_amounts_of_imagenet_c():
    images = torch.full((2, 3, 96, 96), 128, dtype=torch.uint8)
    noise = Corruption("gaussian_noise", 1)(images).float() / 255
    assert noise.std().item() == pytest.approx(0.08, rel=0.02)


@pytest.mark.parametrize(
    ("name", "severity", "seed", "message"),
    [
        ("fog", 1, 0, "corruption=fog: choose gaussian_noise or"),
        ("contrast", 0, 0, "severity 0 is not one of 1 to 5"),
        ("contrast", 6, 0, "severity 6 is not one of 1 to 5"),
        ("contrast", 1, -1, "seed -1 is negative"),
    ],
)
def test_what_there_is_not_is_refused(name, severity, seed, message):
    with pytest.raises(InputError, match=message):
        Corruption(name, severity, seed)


def test_other_images_are_refused():
    with pytest.raises(
        InputError, match=r"images to corrupt are torch.float32 \[2, 3, 8, 8\]; they must be torch.uint8"
    ):
        Corruption("contrast", 1)(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match="images of 4x4 are too small for a blur of 4 pixels to each side"):
        Corruption("gaussian_blur", 5)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


@pytest.mark.gpu
def test_a_gpu_gets_the_same_images():
    images = smooth()
    for name in CORRUPTIONS:
        corrupted = Corruption(name, 4)(images.cuda())
        assert corrupted.is_cuda
        assert torch.equal(corrupted.cpu(), Corruption(name, 4)(images))
