import contextlib
import os
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import tensors
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from trg_pyg.data import Augment, FileSet, ImageFolder, ImageSet, RandomResizedCrop, make_loader
from trg_pyg.data.base import IMAGENET_MEAN, IMAGENET_STD
from trg_pyg.data.files import image_files
from trg_pyg.errors import InputError


def write(path: Path, value: int = 0, size: tuple[int, int] = (4, 4), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 10, 20)).save(path)
    return path


@pytest.fixture
def split_root(tmp_path) -> Path:
    """Red is 10 * class + number; the classes are made in another order than they sort."""
    for label, name in [(1, "dog"), (0, "cat")]:
        for number in range(3):
            write(tmp_path / "train" / name / f"{number}.png", 10 * label + number)
        write(tmp_path / "test" / name / "0.png", 100 + label)
    return tmp_path


@pytest.fixture
def flat_root(tmp_path) -> Path:
    for label, name in enumerate(["cat", "dog"]):
        for number in range(10):
            write(tmp_path / name / f"{number}.png", 10 * label + number)
    return tmp_path


def folder(root: Path, size: int = 4, **options) -> ImageFolder:
    return ImageFolder(root=str(root), size=size, **options)


def red(image_set) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


def cache_files(root: Path) -> list[Path]:
    """Decoded images and records of bad ones."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and "trg_pyg" in str(path.relative_to(root)))
    return [file for file in files if file.name != "contents"]


def beside(root: Path) -> Path:
    """The root of one class, with another beside it."""
    for split in ("train", "test"):
        write(root / split / "z" / "0.png", 1)
    return root


class TestLayout:
    def test_splits_of_its_own(self, split_root):
        splits = folder(split_root).load()
        assert splits.classes == ("cat", "dog")
        assert red(splits.train) == [0, 1, 2, 10, 11, 12]
        assert splits.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
        assert red(splits.test) == [100, 101]
        assert splits.test.targets.tolist() == [0, 1]
        assert splits.train.images[0, :, 0, 0].tolist() == [0, 10, 20]

    def test_val_is_the_test_split_if_there_is_no_test(self, split_root):
        (split_root / "test").rename(split_root / "val")
        assert red(folder(split_root).load().test) == [100, 101]

    def test_test_wins_over_val(self, split_root):
        write(split_root / "val" / "cat" / "0.png", 200)
        assert red(folder(split_root).load().test) == [100, 101]

    def test_a_test_split_is_held_out(self, flat_root):
        splits = folder(flat_root, holdout=0.3).load()
        assert splits.class_counts == (7, 7)
        assert torch.bincount(splits.test.targets).tolist() == [3, 3]
        assert sorted(red(splits.train) + red(splits.test)) == list(range(20))
        assert [value // 10 for value in red(splits.test)] == splits.test.targets.tolist()

    def test_subset_seed_chooses_what_is_held_out(self, flat_root):
        first, again, other = (red(folder(flat_root, subset_seed=seed).load().test) for seed in (0, 0, 1))
        assert first == again != other

    def test_validation_images_are_held_out_of_what_a_test_split_has_left(self, flat_root):
        plain = folder(flat_root, holdout=0.3).load()
        held_out = folder(flat_root, holdout=0.3, validation=0.4).load()
        assert (plain.evaluated, held_out.evaluated) == ("test", "validation")
        assert sorted(red(held_out.train) + red(held_out.test)) == sorted(red(plain.train))
        assert held_out.class_counts == (4, 4)
        assert torch.bincount(held_out.test.targets).tolist() == [3, 3]

    def test_a_class_too_small_for_test_and_validation_split_is_refused(self, flat_root):
        for number in range(2):
            write(flat_root / "cow" / f"{number}.png")
        assert folder(flat_root).load().class_counts[1] == 1
        with pytest.raises(InputError, match="validation split cannot be held out: cow has fewer than two training"):
            folder(flat_root, validation=0.2).load()

    def test_hidden_files_and_other_files_are_passed_over(self, split_root):
        for name in (".hidden.png", "notes.txt", "IMG_1.HEIC", "IMG_2.HEIC"):
            (split_root / "train" / "cat" / name).write_bytes(b"no image")
        write(split_root / "train" / "cat" / "2019" / "0.png")
        write(split_root / "train" / "0.png")
        write(split_root / "train" / ".git" / "0.png")
        told = r"/train: 2 \.HEIC, 1 \.txt, 1 folders, 1 images beside the class folders; images are <class>/<name> as"
        with pytest.warns(UserWarning, match=told):
            assert folder(split_root).load().class_counts == (3, 3)

    def test_hidden_files_are_passed_over_without_a_word(self, split_root):
        (split_root / "train" / "cat" / ".DS_Store").write_bytes(b"no image")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert folder(split_root).load().class_counts == (3, 3)

    def test_a_folder_of_other_files_is_refused_with_what_is_there(self, tmp_path):
        for split in ("train", "test"):
            (tmp_path / split / "cat").mkdir(parents=True)
            (tmp_path / split / "cat" / "IMG_1.HEIC").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"no images under .*train \(but 1 \.HEIC\); put them into"):
            folder(tmp_path).load()

    def test_as_torchvision_reads_it(self, tmp_path, generator):
        for name, size in [("b/1.PNG", (9, 6)), ("b/2.png", (6, 11)), ("a/1.bmp", (7, 7)), ("a/2.png", (4, 4))]:
            pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator).byte().numpy()
            for split in ("train", "test"):
                path = tmp_path / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        theirs = datasets.ImageFolder(
            tmp_path / "train", v2.Compose([v2.Resize(4), v2.CenterCrop(4), v2.PILToTensor()])
        )
        ours = folder(tmp_path).load()
        assert list(ours.classes) == theirs.classes
        assert ours.train.targets.tolist() == theirs.targets
        assert torch.equal(ours.train.images, torch.stack([image for image, _ in theirs]))


class TestDecoding:
    @pytest.mark.filterwarnings("error:Palette images")
    def test_grey_and_palette_images_become_rgb(self, tmp_path):
        for split in ("train", "test"):
            write(tmp_path / split / "a" / "grey.png", 70, mode="L")
            Image.new("RGB", (4, 4), (70, 70, 70)).quantize(2).save(tmp_path / split / "a" / "palette.gif")
            Image.new("RGBA", (4, 4), (70, 70, 70, 255)).save(tmp_path / split / "a" / "transparent.png")
            grey = Image.new("RGB", (4, 4), (70, 70, 70)).quantize(2)
            grey.save(tmp_path / split / "a" / "transparent_palette.png", transparency=b"\xff\x00")
        images = folder(beside(tmp_path)).load().train.images
        assert images.shape == (5, 3, 4, 4)
        assert images[:4].eq(70).all()

    @pytest.mark.parametrize("options", [{}, {"stream": True}, {"stream": True, "check": "never"}])
    def test_transparency_is_said_at_each_start_and_shows_the_background(self, split_root, options):
        Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(split_root / "train" / "cat" / "0.png")
        for _ in range(2):  # the second start reads what was kept
            with pytest.warns(UserWarning, match="1 of 8 images under .* have an alpha channel: .* shows red; data"):
                train = folder(split_root, background="red", **options).load().train
            images = next(iter(make_loader(train, 6, shuffle=False))).inputs
            assert images[0, :, 0, 0].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_photographs_are_turned_upright_as_a_viewer_does(self, tmp_path, orientation):
        stored = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        # Where the stored first row and first column belong, by the definition of the tag (JEITA CP-3451).
        upright = {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.transpose(1, 0, 2),
            6: stored[::-1].transpose(1, 0, 2),
            7: stored[::-1, ::-1].transpose(1, 0, 2),
            8: stored[:, ::-1].transpose(1, 0, 2),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        for split in ("train", "test"):
            (tmp_path / split / "a").mkdir(parents=True)
            Image.fromarray(stored).save(tmp_path / split / "a" / "0.png", exif=exif)
        assert np.array_equal(folder(beside(tmp_path)).load().train.images[0], upright.transpose(2, 0, 1))

    def test_exif_data_that_are_damaged_turn_nothing(self, tmp_path):
        stored = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        for split in ("train", "test"):
            (tmp_path / split / "a").mkdir(parents=True)
            Image.fromarray(stored).save(tmp_path / split / "a" / "0.png", exif=b"Exif\0\0damaged")
        assert np.array_equal(folder(beside(tmp_path)).load().train.images[0], stored.transpose(2, 0, 1))

    def test_crop_share_cuts_a_smaller_part_as_torchvision_does(self, split_root, generator):
        pixels = torch.randint(0, 256, (61, 50, 3), generator=generator).byte().numpy()
        Image.fromarray(pixels).save(split_root / "test" / "cat" / "0.png")
        theirs = v2.Compose([v2.Resize(32), v2.CenterCrop(28), v2.PILToTensor()])(Image.fromarray(pixels))
        assert torch.equal(folder(split_root, size=28, crop_share=0.875).load().test.images[0], theirs)

    def test_the_centre_of_a_wide_image_is_kept(self, tmp_path):
        pixels = np.zeros((4, 8, 3), np.uint8)
        pixels[:, 2:6] = 255
        for split in ("train", "test"):
            (tmp_path / split / "a").mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / split / "a" / "0.png")
        assert folder(beside(tmp_path)).load().train.images[0].eq(255).all()

    def test_every_unreadable_image_is_counted_and_the_first_are_named(self, split_root):
        cats = split_root / "train" / "cat"
        for number in range(4):
            (cats / f"x{number}.png").write_bytes(b"not a picture")
        whole = write(cats / "x4.png", size=(64, 64)).read_bytes()
        (cats / "x4.png").write_bytes(whole[: len(whole) // 2])
        for number in (5, 6):
            Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(cats / f"x{number}.png")
        with pytest.raises(InputError) as caught:
            folder(split_root).load()
        names = ", ".join(os.path.join("train", "cat", f"x{number}.png") for number in range(5))
        assert f"7 of 15 images under {split_root} cannot be read: {names} and 2 more" in str(caught.value)
        assert [path.suffix for path in cache_files(split_root)] == [".json"]

    def test_an_image_that_is_not_there_is_said_before_any_is_decoded(self, split_root, monkeypatch):
        (split_root / "test" / "dog" / "9.png").symlink_to(split_root / "nowhere.png")
        monkeypatch.setattr(image_files, "decode_images", lambda *args: pytest.fail("decoded"))
        name = os.path.join("test", "dog", "9.png")
        with pytest.raises(InputError, match=rf"1 of 9 images .* be read: {name} \(the first: No such file or dir"):
            folder(split_root).load()

    def test_sixteen_bit_images_are_refused(self, split_root):
        Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(split_root / "test" / "cat" / "0.png")
        with pytest.raises(InputError, match=r"1 of 8 images .* clipped to 8 bits"):
            folder(split_root).load()

    def test_what_does_not_fit_in_memory_is_refused_before_decoding(self, split_root, monkeypatch):
        monkeypatch.setattr(image_files, "available_memory", lambda: 2**30)
        monkeypatch.setattr(image_files, "decode_images", lambda *args: pytest.fail("decoded"))
        with pytest.raises(InputError, match=r"8 images of 6000x6000 .* need 1\.61 GiB .* 1\.00 GiB are available"):
            folder(split_root, size=6000, stream=False).load()


class TestStream:
    @pytest.fixture(params=["split_root", "flat_root"])
    def root(self, request) -> Path:
        return request.getfixturevalue(request.param)

    def batches(self, data: ImageFolder, split: str) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        loader = make_loader(getattr(data.load(), split), 4, augment=data.augment(), generator=generator)
        return [part for batch in loader for part in tensors(batch)]

    @pytest.mark.parametrize("options", [{}, {"size": 3, "crop_share": 0.75}, {"imbalance": 3}, {"validation": 0.3}])
    def test_the_same_batches_as_in_memory(self, root, options):
        memory, stream = (folder(root, **{"stream": stream, **options}) for stream in (False, True))
        assert isinstance(memory.load().train, ImageSet)
        assert isinstance(stream.load().train, FileSet)
        for split in ("train", "test"):
            for a, b in zip(self.batches(memory, split), self.batches(stream, split), strict=True):
                assert torch.equal(a, b)
        assert memory.load().class_counts == stream.load().class_counts

    def test_the_same_validation_images_as_in_memory(self, split_root):
        splits = folder(split_root, stream=True, validation=0.3, imbalance=2).load()
        assert isinstance(splits.test, FileSet)
        assert splits.evaluated == "validation"
        memory = folder(split_root, stream=False, validation=0.3, imbalance=2).load()
        for name in ("train", "test"):
            files = [os.fsdecode(file) for file in getattr(splits, name).files]
            assert all(file.startswith("train") for file in files)
            assert [10 * (Path(file).parent.name == "dog") + int(Path(file).stem) for file in files] == red(
                getattr(memory, name)
            )

    def test_nothing_is_decoded_before_a_batch_is_asked_for(self, split_root, monkeypatch, user_cache):
        monkeypatch.setattr(image_files, "decode_images", lambda *args: pytest.fail("decoded"))
        (split_root / "train" / "cat" / "0.png").write_bytes(b"no image")
        splits = folder(split_root, stream=True, check="never").load()
        assert (splits.mean, splits.std) == (IMAGENET_MEAN, IMAGENET_STD)
        assert cache_files(split_root) == cache_files(user_cache) == []
        given = folder(split_root, stream=True, check="never", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).load()
        assert given.mean == (0.1, 0.2, 0.3)

    @pytest.mark.parametrize(("free", "kind"), [(2 * 8 * 48 - 1, FileSet), (2 * 8 * 48, ImageSet), (None, ImageSet)])
    def test_by_default_a_set_that_does_not_fit_in_memory(self, split_root, monkeypatch, free, kind):
        monkeypatch.setattr(image_files, "available_memory", lambda: free)
        expected = (
            pytest.warns(UserWarning, match="8 images of 4x4 .* are streamed .*ImageNet")
            if kind is FileSet
            else (contextlib.nullcontext())
        )
        with expected:
            assert isinstance(folder(split_root).load().train, kind)

    def test_a_stream_that_was_asked_for_does_not_look_at_the_memory(self, split_root, monkeypatch):
        monkeypatch.setattr(image_files, "available_memory", lambda: 0)
        for options in ({"stream": True}, {"crop": "resized"}):
            assert isinstance(folder(split_root, **options).load().train, FileSet)

    def test_scaled_decoding_changes_training_images_and_none_that_are_evaluated(self, tmp_path, generator):
        for name in ("train/a/0.jpg", "train/b/1.jpg", "test/a/2.jpg", "test/b/3.jpg"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(0, 256, (80, 90, 3), generator=generator).byte().numpy()
            Image.fromarray(pixels).save(tmp_path / name)
        seen = []
        for scaled in (False, True):
            data = folder(tmp_path, size=8, crop="resized", scaled_decoding=scaled)
            splits, generator = data.load(), torch.Generator().manual_seed(0)
            loader = make_loader(splits.train, 2, augment=data.augment(), generator=generator)
            seen.append((next(iter(loader)).inputs, next(iter(make_loader(splits.test, 2, shuffle=False))).inputs))
        (exact, evaluated), (other, same) = seen
        assert torch.equal(same, evaluated)
        assert not torch.equal(other, exact)

    def test_a_resized_crop_is_an_option(self, split_root):
        data = folder(split_root, crop="resized", crop_share=0.875, size=224, workers=3, prefetch=4)
        train = data.load().train
        assert isinstance(data.augment(), RandomResizedCrop)
        assert (train.image_size, train.shorter, train.workers, train.prefetch) == (224, 256, 3, 4)
        assert isinstance(folder(split_root, stream=True, crop_padding=2).augment(), Augment)


class TestCache:
    def forbid_decoding(self, monkeypatch):
        monkeypatch.setattr(image_files, "decode_images", lambda *args: pytest.fail("decoded again"))

    def test_the_second_start_does_not_decode(self, split_root, monkeypatch):
        first = folder(split_root).load()
        assert len(cache_files(split_root)) == 1
        self.forbid_decoding(monkeypatch)
        second = folder(split_root).load()
        assert torch.equal(second.train.images, first.train.images)
        assert torch.equal(second.test.images, first.test.images)
        assert second.mean == first.mean

    def test_the_held_out_split_may_change_without_decoding(self, flat_root, monkeypatch):
        folder(flat_root).load()
        self.forbid_decoding(monkeypatch)
        assert folder(flat_root, holdout=0.5, subset_seed=3).load().class_counts == (5, 5)

    def test_validation_reads_what_was_decoded_without_it(self, split_root, monkeypatch):
        folder(split_root).load()
        self.forbid_decoding(monkeypatch)
        assert folder(split_root, validation=0.3).load().class_counts == (2, 2)
        assert len(cache_files(split_root)) == 1

    def test_another_size_or_another_file_decodes_again(self, split_root):
        folder(split_root).load()
        assert folder(split_root, size=2).load().image_size == 2
        write(split_root / "train" / "cat" / "0.png", 77)
        assert red(folder(split_root).load().train)[0] == 77
        write(split_root / "train" / "cat" / "3.png", 78)
        assert red(folder(split_root).load().train)[3] == 78
        folder(split_root, crop_share=0.5).load()
        assert len(cache_files(split_root)) == 5

    def test_only_the_time_of_a_file_changed(self, split_root, monkeypatch):
        folder(split_root).load()
        os.utime(split_root / "train" / "cat" / "0.png", ns=(0, 0))
        self.forbid_decoding(monkeypatch)
        folder(split_root).load()

    def test_other_pixels_under_the_same_name_size_and_time_are_decoded(self, split_root):
        """As by a copy that keeps times, of files that are not compressed."""
        file = write(split_root / "train" / "cat" / "0.bmp", 1)
        os.utime(file, ns=(0, 0))
        before = folder(split_root).load()
        write(file, 2)
        os.utime(file, ns=(0, 0))
        after = folder(split_root).load()
        assert (red(before.train)[0], red(after.train)[0]) == (1, 2)

    def test_a_moved_folder_keeps_its_cache(self, split_root, tmp_path_factory, monkeypatch):
        folder(split_root).load()
        moved = shutil.move(split_root, tmp_path_factory.mktemp("moved") / "here")
        self.forbid_decoding(monkeypatch)
        assert red(folder(moved).load().test) == [100, 101]

    @pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"junk", lambda data: b""])
    def test_a_damaged_cache_is_built_again(self, split_root, damage):
        expected = folder(split_root).load()
        (cache,) = cache_files(split_root)
        sound = cache.read_bytes()
        cache.write_bytes(damage(sound))
        assert torch.equal(folder(split_root).load().train.images, expected.train.images)
        assert cache.read_bytes() == sound

    def test_the_cache_can_be_read_by_others_as_the_images_can(self, split_root):
        folder(split_root).load()
        (cache,) = cache_files(split_root)
        assert cache.stat().st_mode == (split_root / "train" / "cat" / "0.png").stat().st_mode

    def test_the_users_cache_folder_stands_in_for_a_root_that_cannot_be_written(
        self, split_root, user_cache, monkeypatch
    ):
        (split_root / ".trg_pyg_cache").write_bytes(b"a file in the way of the folder")
        first = folder(split_root).load()
        assert len(cache_files(user_cache)) == 1
        self.forbid_decoding(monkeypatch)
        assert torch.equal(folder(split_root).load().train.images, first.train.images)

    def test_without_any_place_for_a_cache_the_data_still_loads(self, split_root, user_cache):
        (split_root / ".trg_pyg_cache").write_bytes(b"")
        (user_cache / "trg_pyg").write_bytes(b"")
        with pytest.warns(UserWarning, match="decoded images are not cached"):
            assert len(folder(split_root).load().train) == 6

    def test_no_cache_on_request(self, split_root, user_cache):
        folder(split_root, cache=False).load()
        assert cache_files(split_root) == cache_files(user_cache) == []


class TestRefusals:
    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(InputError, match="nowhere is not a folder"):
            folder(tmp_path / "nowhere").load()

    def test_no_images(self, tmp_path):
        (tmp_path / "cat").mkdir()
        with pytest.raises(InputError, match=f"no images under {tmp_path}.*/<class>/ as bmp, gif, jpeg"):
            folder(tmp_path).load()

    def test_an_empty_class(self, split_root):
        (split_root / "train" / "cow").mkdir()
        with pytest.raises(InputError, match=r"no image for class cow in .*train"):
            folder(split_root).load()

    def test_a_class_that_the_test_split_lacks(self, split_root):
        write(split_root / "train" / "cow" / "0.png")
        with pytest.raises(InputError, match="test lacks cow; give both"):
            folder(split_root).load()

    def test_a_class_that_only_the_test_split_has(self, split_root):
        write(split_root / "test" / "cow" / "0.png")
        (split_root / "test" / "dog").rename(split_root / "test" / "hen")
        with pytest.raises(InputError, match=r"test lacks dog and .*train lacks cow, hen;"):
            folder(split_root).load()

    def test_train_without_a_test_split(self, split_root):
        shutil.rmtree(split_root / "test")
        with pytest.raises(InputError, match="has train but neither test nor val"):
            folder(split_root).load()
        assert len(folder(split_root / "train").load().test) == 2

    def test_a_test_split_without_train(self, split_root):
        shutil.rmtree(split_root / "train")
        with pytest.raises(InputError, match="has test but no train"):
            folder(split_root).load()

    def test_a_class_of_one_image_cannot_be_held_out(self, flat_root):
        write(flat_root / "cow" / "0.png")
        with pytest.raises(InputError, match="cow has fewer than two images"):
            folder(flat_root).load()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "size 0 is below 1"),
            ({"subset_seed": 2**64}, "subset_seed 18446744073709551616 is no number of 64 bits"),
            ({"mean": (0.5, 0.5, 0.5)}, "belong together"),
            ({"mean": (125, 120, 110), "std": (60, 60, 60)}, "mean .* divide"),
            ({"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.0)}, "std .* outside"),
        ],
    )
    def test_options_out_of_range(self, tmp_path, options, message):
        with pytest.raises(InputError, match=message):
            folder(tmp_path, **options)

    def test_an_impossible_holdout(self, flat_root):
        with pytest.raises(InputError, match="holdout 1 is not between 0 and 1"):
            folder(flat_root, holdout=1).load()


def test_given_statistics_are_kept(split_root):
    splits = folder(split_root, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)).load()
    assert (splits.mean, splits.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "cifar100.tar"


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="needs CIFAR-100 beside the repository")
def test_cifar100(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    splits = ImageFolder(root=str(tmp_path)).load()
    assert (len(splits.train), len(splits.test), len(splits.classes)) == (50_000, 10_000, 100)
    assert splits.class_counts == (500,) * 100
    assert splits.image_size == 32
    assert splits.mean == pytest.approx((0.5071, 0.4867, 0.4408), abs=3e-4)
    assert splits.std == pytest.approx((0.2675, 0.2565, 0.2761), abs=3e-4)
    for imbalance, total in [(10, 19_573), (50, 12_608), (100, 10_847), (200, 9_502)]:
        assert sum(ImageFolder(root=str(tmp_path), imbalance=imbalance).load().class_counts) == total


@pytest.mark.parametrize(("file", "kept"), [((100, 30), (0, 25, 30, 75)), ((30, 100), (41, 0, 59, 30))])
def test_an_image_covers_a_size_that_is_no_square(tmp_path, file, kept):
    """Of 30 rows and 100 columns the middle 50 columns make 12x20; of 100 rows and 30 columns, the middle 18 rows."""
    top, left, bottom, right = kept
    width, height = file
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 200
    for name in "ab":
        for split in ("train", "test"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.fromarray(pixels).save(folder / "1.png")
    memory, stream = (ImageFolder(str(tmp_path), size=(12, 20), stream=stream).load().train for stream in (False, True))
    assert memory.image_size == stream.image_size == (12, 20)
    images = next(iter(make_loader(stream, 2, shuffle=False))).inputs
    assert torch.equal(images, memory.images)
    assert (memory.images[:, :, 1:-1, 1:-1] == 200).all()


def test_a_crop_of_any_area_needs_a_square(tmp_path):
    with pytest.raises(InputError, match="crop=resized cuts nearly square boxes, not 12x20: choose crop=padded"):
        ImageFolder(str(tmp_path), size=(12, 20), crop="resized")
