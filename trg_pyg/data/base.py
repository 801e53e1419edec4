"""What a dataset is to the rest of the package: images, in memory or in files, to train on and to evaluate on."""

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg._size import Size, shown_clip, size_of
from trg_pyg.batch import Inputs
from trg_pyg.data._views import chosen
from trg_pyg.data.files._contents import digest_of, read_contents
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.splits._members import check_classes
from trg_pyg.data.splits.holdout import Evaluated, Held, check_fraction, holdout_indices
from trg_pyg.data.splits.long_tail import check_imbalance, long_tail_indices
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.errors import InputError, count, few, require
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.image_classification import ImageClassification

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory and their classes; a subclass may say that something else is learnt of them.

    Attributes:
        images: uint8 [N, channels, H, W].
        targets: int64 [N], values in [0, C); of a label for each pixel, [N, H, W]; of boxes, float32 [N, M, 6].
        digest: hash of the files that they are from, with their names and classes, where there are any.
        places: of a part of a data set: the position of each image in the whole, int64 [N] on the CPU.
        task: what is learnt of them.
        axes: of each of them, for messages.
    """

    task: ClassVar[Task] = ImageClassification()
    axes: ClassVar[str] = "channels, H, W"

    images: Tensor
    targets: Tensor
    digest: str | None = None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def image_size(self) -> Size:
        """Side of square images, in pixels; else height and width."""
        return size_of(*self.images.shape[-2:])

    @property
    def frames(self) -> int:
        """Frames of every clip; 0 of images."""
        return 0

    @property
    def example(self) -> Size | Inputs:
        """What a network is described with."""
        return self.image_size

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return self.images.shape[1]

    def read(self, index: Tensor) -> Tensor:
        """Return the images at positions int64 [b]."""
        # On a CPU index_select copies whole images, where images[index] goes pixel by pixel.
        return self.images.index_select(0, index)

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the set on ``device``; what is already there is not copied."""
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))

    def select(self, index: Tensor) -> "ImageSet":
        """Return the images at ``index`` (int64 [M] positions or bool [N]) as a set of their own."""
        places = chosen(self.places, index)
        return replace(self, images=self.images[index], targets=self.targets[index], digest=None, places=places)


# What a split can be. All kinds have a length, targets and an example, go to a device and give a part of themselves;
# trg_pyg.data.loading.loader.make_loader makes batches of each. Those of images have a size and channels too.
ImageSource = ImageSet | FileSet
Source = ImageSource | InputSet
Augmentation = Augment | RandomResizedCrop


