"""Datasets of image files: decoded once into memory, or streamed from the files."""

import os
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from trg_pyg._size import Size, sides, size_of
from trg_pyg.data.base import Augmentation, ImageData, ImageSet, ImageSource
from trg_pyg.data.files._check import Check, check_images
from trg_pyg.data.files._contents import Content, cache_folders, digest_of, read_contents
from trg_pyg.data.files._decode import Interpolation, colour_of, decode_images
from trg_pyg.data.files._file_cache import FileCache, Found
from trg_pyg.data.files._memory import available_memory
from trg_pyg.data.files.bad_images import described, unreadable
from trg_pyg.data.files.file_set import FileSet, encode_paths
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.splits._members import check_classes
from trg_pyg.errors import InputError, check_channels, check_choice, few, require

Crop = Literal["padded", "resized"]
_GIB = 1024**3


class Listing(NamedTuple):
    """The files of a dataset.

    Attributes:
        files: N paths relative to the root.
        targets: class of each file, int64 [N].
        tested: files of the test split, bool [N]; the others are the training split. None: the test split is still to
            be held out of the files.
        classes: C names.
        contents: of the files, once they were read; no matter of a subclass.
    """

    files: list[str]
    targets: Tensor
    tested: Tensor | None
    classes: tuple[str, ...]
    contents: Sequence[Content] = ()

    def select(self, kept: Tensor) -> "Listing":
        """Return the part of the files that is kept, bool [N]."""
        selectors = kept.tolist()
        files, contents = list(compress(self.files, selectors)), list(compress(self.contents, selectors))
        tested = None if self.tested is None else self.tested[kept]
        return Listing(files, self.targets[kept], tested, self.classes, contents)

    def digest(self) -> str:
        """Return a hash of names, classes and contents of the files, in their order."""
        names = (file.replace(os.sep, "/") for file in self.files)
        rows = zip(names, self.targets.tolist(), (content.digest for content in self.contents), strict=True)
        return digest_of(part for row in rows for part in row)


