"""Datasets of image files: decoded once into memory, or streamed from the files."""

import hashlib
import os
import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor

from trg_pyg.data._decode import decode_images
from trg_pyg.data._memory import available_memory
from trg_pyg.data._tensor_cache import read_cached, write_cached
from trg_pyg.data.base import Augmentation, ImageData, ImageSet, ImageSource
from trg_pyg.data.file_set import FileSet, encode_paths
from trg_pyg.data.random_resized_crop import RandomResizedCrop
from trg_pyg.errors import InputError, check_choice, require

Crop = Literal["padded", "resized"]
_GIB = 1024**3


class Listing(NamedTuple):
    """The files of a dataset.

    Attributes:
        files: N paths relative to the root.
        targets: class of each file, int64 [N].
        tested: files of the test split, bool [N]; the others are the training split.
        classes: C names.
    """

    files: list[str]
    targets: Tensor
    tested: Tensor
    classes: tuple[str, ...]


class ImageFiles(ImageData):
    """Base class of the datasets of image files; a subclass implements ``_list``.

    Images become RGB; the shorter side is resized (bilinear, antialiased) and the centre of ``size`` x ``size`` pixels
    is cut out. They are decoded once into memory, or, streamed, by worker processes each time that a batch is asked
    for. Both give the same batches.

    Args:
        root: folder of the files.
        size: height and width of the images, in pixels, >= 1.
        crop: of the training images: padded moves the decoded image by up to ``crop_padding`` pixels, resized cuts a
            box of random area (8 to 100 %) and aspect ratio (3/4 to 4/3) out of the file, as is usual on ImageNet,
            and always streams.
        crop_share: share of the resized shorter side that the centre cut keeps, in (0, 1]; the side is resized to
            size / crop_share. 0.875 is usual on ImageNet.
        stream: decode batch by batch; False decodes everything into memory or refuses; None streams, with a warning,
            where the decoded images would not fit in the available memory.
        workers: processes that decode a stream; 0 decodes in the training process; None takes one a CPU core, at most
            8, and none for a split of less than 512 images. Results do not depend on it.
        prefetch: batches that each worker keeps ready, >= 1.
        cache: keep images that were decoded into memory in ``root/.trg_pyg_cache``, or in the user's cache folder where
            ``root`` cannot be written; the next start takes them from there while no file has changed its name, size
            or time.
        mean: mean of each channel in [0, 1]; None computes mean and std from training images in memory, and takes
            ImageNet's for a stream.
        std: standard deviation of each channel on the same scale, > 0; given together with ``mean``.
        **kwargs: the options of :class:`ImageData`.

    Raises:
        InputError: an option is out of range, or two of them contradict each other.
    """

    def __init__(
        self,
        root: str,
        size: int,
        crop: Crop = "padded",
        crop_share: float = 1.0,
        stream: bool | None = None,
        workers: int | None = None,
        prefetch: int = 2,
        cache: bool = True,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require(size >= 1, f"size {size} is below 1; it is the height and width of the images in pixels")
        check_choice("crop", crop, get_args(Crop))
        require(0 < crop_share <= 1, f"crop_share {crop_share:g} is not in (0, 1]; 1 cuts out as much as possible")
        require(workers is None or workers >= 0, f"workers {workers} is negative; 0 decodes in the training process")
        require(prefetch >= 1, f"prefetch {prefetch} is below 1; it is the number of batches that a worker keeps ready")
        require((mean is None) == (std is None), f"mean {mean} and std {std} belong together; give both or neither")
        require(
            mean is None or all(0 <= value <= 1 for value in mean),
            f"mean {mean} is outside [0, 1]; divide values for pixels of 0..255 by 255",
        )
        require(
            std is None or all(0 < value <= 1 for value in std),
            f"std {std} is outside (0, 1]; divide values for pixels of 0..255 by 255",
        )
        if crop == "resized":
            require(stream is not False, "crop=resized cuts out of the files: leave stream out, or choose crop=padded")
            padding = kwargs.get("crop_padding")
            require(padding is None, f"crop_padding {padding} belongs to crop=padded: leave it out with crop=resized")
        self.root = Path(root).expanduser()
        self.size = size
        self.crop = crop
        self.stream = stream
        self.workers = workers
        self.prefetch = prefetch
        self.cache = cache
        self.mean = mean
        self.std = std
        self._shorter = round(size / crop_share)

    @abstractmethod
    def _list(self) -> Listing:
        """Return the files of both splits."""

    def augment(self) -> Augmentation:
        """Return the augmentation of the training images."""
        return RandomResizedCrop(self._augment.flip) if self.crop == "resized" else super().augment()

    def _read(self) -> tuple[ImageSource, ImageSource, tuple[str, ...]]:
        files, targets, tested, classes = self._list()
        images: ImageSource
        if self._streams(len(files)):
            paths = encode_paths(files)
            images = FileSet(self.root, paths, targets, self.size, self._shorter, self.workers, self.prefetch)
        else:
            images = ImageSet(self._images(files), targets)
        return images.select(~tested), images.select(tested), classes

    def _streams(self, count: int) -> bool:
        if self.crop == "resized":
            return True
        if self.stream is not None:
            return self.stream
        lack = self._lack_of_memory(count)
        if lack is not None:
            statistics = " and normalised by ImageNet's mean and std" if self.mean is None else ""
            warnings.warn(
                f"{lack}: they are streamed from the files{statistics}; set stream to choose for yourself", stacklevel=2
            )
        return lack is not None

    def _lack_of_memory(self, count: int) -> str | None:
        # Twice: making the splits holds the whole set and its parts at the same time.
        needed = 2 * count * 3 * self.size**2
        available = available_memory()
        if available is None or needed <= available:
            return None
        return (
            f"{count} images of {self.size}x{self.size} under {self.root} need {needed / _GIB:.2f} GiB of memory and "
            f"{available / _GIB:.2f} GiB are available"
        )

    def _images(self, files: list[str]) -> Tensor:
        if not self.cache:
            return self._decoded(files)
        folders = _cache_folders(self.root)
        name = _cache_name(self.root, files, self.size, self._shorter)
        images = read_cached(folders, name, (len(files), 3, self.size, self.size))
        if images is None:
            images = self._decoded(files)
            write_cached(folders, name, images)
        return images

    def _decoded(self, files: list[str]) -> Tensor:
        lack = self._lack_of_memory(len(files))
        if lack is not None:
            raise InputError(f"{lack}; leave stream out, or choose a smaller size or fewer images")
        return decode_images(self.root, files, self.size, self._shorter)


def _cache_folders(root: Path) -> list[Path]:
    folders = [root / ".trg_pyg_cache"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if user.is_absolute():  # "~" stays as it is for a user without a home
        # Roots that share the user's folder are kept apart: names, sizes and times of two of them may agree.
        folders.append(user / "trg_pyg" / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16])
    return folders


def _cache_name(root: Path, files: list[str], size: int, shorter: int) -> str:
    digest = hashlib.sha256(f"size {size} of {shorter}\n".encode())
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))
            version = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            version = "unreadable"
        digest.update(os.fsencode(file) + f"\0{version}\n".encode())
    return f"{digest.hexdigest()[:32]}.safetensors"