@dataclass(frozen=True, eq=False)
class Splits:
    """A dataset that is ready to train on.

    Attributes:
        train: the training images, without those held out, after the long tail.
        test: the images to evaluate on: those of the test split, or, where ``evaluated`` is "validation", training
            images that were held out. Metrics named ``test/...`` are of these images, whichever they are.
        classes: C names; class i of the targets is ``classes[i]``.
        mean: mean of each channel, in [0, 1], for pixels scaled from 0..255 to [0, 1]; of what is no images, none.
        std: standard deviation of each channel on the same scale, > 0.
        evaluated: the split that ``test`` holds.
        digest: hash of all that was read, before validation and long tail: names of classes in their order, and names,
            classes and contents of files; of images that come from no files, pixels and classes. It is the same
            wherever they lie, and whether files are decoded into memory or streamed.
        heldout: a share of each class of the training images that is neither trained on nor evaluated as the result:
            the best epoch is chosen by it, and methods may learn of it; None where there is none.
        unlabelled: images for methods that learn without labels; None where there are none.
    """

    train: Source
    test: Source
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evaluated: Evaluated = "test"
    digest: str = ""
    heldout: Source | None = None
    unlabelled: Source | None = None

    @property
    def image_size(self) -> Size:
        """Side of square images, in pixels; else height and width.

        Raises:
            InputError: they are no images.
        """
        train = self.train
        if isinstance(train, InputSet):
            raise InputError(f"this is for images, and the data are {train.task.item}s")
        return train.image_size

    @property
    def item(self) -> str:
        """What one of them is called."""
        return self.train.task.item

    @property
    def shown_size(self) -> str:
        """The size of an item for a reader."""
        if self.vocabulary is not None:
            return f"at most {self.vocabulary.max_tokens} tokens"
        if isinstance(self.train, InputSet):
            return _size(self.train)
        return shown_clip(self.image_size, self.frames)

    @property
    def frames(self) -> int:
        """Frames of every clip; 0 of what is no clips."""
        return self.train.frames if isinstance(self.train, ImageSet) else 0

    @property
    def example(self) -> Size | Inputs:
        """What networks are described with."""
        return self.train.example

    @property
    def vocabulary(self) -> Vocabulary | None:
        """How texts became numbers; None where the data are none."""
        return getattr(self.train, "vocabulary", None)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return len(self.mean)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, C numbers; where labels are those of pixels, all of them for each."""
        return _class_counts(self.train, len(self.classes))

    def holding_out(self, share: float, seed: int) -> "Splits":
        """Return the same with a share of each class of the training images as ``heldout``; see :class:`ImageData`."""
        train, heldout = _hold_out(self.train, self.classes, share, seed, "heldout")
        return replace(self, train=train, heldout=heldout)

    def to(self, device: torch.device | str) -> "Splits":
        """Return the same with all images on a device; of streamed ones, the batches go there."""
        parts = {name: getattr(self, name) for name in ("train", "test", "heldout", "unlabelled")}
        return replace(self, **{name: part.to(device) for name, part in parts.items() if part is not None})

    @property
    def pools(self) -> dict[str, Source]:
        """What methods may take beside the training images, by name, where it is there."""
        both = {"heldout": self.heldout, "unlabelled": self.unlabelled}
        return {name: source for name, source in both.items() if source is not None}


class Data(ABC):
    """Base class of all datasets; the constructor is the configuration, reading starts with :meth:`load`.

    A dataset is a subclass that implements ``_read``.

    Args:
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            everything.
        subset_seed: chooses what a long-tailed or held-out split takes. Every choice is made among what the one before
            has left.
        validation: share of each class of the training items, in (0, 1), that is held out, at least one, and takes the
            place of the test split; None evaluates on the test split.
        heldout: share of each class of the training items, in (0, 1), that is taken from all methods alike, at least
            two where a class has three: the best epoch is chosen by it, and methods may learn of it. None chooses the
            best epoch by what is evaluated on.

    Raises:
        InputError: ``imbalance`` is below 1, or ``validation`` or ``heldout`` is outside (0, 1).
    """

    def __init__(
        self,
        imbalance: float | None = None,
        subset_seed: int = 0,
        validation: float | None = None,
        heldout: float | None = None,
    ) -> None:
        require(abs(subset_seed) < 2**63, f"subset_seed {subset_seed} is no number of 64 bits; give one such as 0")
        if imbalance is not None:
            check_imbalance(imbalance)
        if validation is not None:
            check_fraction(validation, "validation")
        if heldout is not None:
            check_fraction(heldout, "heldout")
        self.imbalance, self.subset_seed = imbalance, subset_seed
        self.validation, self.heldout = validation, heldout

    @abstractmethod
    def _read(self) -> tuple[Source, Source, tuple[str, ...]]:
        """Return the training set, the test set and the class names."""

    @property
    def long_tailed(self) -> bool:
        """Whether accuracy is worth reporting for classes with many, medium and few training items."""
        return self.imbalance is not None

    def load(self) -> Splits:
        """Read the dataset into memory, on the CPU; of a streamed one, the names of its files.

        With ``validation`` the test split is not returned.

        Raises:
            InputError: the data cannot be read, a class has nothing in one of the splits, the items of the splits
                differ in size or channels, a class has too few training items for ``validation`` or ``heldout``, or
                ``imbalance`` leaves a class without one; or what else a subclass refuses.
        """
        train, test, classes = self._read()
        if train.task.answers_for != "anchor":  # a box of one class is another thing than none
            check_classes(classes, type(self).__name__, train.task.item)
        _check_split(train, "training", classes)
        _check_split(test, "test", classes)
        item = train.task.item
        require(
            _size(train) == _size(test),
            f"the training {item}s are {_size(train)} but the test {item}s {_size(test)}; bring both to one size",
        )
        digest = digest_of([len(classes), *classes, _digest(train), _digest(test)])
        evaluated: Evaluated = "test"
        measured = test
        if self.validation is not None:
            train, measured = _hold_out(train, classes, self.validation, self.subset_seed, "validation")
            evaluated = "validation"
        if self.imbalance is not None:
            train = train.select(long_tail_indices(train.targets, len(classes), self.imbalance, self.subset_seed))
        heldout = None
        if self.heldout is not None:
            train, heldout = _hold_out(train, classes, self.heldout, self.subset_seed, "heldout")
        return self._completed(Splits(train, measured, classes, (), (), evaluated, digest, heldout), test)

    def _completed(self, splits: Splits, test: Source) -> Splits:
        """Return the splits with what belongs to this kind of data; ``test`` is the test split, also of validation."""
        return splits

    def augment(self) -> Augmentation | None:
        """Return the augmentation of the training images; None for none."""
        return None


class ImageData(Data):
    """Base class of the image datasets.

    One that has published channel statistics names them in ``mean`` and ``std``; for the others they are computed from
    the training images, where those are in memory. Streamed images are not decoded for that: they take ImageNet's.

    Hyper-parameters are to be chosen with ``validation``, on training images that are held out, never on the test
    images. Both parts have the class proportions of the dataset's training split; ``imbalance`` then makes a long tail
    of what is left to train on, so that the validation images of a balanced dataset are balanced, as its test images
    are.

    ``heldout`` is taken of what is trained on then, hence as long-tailed: where an epoch is chosen, or a method learns
    of images that it is not trained on, it is by these, and the test images still measure the result.

    Args:
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training image.
        subset_seed: chooses which images a long-tailed or held-out split takes. Every choice is made among the images
            that the one before has left.
        crop_padding: zeros on each side before the random crop, >= 0; 0 leaves the crop out; None takes the dataset's
            own default. (A number here would follow from one dataset to another when a configuration changes class.)
        flip: mirror training images left to right at random; None takes the dataset's own default.
        validation: share of each class of the training images, in (0, 1), that is held out, at least one image, and
            takes the place of the test split; None evaluates on the test split.
        heldout: share of each class of the training images, in (0, 1), that is taken from all methods alike, at least
            two images where a class has three: the best epoch is chosen by it, and methods may learn of it. None
            chooses the best epoch by the images evaluated on.
        unlabelled: folder of images, at any depth, for methods that learn without labels; they are brought to the size
            of the others. None has no such images.

    Raises:
        InputError: ``imbalance`` is below 1, ``crop_padding`` is negative, or ``validation`` or ``heldout`` is outside
            (0, 1).
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    default_crop_padding: int = 4
    default_flip: bool = True

    def __init__(
        self,
        imbalance: float | None = None,
        subset_seed: int = 0,
        crop_padding: int | None = None,
        flip: bool | None = None,
        validation: float | None = None,
        heldout: float | None = None,
        unlabelled: str | None = None,
    ) -> None:
        super().__init__(imbalance, subset_seed, validation, heldout)
        self.unlabelled = None if unlabelled is None else Path(unlabelled).expanduser()
        self._augment = Augment(
            self.default_crop_padding if crop_padding is None else crop_padding,
            self.default_flip if flip is None else flip,
        )

    @abstractmethod
    def _read(self) -> tuple[ImageSource, ImageSource, tuple[str, ...]]:
        """Return the training set, the test set and the class names."""

    def _completed(self, splits: Splits, test: Source) -> Splits:
        train = splits.train
        assert not isinstance(train, InputSet)
        if self.mean is not None and self.std is not None:
            require(
                len(self.mean) == len(self.std) == train.channels,
                f"mean {self.mean} and std {self.std} of images with {count(train.channels, 'channel')}; give one "
                "value a channel",
            )
            mean, std = self.mean, self.std
        elif isinstance(train, FileSet):
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            mean, std = channel_statistics(train.images)
        splits = replace(splits, mean=mean, std=std)
        if self.unlabelled is None:
            return splits
        measured: list[tuple[str, Any]] = [("test", test)]
        if splits.evaluated == "validation":
            measured.append((splits.evaluated, splits.test))
        measured.append(("held-out", splits.heldout))
        return replace(splits, unlabelled=self._read_unlabelled(self.unlabelled, train, measured))

    def _read_unlabelled(self, folder: Path, train: ImageSource, measured: list[tuple[str, Any]]) -> ImageSource:
        from trg_pyg.data.unlabelled import read_unlabelled  # which knows this module

        return read_unlabelled(folder, self, train, measured)

    def augment(self) -> Augmentation:
        """Return the augmentation of the training images."""
        return self._augment