class ImageFiles(ImageData):
    """Base class of the datasets of image files; a subclass implements ``_list``, and ``_hold_out`` where it needs to.

    Images become RGB, are resized (antialiased) to cover ``size``, a square's shorter side to its own, and the centre
    is cut out. They are decoded once into memory, or, streamed, by worker processes each time that a batch is asked
    for. Both give the same batches.

    A file cannot be used if it is empty, cut off, no image, grey of 16 or more bits, of more than twice the pixels of
    Pillow's ``MAX_IMAGE_PIXELS``, or not handed out by the system. Decoding into memory finds all of them; for a stream
    ``check`` says how they are looked for before anything is trained. What is found only when a batch needs it ends the
    training there; its checkpoints remain.

    Args:
        root: folder of the files.
        size: side of square images, in pixels, >= 1; or ``[height, width]``.
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
        cache: keep hashes of the files, images that were decoded into memory, and what ``check`` found, in
            ``root/.trg_pyg_cache``, or in the user's cache folder where ``root`` cannot be written; the next start
            reads only files whose size, times or inode have changed, and takes the rest from there while names and
            contents are the same.
        check: how the files of a stream are checked at the start. headers opens each, which finds all but damage in the
            middle of a file and takes minutes for a million files. pixels decodes each, which finds all and takes as
            long as to read and decode an epoch. never leaves it to the batches. None takes headers, and pixels with
            ``skip_bad_images``.
        skip_bad_images: leave damaged files out, with a warning, before any split is chosen, as if they were not there;
            False refuses them. Files that the system does not hand out (permissions, a link to nowhere, a disk error)
            are refused in any case: the next start might see them again.
        interpolation: by which images are resized: bilinear or bicubic; None takes bilinear, or what a pretrained
            network of the study expects.
        mean: mean of each channel in [0, 1]; None computes mean and std from training images in memory, and takes
            ImageNet's for a stream.
        std: standard deviation of each channel on the same scale, > 0; given together with ``mean``.
        background: colour that shows through what is transparent in an image, by name or as ``"#rrggbb"``.
        scaled_decoding: with ``crop`` resized, decode a JPEG at 1/2, 1/4 or 1/8 of its sides where the box that is cut
            out then still has ``size`` pixels in both directions: faster for large photographs and small sizes. The
            boxes are the same and the pixels of training images differ slightly; those evaluated on do not.
        **kwargs: the options of :class:`ImageData`.

    Raises:
        InputError: an option is out of range, or two of them contradict each other.
    """

    def __init__(
        self,
        root: str,
        size: Size,
        crop: Crop = "padded",
        crop_share: float = 1.0,
        stream: bool | None = None,
        workers: int | None = None,
        prefetch: int = 2,
        cache: bool = True,
        check: Check | None = None,
        skip_bad_images: bool = False,
        interpolation: Interpolation | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        background: str = "white",
        scaled_decoding: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        height, width = sides(size)
        size = size_of(height, width)
        require(min(height, width) >= 1, f"size {size} is below 1; it is the height and width of the images in pixels")
        check_choice("crop", crop, get_args(Crop))
        if interpolation is not None:
            check_choice("interpolation", interpolation, get_args(Interpolation))
        require(0 < crop_share <= 1, f"crop_share {crop_share:g} is not in (0, 1]; 1 cuts out as much as possible")
        require(workers is None or workers >= 0, f"workers {workers} is negative; 0 decodes in the training process")
        require(prefetch >= 1, f"prefetch {prefetch} is below 1; it is the number of batches that a worker keeps ready")
        if check is not None:
            check_choice("check", check, get_args(Check))
            require(
                check == "pixels" or not skip_bad_images,
                f"skip_bad_images needs all bad images to be found, and check={check} does not: leave check out",
            )
        require((mean is None) == (std is None), f"mean {mean} and std {std} belong together; give both or neither")
        check_channels(mean, std)
        if crop == "resized":
            require(stream is not False, "crop=resized cuts out of the files: leave stream out, or choose crop=padded")
            require(height == width, f"crop=resized cuts nearly square boxes, not {height}x{width}: choose crop=padded")
            padding = kwargs.get("crop_padding")
            require(padding is None, f"crop_padding {padding} belongs to crop=padded: leave it out with crop=resized")
        require(
            crop == "resized" or not scaled_decoding,
            f"scaled_decoding is for boxes cut out of files, and crop={crop} decodes whole images: leave it out, or "
            "choose crop=resized",
        )
        self.root = Path(root).expanduser()
        self.size = size
        self.crop = crop
        self.stream = stream
        self.workers = workers
        self.prefetch = prefetch
        self.cache = cache
        self.check: Check = check or ("pixels" if skip_bad_images else "headers")
        self.skip_bad_images = skip_bad_images
        self.interpolation: Interpolation = interpolation or "bilinear"
        self.mean = mean
        self.std = std
        self.background = background
        self.colour = colour_of(background)
        self.scaled_decoding = scaled_decoding
        self._shorter = size_of(round(height / crop_share), round(width / crop_share))

    @property
    def shorter(self) -> Size:
        """What an image is resized to cover before the centre is cut out, at least ``size``; its shorter side alone."""
        return self._shorter

    @abstractmethod
    def _list(self) -> Listing:
        """Return the files of both splits."""

    def _hold_out(self, listing: Listing) -> Tensor:
        """Return the files to test on, bool [N], of a listing that leaves it open."""
        raise NotImplementedError(f"{type(self).__name__} lists no test split and holds none out")

    def augment(self) -> Augmentation:
        """Return the augmentation of the training images."""
        if self.crop == "resized":
            return RandomResizedCrop(self._augment.flip, scaled=self.scaled_decoding)
        return super().augment()

    def _read(self) -> tuple[ImageSource, ImageSource, tuple[str, ...]]:
        listing = self._list()
        check_classes(listing.classes, self.root)
        self._tested(listing)  # what cannot be split is refused before the files are looked at
        return *self.read_listing(listing), listing.classes

    def read_listing(self, listing: Listing) -> tuple[ImageSource, ImageSource]:
        """Read the files of a listing and return its two splits.

        Raises:
            InputError: a file cannot be used, and is not to be left out.
        """
        streams = self._streams(len(listing.files))
        listing = listing._replace(contents=read_contents(self.root, listing.files, self._folders))
        if not (streams and self.check == "never"):
            self._check_handed_out(listing)
        images: ImageSource
        if streams:
            listing = self._checked(listing)
            images = FileSet(
                self.root,
                encode_paths(listing.files),
                listing.targets,
                self.size,
                self._shorter,
                self.workers,
                self.prefetch,
                self.interpolation,
                self.colour,
            )
        else:
            listing, pixels = self._in_memory(listing)
            images = ImageSet(pixels, listing.targets)
        tested = self._tested(listing)
        self._tell_of_alpha(listing)
        parts = listing.select(~tested), listing.select(tested)
        _tell_of_shared(*parts, self.root)
        train, test = (
            replace(images.select(index), digest=part.digest())
            for index, part in zip((~tested, tested), parts, strict=True)
        )
        return train, test

    @property
    def _folders(self) -> list[Path]:
        return cache_folders(self.root) if self.cache else []

    def _check_handed_out(self, listing: Listing) -> None:
        """Refuse files that are not there or cannot be opened, before the others are decoded, which takes long."""
        withheld = [place for place, content in enumerate(listing.contents) if not content.digest]
        if withheld:
            bad = check_images(self.root, [listing.files[place] for place in withheld], self._shorter, "headers")
            bad = [one._replace(position=withheld[one.position]) for one in bad]
            if bad:  # what cannot be opened now may be there a moment later
                raise unreadable(bad, f"{len(listing.files)} images under {self.root}", "")

    def _tell_of_alpha(self, listing: Listing) -> None:
        alpha = sum(content.alpha for content in listing.contents)
        if alpha:
            warnings.warn(
                f"{alpha} of {len(listing.files)} images under {self.root} have an alpha channel: what is transparent "
                f"shows {self.background}; data.background names another colour",
                stacklevel=2,
            )

    def _tested(self, listing: Listing) -> Tensor:
        return self._hold_out(listing) if listing.tested is None else listing.tested

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
        height, width = sides(self.size)
        needed = 2 * count * 3 * height * width
        available = available_memory()
        if available is None or needed <= available:
            return None
        return (
            f"{count} images of {height}x{width} under {self.root} need {needed / _GIB:.2f} GiB of memory and "
            f"{available / _GIB:.2f} GiB are available"
        )

    def _checked(self, listing: Listing) -> Listing:
        """Return what is to be streamed of a listing."""
        if self.check == "never":
            return listing
        cache = self._file_cache(listing)
        found = self._known(cache, self.check)
        if found is None:
            bad = check_images(self.root, listing.files, self._shorter, self.check)
            found = Found(bad, cache.write_bad(self.check, bad))
        return listing.select(self._kept(listing, found)) if found.bad else listing

    def _in_memory(self, listing: Listing) -> tuple[Listing, Tensor]:
        """Return what is to be used of a listing, and its images, uint8 [N, 3, H, W]."""
        cache = self._file_cache(listing)
        found = self._known(cache, "pixels")
        if found is not None and found.bad:
            kept = self._kept(listing, found)
            listing, cache = listing.select(kept), cache.select(kept)
        images = cache.read_images()
        if images is not None:
            return listing, images
        lack = self._lack_of_memory(len(listing.files))
        if lack is not None:
            raise InputError(f"{lack}; leave stream out, or choose a smaller size or fewer images")
        images, bad = decode_images(self.root, listing.files, self.size, self._shorter, self.interpolation, self.colour)
        if bad:
            kept = self._kept(listing, Found(bad, cache.write_bad("pixels", bad)))
            listing, cache, images = listing.select(kept), cache.select(kept), images[kept]
        cache.write_images(images)
        return listing, images

    def _file_cache(self, listing: Listing) -> FileCache:
        how = self.size, self._shorter, self.interpolation, self.colour
        return FileCache.of(self._folders, listing.files, listing.contents, *how)

    def _known(self, cache: FileCache, check: Check) -> Found | None:
        """Return what a check found at an earlier start, if that holds now; one of all pixels stands for the others."""
        checks: tuple[Check, ...] = (check, "pixels")
        for name in checks:
            found = cache.read_bad(name)
            # Damage that is to be left out is still there. Everything else may have been mended meanwhile.
            if found is not None and (self.skip_bad_images or not found.bad) and all(bad.damaged for bad in found.bad):
                return found
        return None

    def _kept(self, listing: Listing, found: Found) -> Tensor:
        """Return the files to use, bool [N], or refuse those that cannot be used."""
        among = f"{len(listing.files)} images under {self.root}"
        if not self.skip_bad_images:
            remedy = "replace or remove them, or set skip_bad_images to leave damaged ones out"
            raise unreadable(found.bad, among, remedy, found.listed)
        withheld = [bad for bad in found.bad if not bad.damaged]
        if withheld:
            raise unreadable(withheld, among, "", found.listed)
        kept = torch.ones(len(listing.files), dtype=torch.bool)
        kept[[bad.position for bad in found.bad]] = False
        named = described(found.bad, found.listed)
        _check_classes_left(listing, listing.select(kept), f"{len(found.bad)} of {among} cannot be read: {named}")
        warnings.warn(f"{len(found.bad)} of {among} cannot be read and are left out: {named}", stacklevel=2)
        return kept


def _tell_of_shared(train: Listing, test: Listing, root: Path) -> None:
    trained = {content.digest for content in train.contents}
    shared = [
        file
        for file, content in zip(test.files, test.contents, strict=True)
        if content.digest and content.digest in trained
    ]
    if shared:
        warnings.warn(
            f"{len(shared)} of {len(test.files)} test images under {root} are training images too, by their content: "
            f"{few(list(dict.fromkeys(shared)))}; accuracy on them says nothing, so leave them out of one of the two",
            stacklevel=2,
        )


def _check_classes_left(listing: Listing, left: Listing, why: str) -> None:
    """Refuse to go on without a class that was there before bad images were left out."""
    splits = {"": left.targets}
    if left.tested is not None:
        splits = {" for training": left.targets[~left.tested], " for testing": left.targets[left.tested]}
    for place, targets in splits.items():
        counts = torch.bincount(targets, minlength=len(left.classes)).tolist()
        empty = [name for name, count in zip(left.classes, counts, strict=True) if not count]
        if empty:
            raise InputError(
                f"class {few(empty)} has no image left{place}, since {why}; replace them or remove the class"
            )
