"""Clips in files: what is read of them, in which order, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from trg_pyg.data import VideoFolder, find_clips, read_clips
from trg_pyg.errors import InputError


def write_clip(folder, frames=4, size=(8, 8), first=0, ending="png"):
    """Frame i has the grey ``first + i``."""
    folder.mkdir(parents=True)
    for number in range(frames):
        Image.new("RGB", size, (first + number,) * 3).save(folder / f"frame{number}.{ending}")


def write_set(root, splits=("train", "test"), clips=3, frames=4):
    for at, split in enumerate(splits):
        for grey, name in enumerate(("left", "right")):
            for clip in range(clips):
                write_clip(root / split / name / f"clip{clip}", frames, first=100 * at + 50 * grey + 10 * clip)


def write_video(file, greys):
    av = pytest.importorskip("av")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=5)  # without loss
        stream.width, stream.height, stream.pix_fmt = 16, 8, "gray"
        for grey in greys:
            frame = av.VideoFrame.from_ndarray(np.full((8, 16), grey, np.uint8), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read(root, **options):
    return VideoFolder(str(root), **{"size": 8, "frames": 4, **options})


def greys(clips):
    return clips[:, 0, :, 0, 0].tolist()


def test_classes_and_clips_come_in_the_order_of_their_names(tmp_path):
    write_set(tmp_path)
    splits = read(tmp_path).load()
    assert splits.classes == ("left", "right")
    assert splits.train.images.shape == (6, 3, 4, 8, 8)
    assert splits.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert greys(splits.train.images)[:2] == [[0, 1, 2, 3], [10, 11, 12, 13]]
    assert greys(splits.test.images)[-1] == [170, 171, 172, 173]
    assert (splits.frames, splits.image_size, splits.channels) == (4, 8, 3)
    assert splits.shown_size == "4 frames of 8x8"


def test_without_a_folder_of_training_clips_a_share_of_each_class_is_held_out(tmp_path):
    write_set(tmp_path, splits=("",), clips=5)
    splits = read(tmp_path).load()
    assert splits.class_counts == (4, 4)
    assert splits.test.targets.tolist() == [0, 1]


def test_frames_are_evenly_spaced_and_their_numbers_count_as_numbers(tmp_path):
    write_clip(tmp_path / "clip", frames=11)
    clips, failures = read_clips([tmp_path / "clip"], 3, 8)
    assert failures == []
    assert greys(clips) == [[1, 5, 9]]  # of 11 frames the middles of three parts, frame10 behind frame9


def test_frames_are_resized_to_cover_and_cut_in_the_middle(tmp_path):
    (tmp_path / "clip").mkdir()
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 200
    for number in range(2):
        Image.fromarray(wide).save(tmp_path / "clip" / f"{number}.png")
    clips, _ = read_clips([tmp_path / "clip"], 2, 8)
    assert (clips == 200).all()


def test_a_video_file_is_read_as_its_frames_are(tmp_path):
    write_video(tmp_path / "a.mkv", [10, 20, 30, 40, 50])
    clips, failures = read_clips([tmp_path / "a.mkv"], 5, (8, 16))
    assert failures == []
    assert clips.shape == (1, 3, 5, 8, 16)
    assert np.allclose(greys(clips), [[10, 20, 30, 40, 50]], atol=2)


def test_video_files_and_folders_of_frames_are_found_at_any_depth(tmp_path):
    write_clip(tmp_path / "b" / "deep" / "clip")
    (tmp_path / "a.mp4").touch()
    (tmp_path / ".hidden.mp4").touch()
    (tmp_path / "notes.txt").touch()
    assert find_clips([tmp_path, tmp_path / "a.mp4"]) == [tmp_path / "a.mp4", tmp_path / "b" / "deep" / "clip"]


def spoil(clip, how):
    if how == "none":
        for file in clip.iterdir():
            file.unlink()
    elif how == "few":
        (clip / "frame3.png").unlink()
    elif how == "sizes":
        Image.new("RGB", (8, 9)).save(clip / "frame1.png")
    else:
        (clip / "frame2.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("none", "it has no frames and 4 are wanted"),
        ("few", "it has 3 frames and 4 are wanted"),
        ("sizes", "its frames are of several sizes, frame0.png of 8x8 and frame1.png of 8x9"),
        ("damaged", "frame frame2.png: it is no image of a known format"),
    ],
)
def test_a_clip_that_cannot_be_used_is_refused_with_its_name_and_the_reason(tmp_path, how, message):
    write_set(tmp_path)
    spoil(tmp_path / "train" / "right" / "clip1", how)
    with pytest.raises(InputError, match=rf"1 of 6 clips cannot be read: .*right/clip1 \(the first: {message}"):
        read(tmp_path).load()


def test_a_damaged_video_file_is_refused_with_its_name(tmp_path):
    pytest.importorskip("av")
    write_set(tmp_path)
    (tmp_path / "train" / "left" / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"1 of 7 clips cannot be read: .*a\.mp4"):
        read(tmp_path).load()


def test_video_files_without_their_reader_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"PyAV: pip install 'trg_pyg\[video\]', or give each clip as a folder"):
        read_clips([tmp_path / "a.mp4"], 4, 8)


def test_frames_in_the_place_of_clips_are_refused(tmp_path):
    write_set(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "left" / "stray.png")
    with pytest.raises(InputError, match=r"has frames in the place of clips, stray\.png: put those of each clip"):
        read(tmp_path).load()


def test_what_is_no_clip_is_passed_over_with_a_warning(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train" / "left" / "notes.txt").touch()
    with pytest.warns(UserWarning, match="notes.txt, which are no clips"):
        assert len(read(tmp_path).load().train) == 6


def test_unlabelled_clips_have_no_class_and_none_of_them_is_measured_on(tmp_path):
    write_set(tmp_path / "set")
    write_clip(tmp_path / "more" / "deep" / "one", first=200)
    splits = read(tmp_path / "set", unlabelled=str(tmp_path / "more")).load()
    assert greys(splits.unlabelled.images) == [[200, 201, 202, 203]]
    assert splits.unlabelled.targets.tolist() == [0]
    write_clip(tmp_path / "more" / "two", first=150)  # as test/right/clip0
    with pytest.raises(InputError, match=r"unlabelled: 1 of the 2 clips under .* are test clips, by their content"):
        read(tmp_path / "set", unlabelled=str(tmp_path / "more")).load()


def test_other_pixels_or_frames_are_other_data(tmp_path):
    write_set(tmp_path)
    digests = [read(tmp_path).load().digest, read(tmp_path, frames=2).load().digest]
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "test" / "left" / "clip0" / "frame0.png")
    digests.append(read(tmp_path).load().digest)
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 1}, "frames 1: a clip has 2 or more"),
        ({"size": 0}, "size 0 is below 1"),
        ({"labelled": 1.0}, r"labelled 1\.0 is not between 0 and 1"),
        ({"labelled": 0.5, "unlabelled": "more"}, r"labelled 0\.5 and unlabelled more: .* give one"),
        ({"holdout": 2}, "holdout 2 is not between 0 and 1"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(InputError, match=message):
        read("nowhere", **options)


def test_clips_of_two_lengths_in_the_splits_are_refused():
    from trg_pyg.data import VideoData, VideoSet

    class Uneven(VideoData):
        def _read(self):
            train, test = (
                VideoSet(torch.zeros(4, 3, frames, 8, 8, dtype=torch.uint8), torch.arange(4) % 2) for frames in (4, 5)
            )
            return train, test, ("a", "b")

    with pytest.raises(InputError, match="training clips are 4 frames of 8x8 but the test clips 5 frames of 8x8"):
        Uneven().load()