def _digest(part: Source) -> str:
    if part.digest is not None:
        return part.digest
    if isinstance(part, FileSet):
        names = [os.fsdecode(name) for name in part.files]
        return digest_of(
            [*names, *part.targets.tolist(), *(each.digest for each in read_contents(part.root, names, []))]
        )
    tensors = _tensors(part)
    digest = hashlib.sha256(str(list(tensors[0].shape)).encode())
    for tensor in (*tensors, part.targets):
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _tensors(part: ImageSet | InputSet) -> list[Tensor]:
    """Return what is in memory, of several tensors in the order of their names."""
    inputs = part.images if isinstance(part, ImageSet) else part.inputs
    return [inputs] if isinstance(inputs, Tensor) else [inputs[name] for name in sorted(inputs)]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation over all pixels of each channel, on the [0, 1] scale.

    A channel that is constant has a standard deviation of 1, so that dividing by it is harmless.

    Args:
        images: uint8 [N, C, H, W], N >= 1.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        # A histogram is exact and needs no copy of the images in floating point.
        counts = torch.stack([torch.bincount(part.flatten(), minlength=256) for part in channel.split(4096)]).sum(0)
        share = counts.cpu().double() / channel.numel()
        centre = float(share @ levels)
        mean.append(centre)
        std.append(float(share @ (levels - centre) ** 2) ** 0.5 or 1.0)
    return tuple(mean), tuple(std)


