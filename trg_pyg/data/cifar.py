"""CIFAR-10 and CIFAR-100 in their original files."""

from typing import Any

import torch

from trg_pyg.data._torchvision import read_splits
from trg_pyg.data.base import ImageData, ImageSet


class CIFAR10(ImageData):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in 10 classes.

    Args:
        root: folder that holds ``cifar-10-batches-py``, or where it is put.
        download: fetch the files (170 MB) if they are not there.
        **kwargs: the options of :class:`ImageData`.
    """

    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)

    def __init__(self, root: str = "data", download: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.download = download

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        from torchvision import datasets  # takes seconds to import

        return _read_cifar(datasets.CIFAR10, self.root, self.download)


class CIFAR100(ImageData):
    """CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels in 100 classes.

    Args:
        root: folder that holds ``cifar-100-python``, or where it is put.
        download: fetch the files (169 MB) if they are not there.
        **kwargs: the options of :class:`ImageData`.
    """

    mean = (0.5071, 0.4867, 0.4408)
    std = (0.2675, 0.2565, 0.2761)

    def __init__(self, root: str = "data", download: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.download = download

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        from torchvision import datasets  # takes seconds to import

        return _read_cifar(datasets.CIFAR100, self.root, self.download)


def _read_cifar(dataset: Any, root: str, download: bool) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    files = [name for name, _ in dataset.train_list + dataset.test_list] + [dataset.meta["filename"]]
    train, test = read_splits(dataset, root, download, dataset.base_folder, files)
    return _image_set(train), _image_set(test), tuple(train.classes)


def _image_set(split: Any) -> ImageSet:
    images = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.tensor(split.targets, dtype=torch.int64))
