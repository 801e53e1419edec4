import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from trg_pyg.data import FileSet, ImageList, ImageSet, RandomResizedCrop, shots
from trg_pyg.data.base import IMAGENET_MEAN, IMAGENET_STD
from trg_pyg.errors import InputError


@pytest.fixture
def root(tmp_path) -> Path:
    """Class 0 has 4 training images, class 1 has 2; test images lie in one folder."""
    write(tmp_path, "train.txt", [f"train/cat/{n} of 4.png 0" for n in range(4)] + ["train/dog/0.png 1", "d.png 1"])
    write(tmp_path, "test.txt", ["val/b.png 1", "val/a.png 0"])
    return tmp_path


def write(root: Path, name: str, lines: list[str]) -> None:
    (root / name).write_text("\n".join(lines) + "\n")
    for line in lines:
        file = root / line.rpartition(" ")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (50 * int(line.rpartition(" ")[2]), 10, 20)).save(file)


def listed(root: Path, **options) -> ImageList:
    return ImageList(str(root), str(root / "train.txt"), str(root / "test.txt"), **{"size": 8, **options})


def test_paths_and_labels_come_from_the_lists_in_their_order(root):
    splits = listed(root).load()
    assert isinstance(splits.train, FileSet)
    assert splits.train.files[1] == b"train/cat/1 of 4.png"
    assert splits.train.targets.tolist() == [0, 0, 0, 0, 1, 1]
    assert splits.test.targets.tolist() == [1, 0]
    assert splits.test.files.tolist() == [b"val/b.png", b"val/a.png"]
    assert splits.classes == ("0", "1")
    assert splits.class_counts == (4, 2)
    assert splits.image_size == 8
    assert (splits.mean, splits.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_the_defaults_are_imagenets(root):
    data = listed(root, size=224)
    splits = data.load()
    assert isinstance(data.augment(), RandomResizedCrop)
    assert (data.augment().scale, data.augment().flip) == ((0.08, 1.0), True)
    assert (splits.test.image_size, splits.test.shorter) == (224, 256)
    assert listed(root, flip=False).augment().flip is False


def test_the_groups_of_a_list_that_is_long_tailed_by_itself(root):
    lines = ["d.png 0"] * 101 + ["d.png 1"] * 100 + ["d.png 2"] * 20 + ["d.png 3"] * 19
    write(root, "train.txt", lines)
    write(root, "test.txt", [f"d.png {label}" for label in range(4)])
    data = listed(root)
    assert data.long_tailed
    assert shots(data.load().class_counts) == {"many": [0], "medium": [1, 2], "few": [3]}
    assert not listed(root, long_tailed=False).long_tailed
    assert listed(root, long_tailed=False, imbalance=2).long_tailed


def test_a_list_can_be_made_long_tailed_and_decoded_into_memory(root):
    assert listed(root, imbalance=2).load().class_counts == (2, 1)
    splits = listed(root, crop="padded", cache=False, mean=None, std=None).load()
    assert isinstance(splits.train, ImageSet)
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 50, 50]
    assert splits.mean[1:] == pytest.approx((10 / 255, 20 / 255))
    streamed = listed(root, crop="padded", stream=True, mean=None, std=None).load()
    assert isinstance(streamed.train, FileSet)
    assert (streamed.mean, streamed.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_class_names_come_from_a_file(root):
    (root / "names.txt").write_text("tabby cat\npug\n\n")
    assert listed(root, class_names=str(root / "names.txt")).load().classes == ("tabby cat", "pug")
    (root / "names.txt").write_text("tabby cat\n")
    with pytest.raises(InputError, match=r"names\.txt names 1 classes and .*train\.txt has 2"):
        listed(root, class_names=str(root / "names.txt")).load()
    with pytest.raises(InputError, match=r"none\.txt cannot be read \(No such file"):
        listed(root, class_names=str(root / "none.txt")).load()


def test_empty_lines_tabs_and_windows_line_ends_are_passed_over(root):
    (root / "train.txt").write_bytes(b"\r\nd.png\t0\r\n\r\n  train/dog/0.png   1\r\n")
    assert listed(root).load().train.files.tolist() == [b"d.png", b"train/dog/0.png"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(root):
    (root / "train.txt").write_bytes(b"\xef\xbb\xbfd.png 0\ntrain/dog/0.png 1\n")
    (root / "names.txt").write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    splits = listed(root, class_names=str(root / "names.txt")).load()
    assert (splits.train.files[0], splits.classes) == (b"d.png", ("cat", "dog"))


def test_an_image_that_is_named_twice_is_taken_twice_with_a_warning(root):
    with (root / "train.txt").open("a") as file:
        file.write("d.png 1\n./d.png 0\n")
    expected = r"2 of 8 lines of .*train\.txt name an image that a line before names, 1 of them with another label: "
    with pytest.warns(UserWarning, match=expected + r"d.png on line 7, \./d.png on line 8"):
        assert len(listed(root).load().train) == 8


def test_images_that_both_lists_name_are_counted(root):
    Image.new("RGB", (20, 16), (1, 2, 3)).save(root / "d.png")
    shutil.copy(root / "d.png", root / "copy of d.png")
    (root / "test.txt").write_text("val/a.png 0\nd.png 1\ncopy of d.png 1\n")
    Image.new("RGB", (20, 16), (4, 5, 6)).save(root / "val" / "a.png")
    with pytest.warns(UserWarning, match="2 of 3 test images under .* are training images .*: d.png, copy of d.png;"):
        listed(root).load()


def test_a_name_that_is_no_utf8_is_found(root):
    try:
        (root / "train.txt").write_bytes(b"caf\xe9.png 0\nd.png 1\n")
        Path(str(root).encode().decode()).joinpath("caf\udce9.png").write_bytes((root / "d.png").read_bytes())
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    assert listed(root).load().train.files.tolist() == [b"caf\xe9.png", b"d.png"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("d.png", r"train\.txt, line 8: 'd\.png' stands alone; write path\.jpg label"),
        ("my dog.png", r"line 8: label 'dog\.png' is not a whole number"),
        ("d.png 1.5", r"line 8: label '1\.5' is not a whole number of at least 0"),
        ("d.png " + "9" * 5000, r"line 8: label .9{18}\.\.\.. is not a whole number of at least 0"),
        ("d.png -1", "line 8: label '-1' is not"),
        ("d.png 1_0", "line 8: label '1_0' is not"),
        ("d.png ²", "line 8: label '²' is not"),
        ("../secret.png 0", r"line 8: '\.\./secret\.png' leads out of the root; write a path that begins there"),
        ("train/../../secret.png 0", r"line 8: 'train/\.\./\.\./secret\.png' leads out of the root"),
        ("/etc/secret.png 0", r"line 8: '/etc/secret\.png' leads out of the root"),
        ("..\\secret.png 0", "line 8: .* leads out of the root"),
        ("d.png 7", r"test\.txt lacks 7; name images of each class in both"),
    ],
)
def test_a_bad_line_is_named(root, line, message):
    with (root / "train.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(InputError, match=message):
        listed(root).load()


def test_dots_that_lead_nowhere_and_links_of_ones_own_are_followed(root):
    (root.parent / f"{root.name}-elsewhere").mkdir()
    (root / "d.png").rename(root.parent / f"{root.name}-elsewhere" / "d.png")
    (root / "linked").symlink_to(root.parent / f"{root.name}-elsewhere")
    (root / "train.txt").write_text("./linked/d.png 1\ntrain/cat/0 of 4.png 0\n")
    assert len(listed(root).load().train) == 2


def test_classes_that_one_list_lacks_are_named(root):
    write(root, "test.txt", ["val/a.png 0", "val/b.png 3", "val/b.png 2"])
    with pytest.raises(InputError, match=r"test\.txt lacks 1 and .*train\.txt lacks 2, 3; name images"):
        listed(root).load()


def test_a_gap_in_the_labels_is_refused(root):
    for name in ("train.txt", "test.txt"):
        write(root, name, ["d.png 0", "e.png 2"])
    with pytest.raises(InputError, match=r"2 classes and the label 2, but no label 1; count labels from 0"):
        listed(root).load()


def test_images_that_are_not_there_are_counted_and_the_first_are_named(root):
    with (root / "test.txt").open("a") as file:
        file.write("val/c.png 0\nnowhere/1.png 1\n" + "val/d.png 1\n" * 5)
    with pytest.raises(InputError) as error:
        listed(root).load()
    assert f"7 of 9 images in {root / 'test.txt'} are not under {root}: val/c.png, nowhere/1.png, val/d.png" in str(
        error.value
    )
    assert "and 2 more (the first on line 3); check root" in str(error.value)


def test_lists_and_roots_that_are_not_there(root):
    with pytest.raises(InputError, match=r"root .*nowhere is not a folder"):
        ImageList(str(root / "nowhere"), str(root / "train.txt"), str(root / "test.txt")).load()
    (root / "test.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"test\.txt names no image"):
        listed(root).load()
    (root / "test.txt").unlink()
    with pytest.raises(InputError, match=r"test\.txt cannot be read \(No such file or directory\)"):
        listed(root).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "middle"}, "crop=middle: choose padded or resized"),
        ({"crop_share": 0.0}, r"crop_share 0 is not in \(0, 1\]"),
        ({"crop_share": 1.5}, r"crop_share 1\.5"),
        ({"workers": -1}, "workers -1 is negative"),
        ({"prefetch": 0}, "prefetch 0 is below 1"),
        ({"stream": False}, "crop=resized cuts out of the files: leave stream out"),
        ({"crop_padding": 4}, "crop_padding 4 belongs to crop=padded"),
        ({"crop": "padded", "scaled_decoding": True}, "scaled_decoding is for boxes .* or choose crop=resized"),
    ],
)
def test_options_out_of_range_are_refused_before_reading(options, message):
    with pytest.raises(InputError, match=message):
        ImageList("nowhere", "train.txt", "test.txt", **options)


def test_labels_are_whole_numbers_of_any_class_count(root):
    for name in ("train.txt", "test.txt"):
        (root / name).write_text("".join(f"d.png {label}\n" for label in range(1000)))
    splits = listed(root).load()
    assert splits.train.targets.dtype == torch.int64
    assert len(splits.classes) == 1000