def _hold_out(
    train: Source, classes: tuple[str, ...], fraction: float, seed: int, split: Held
) -> tuple[Source, Source]:
    """Return what is left to train on, and what is held out."""
    # One seed serves the test split of one folder, these and the long tail. Each draws among what the one before has
    # left, so no image is in two of them, and since the sizes of the classes differ the draws do not repeat each other.
    held = torch.zeros(len(train), dtype=torch.bool)
    if train.task.answers_for:  # images of no class each
        held[holdout_indices(torch.zeros(len(train), dtype=torch.int64), ("all",), fraction, seed, split)] = True
    else:
        held[holdout_indices(train.targets, classes, fraction, seed, split, train.task.item)] = True
    return train.select(~held), train.select(held)


def _class_counts(image_set: Source, num_classes: int) -> tuple[int, ...]:
    if image_set.task.answers_for:
        return (len(image_set),) * num_classes
    return tuple(torch.bincount(image_set.targets, minlength=num_classes).tolist())


def _size(image_set: Source) -> str:
    if isinstance(image_set, InputSet):
        return " and ".join(str(list(each.shape[1:])) for each in _tensors(image_set))
    shown = shown_clip(image_set.image_size, image_set.frames if isinstance(image_set, ImageSet) else 0)
    return shown if image_set.channels == 3 else f"{shown} of {count(image_set.channels, 'channel')}"


def _check_split(image_set: Source, split: str, classes: tuple[str, ...]) -> None:
    if isinstance(image_set, ImageSet):
        _check_images(image_set, split)
    targets, part = image_set.targets, image_set.task.answers_for
    kind = torch.float32 if part == "anchor" else torch.int64
    images = len(image_set.files if isinstance(image_set, FileSet) else _tensors(image_set)[0])
    require(
        targets.dtype == kind and targets.shape[: 1 if part else None] == (images,),
        f"the {split} targets are {targets.dtype} {list(targets.shape)}; they must be {kind} [{images}]",
    )
    if part:
        return
    outside = targets[(targets < 0) | (targets >= len(classes))]
    require(
        len(outside) == 0,
        f"the {split} targets hold {outside[:1].tolist()} but there are {len(classes)} classes; they count from 0",
    )
    empty = [name for name, there in zip(classes, _class_counts(image_set, len(classes)), strict=True) if not there]
    if empty:
        raise InputError(
            f"no {image_set.task.item} in the {split} split for class {few(empty)}; add some or remove the class from "
            "both splits"
        )


def _check_images(image_set: ImageSet, split: str) -> None:
    images, axes = image_set.images, image_set.axes
    require(
        images.dtype == torch.uint8 and images.dim() == 2 + axes.count(",") and min(images.shape[1:]) > 0,
        f"the {split} {image_set.task.item}s are {images.dtype} {list(images.shape)}; they must be torch.uint8 [N, "
        f"{axes}]",
    )
