import shutil

import pytest
import torch
from PIL import Image

from trg_pyg.data import Digits, FileSet, ImageFolder, ImageSet, read_unlabelled
from trg_pyg.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Three images of other sizes, at several depths, beside what is none."""
    for number, (place, size) in enumerate((("a.png", (8, 8)), ("b/c/d.png", (30, 20)), ("b/e.png", (9, 12)))):
        (tmp_path / "loose" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * number, 200, 30)).save(tmp_path / "loose" / place)
    (tmp_path / "loose" / "notes.txt").write_text("none")
    return tmp_path / "loose"


def test_images_at_any_depth_have_the_size_of_the_others(folder):
    splits = Digits(unlabelled=str(folder)).load()
    assert splits.unlabelled.images.shape == (3, 3, 32, 32)
    assert {int(image[0].float().mean()) for image in splits.unlabelled.images} == {0, 10, 20}
    assert splits.pools.keys() == {"unlabelled"}
    assert Digits().load().pools == {}
    assert (splits.digest, len(splits.train)) == (Digits().load().digest, 1438)


@pytest.mark.parametrize("stream", [False, True])
def test_a_data_set_of_files_reads_them_as_its_own(stream, folder, images):
    options = {"size": 16, "stream": stream, "heldout": 0.2}
    splits = ImageFolder(str(images), unlabelled=str(folder), **options).load()
    assert isinstance(splits.unlabelled, FileSet if stream else ImageSet)
    assert (len(splits.unlabelled), splits.unlabelled.image_size) == (3, 16)
    assert splits.pools.keys() == {"heldout", "unlabelled"}
    before = splits.unlabelled.digest
    Image.new("RGB", (8, 8), (99, 0, 0)).save(folder / "a.png")
    assert ImageFolder(str(images), unlabelled=str(folder), **options).load().unlabelled.digest != before


@pytest.mark.parametrize("stream", [False, True])
def test_images_that_networks_are_measured_on_are_refused(stream, folder, images):
    def load(**options):
        return ImageFolder(str(images), size=16, stream=stream, unlabelled=str(folder), **options).load()

    shutil.copy(images / "train" / "red" / "0.png", folder / "x.png")
    assert len(load().unlabelled) == 4
    with pytest.raises(InputError, match=r"1 of the 4 images under .* are held-out images, by their content"):
        load(heldout=0.9)  # all but one of each class
    shutil.copy(images / "test" / "red" / "0.png", folder / "y.png")
    with pytest.raises(InputError, match=r"1 of the 5 images under .* are test images, by their content: take them"):
        load()


def test_files_are_no_images_of_other_channels(folder):
    grey = ImageSet(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(InputError, match="files of images have 3 channels, and the training images have 1"):
        read_unlabelled(folder, Digits(), grey, [])


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"data.unlabelled: .*nowhere is not a folder"):
        Digits(unlabelled=str(tmp_path / "nowhere")).load()
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken.png"):
        Digits(unlabelled=str(folder)).load()
