import io
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import torch
from damage import damaged
from fuzzing import fuzz, judged
from PIL import Image

from trg_pyg.data.base import Splits
from trg_pyg.data.files._decode import decode_images
from trg_pyg.data.files.bad_images import unreadable
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.data.image_list import ImageList

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
MODES = {"PNG": ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"], "JPEG": ["L", "RGB", "CMYK"], "TIFF": ["RGB", "F", "I"]}


def encoded(form: str, mode: str, size: tuple[int, int]) -> bytes:
    """An image of some pixels, the same ones each time."""
    width, height = size
    grey = torch.arange(width * height).mul(37).remainder(256).to(torch.uint8).view(height, width)
    buffer = io.BytesIO()
    Image.fromarray(grey.numpy()).convert(mode).save(buffer, form)
    return buffer.getvalue()


@st.composite
def images(draw: st.DrawFn) -> bytes:
    form = draw(st.sampled_from(FORMATS))
    mode = draw(st.sampled_from(MODES.get(form, ["RGB"])))
    return encoded(form, mode, (draw(st.integers(1, 20)), draw(st.integers(1, 20))))


# Of any name: what an image is, its bytes say.
names = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
        lambda name: name.strip(".") and len(name.encode()) < 100
    ),
    st.sampled_from(["a b", " c", "-x", "%s", "ü", "\n", "$HOME", "class.png", ".hidden", "a" * 90]),
)


@fuzz(20, 1100, content=st.one_of(images(), damaged(images()), damaged(images())), name=names, size=st.integers(1, 12))
def test_an_image_file_is_decoded_or_refused(content: bytes, name: str, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.png").write_bytes(content)
        with judged("image files"):
            decoded, bad = decode_images(Path(folder), [f"{name}.png"], size, size)
            if bad:
                raise unreadable(bad, "1 image", "replace it")
            assert decoded.shape == (1, 3, size, size)
            assert decoded.dtype == torch.uint8


def check_splits(splits: Splits) -> None:
    for split in (splits.train, splits.test):
        assert len(split) > 0
        assert split.targets.min() >= 0
        assert split.targets.max() < len(splits.classes)


ONE = encoded("PNG", "RGB", (5, 7))
suffixes = st.sampled_from([".png"] * 6 + [".JPG", ".txt", "", ".png.gz", ".tiff"])
contents = st.sampled_from([ONE] * 12 + [b"", b"no image", ONE[:40]])
SOUND = {
    "split": {(split, name, f"{i}.png"): ONE for split in ("train", "test") for name in "ab" for i in range(3)},
    "classes": {("", name, f"{i}.png"): ONE for name in "abc" for i in range(4)},
    "nothing": {},
}
more_files = st.dictionaries(
    st.tuples(
        st.sampled_from(["", "", "train", "train", "test", "test", "val", ".trg_pyg_cache"]),
        st.one_of(st.sampled_from(["a", "b"]), names),
        st.builds(str.__add__, names, suffixes),
    ),
    contents,
    max_size=6,
)
in_folders = st.builds(lambda sound, more: sound | more, st.sampled_from(list(SOUND.values())), more_files)


def write(root: Path, files: dict[tuple[str, ...], bytes]) -> None:
    for parts, content in files.items():
        file = root.joinpath(*parts)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError:  # a folder has the name already
            continue


@fuzz(
    12,
    500,
    files=in_folders,
    options=st.fixed_dictionaries(
        {},
        optional={
            "holdout": st.floats(0, 1),
            "stream": st.sampled_from([None, True, False]),
            "crop": st.sampled_from(["padded", "resized"]),
            "crop_share": st.floats(0.1, 1),
            "cache": st.booleans(),
            "check": st.sampled_from([None, "headers", "pixels", "never"]),
            "skip_bad_images": st.booleans(),
            "imbalance": st.sampled_from([None, 1.0, 3.0, 1e9, 0.5, float("nan"), float("inf")]),
            "validation": st.floats(0, 1),
            "subset_seed": st.sampled_from([0, 7, -1, 2**63, 2**64]),
        },
    ),
)
def test_a_folder_of_anything_is_a_data_set_or_refused(files: dict[tuple[str, ...], bytes], options: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        write(root, files)
        with judged("image folders"):
            check_splits(ImageFolder(str(root), size=4, **options).load())


ROWS = ["a.png 0", "b c.png 1", "d/e.png 1"]
odd_lines = st.builds(
    "{}{}{}".format,
    st.one_of(st.sampled_from(["a.png", "../a.png", "/etc/passwd", "", "a\0.png", "d", ".", "x" * 300]), names),
    st.sampled_from([" ", "\t", "  ", "", "\r"]),
    st.one_of(st.integers(), st.sampled_from(["", "1.0", "٣", "1e3", "+1", "9" * 30, "9" * 5000]), st.text(max_size=3)),
)
sound_lines = st.builds("{} {}".format, st.sampled_from(["a.png", "b c.png", "d/e.png"]), st.integers(0, 2))


@st.composite
def lists(draw: st.DrawFn) -> bytes:
    """A sound list with some lines more, and sometimes one less, in another order; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=40))
    more = draw(st.lists(st.one_of(sound_lines, sound_lines, odd_lines), max_size=2))
    rows = draw(st.permutations([*ROWS[draw(st.sampled_from([0, 0, 0, 0, 1])) :], *more]))
    return draw(st.sampled_from(["\n", "\n", "\r\n"])).join(rows).encode("utf-8", "surrogateescape")


class_names = st.one_of(st.none(), st.none(), st.sampled_from([b"red\ngreen", b"a\n"]), st.binary(max_size=9))


@fuzz(12, 600, train=lists(), test=st.one_of(st.none(), lists()), given=class_names)
def test_a_list_of_anything_is_a_data_set_or_refused(train: bytes, test: bytes | None, given: bytes | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, {("a.png",): ONE, ("b c.png",): ONE, ("d", "e.png"): ONE})
        train_list, test_list, names_file = (root / f"{name}.txt" for name in ("train", "test", "names"))
        train_list.write_bytes(train)
        test_list.write_bytes(train if test is None else test)
        if given is not None:
            names_file.write_bytes(given)
        with judged("image lists"):
            named = None if given is None else str(names_file)
            data = ImageList(folder, str(train_list), str(test_list), size=4, class_names=named, crop="padded")
            check_splits(data.load())
