"""Fashion-MNIST in its original files."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F

from trg_pyg.data._torchvision import read_splits
from trg_pyg.data.base import ImageData, ImageSet


class FashionMNIST(ImageData):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes in 10 classes, as 32x32 RGB.

    The 28x28 grey images get a border of two zeros and three equal channels; mean and standard deviation are those of
    the images with their border.

    Args:
        root: folder that holds ``FashionMNIST/raw``, or where it is put.
        download: fetch the files (31 MB) if they are not there.
        **kwargs: the options of :class:`ImageData`.
    """

    def __init__(self, root: str = "data", download: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.download = download

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        from torchvision import datasets  # takes seconds to import

        files = [Path(name).stem for name, _ in datasets.FashionMNIST.resources]
        train, test = read_splits(datasets.FashionMNIST, self.root, self.download, "FashionMNIST/raw", files)
        return _image_set(train), _image_set(test), tuple(train.classes)


def _image_set(split: Any) -> ImageSet:
    images = F.pad(split.data, (2, 2, 2, 2)).unsqueeze(1).repeat(1, 3, 1, 1)
    return ImageSet(images, split.targets.long())
