"""Corrupted images, to see how much of its accuracy a network loses on them."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg.errors import check_choice, require

SEVERITIES = (1, 2, 3, 4, 5)
_LARGEST_SMALL = 64


class Corruption:
    """One kind of corruption of one severity.

    Kinds and severities are those of CIFAR-10-C for images of at most 64 x 64 pixels, and those of ImageNet-C for
    larger ones: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations (ICLR 2019), ``make_cifar_c.py`` and ``make_imagenet_c.py`` of their repository. Of their 19 kinds
    these are the eight that take neither pictures of frost nor other programs. Noise is drawn anew, results are
    rounded, not cut off, to whole pixel values, a blur reflects the image at its border, and ImageNet-C's files were
    saved as JPEG once more: accuracies are near those on the published files, and not comparable with a published mCE,
    which is also a mean over 15 kinds.

    Args:
        name: one of ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: of the noise, >= 0.

    Raises:
        InputError: there is no such kind or severity, or the seed is negative.
    """

    def __init__(self, name: str, severity: int, seed: int = 0) -> None:
        check_choice("corruption", name, CORRUPTIONS)
        require(severity in SEVERITIES, f"severity {severity} is not one of 1 to 5")
        require(seed >= 0, f"seed {seed} is negative; give 0 or more")
        self.name = name
        self.severity = severity
        self.seed = seed

    def __call__(self, images: Tensor, first: int = 0) -> Tensor:
        """Return corrupted images; those given are not changed.

        The noise of an image follows from the seed and its position in the set, so that it depends neither on the size
        of a batch nor on the device, and is the same for every network.

        Args:
            images: uint8 [B, 3, H, W], on any device.
            first: position of the first of them in its set.

        Returns:
            uint8 [B, 3, H, W], on the same device.

        Raises:
            InputError: the images are of another type or shape, or too small to be blurred.
        """
        require(
            images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3,
            f"images to corrupt are {images.dtype} {list(images.shape)}; they must be torch.uint8 [B, 3, H, W]",
        )
        corrupt, small, large = _KINDS[self.name]
        amount = (small if max(images.shape[2:]) <= _LARGEST_SMALL else large)[self.severity - 1]
        generators = [np.random.default_rng((self.seed, first + i)) for i in range(len(images))]
        return corrupt(images.cpu(), amount, generators).to(images.device)


_Generators = list[np.random.Generator]


def _scaled(images: Tensor) -> Tensor:
    return images.float() / 255


def _pixels(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _drawn(generators: _Generators, draw: Callable[[int, np.random.Generator], np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([draw(i, generator) for i, generator in enumerate(generators)])).float()


def _gaussian_noise(images: Tensor, deviation: float, generators: _Generators) -> Tensor:
    noise = _drawn(generators, lambda _, generator: generator.standard_normal(images.shape[1:], np.float32))
    return _pixels(_scaled(images) + deviation * noise)


def _shot_noise(images: Tensor, photons: float, generators: _Generators) -> Tensor:
    expected = (_scaled(images) * photons).numpy()
    return _pixels(_drawn(generators, lambda i, generator: generator.poisson(expected[i])) / photons)


def _impulse_noise(images: Tensor, share: float, generators: _Generators) -> Tensor:
    """Set a share of the values, of each channel by itself, to 0 or 255."""
    draws = _drawn(generators, lambda _, generator: generator.random(images.shape[1:], np.float32))
    salted = torch.where(draws < share, 255, images)
    return torch.where(draws < share / 2, 0, salted).to(torch.uint8)


def _gaussian_blur(images: Tensor, deviation: float, generators: _Generators) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur  # takes seconds to import

    radius = int(4 * deviation + 0.5)
    require(
        min(images.shape[2:]) > radius,
        f"images of {images.shape[2]}x{images.shape[3]} are too small for a blur of {radius} pixels to each side",
    )
    return _pixels(gaussian_blur(_scaled(images), [2 * radius + 1] * 2, [deviation] * 2))


def _contrast(images: Tensor, factor: float, generators: _Generators) -> Tensor:
    scaled = _scaled(images)
    mean = scaled.mean(dim=(2, 3), keepdim=True)
    return _pixels((scaled - mean) * factor + mean)


def _brightness(images: Tensor, added: float, generators: _Generators) -> Tensor:
    """Add to the value of HSV. Hue and saturation stay: channels are scaled alike, and black becomes grey."""
    scaled = _scaled(images)
    value = scaled.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return _pixels(torch.where(value > 0, scaled * (brighter / value.clamp(min=1 / 255)), brighter))


def _jpeg_compression(images: Tensor, quality: float, generators: _Generators) -> Tensor:
    def compress(image: Image.Image) -> Image.Image:
        stream = BytesIO()
        image.save(stream, "JPEG", quality=int(quality))
        return Image.open(stream)

    return _each(images, compress)


def _pixelate(images: Tensor, share: float, generators: _Generators) -> Tensor:
    def coarsen(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = Image.Resampling.BOX
        return image.resize((max(1, int(width * share)), max(1, int(height * share))), box).resize(image.size, box)

    return _each(images, coarsen)


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Change each image as Pillow has it, since the definitions are Pillow's."""
    changed = [np.asarray(change(Image.fromarray(image))) for image in images.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).contiguous()


_Five = tuple[float, float, float, float, float]
# Each with its five amounts in CIFAR-10-C and in ImageNet-C.
_KINDS: dict[str, tuple[Callable[[Tensor, float, _Generators], Tensor], _Five, _Five]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "jpeg_compression": (_jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
}
CORRUPTIONS = tuple(_KINDS)
