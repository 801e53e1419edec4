import hashlib

import numpy as np
import pytest

from experiments.data import hands
from trg_pyg.data import VideoFolder


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Twenty-four tracks of every class; the last three of the second class are those before them."""
    tracks = np.random.default_rng(0).random((15, 24, 90)).round(4)
    tracks[1, 21:] = tracks[1, 18:21]
    numbers = np.repeat(np.arange(1.0, 16), 24)[:, None]
    file = tmp_path / "packages" / hands.FILE
    file.parent.mkdir(parents=True)
    np.savetxt(file, np.hstack([tracks.reshape(360, 90), numbers])[::-1], delimiter=",", fmt="%g")
    monkeypatch.setitem(hands.SHA256, hands.FILE, hashlib.sha256(file.read_bytes()).hexdigest())
    return tmp_path / "packages"


def test_it_writes_clips_that_are_read_and_says_what_a_network_has_to_beat(packages, tmp_path):
    said = hands.write(packages, tmp_path / "hands")
    assert said.startswith("267 training and 90 test clips; the nearest training clip gives ")
    splits = VideoFolder(str(tmp_path / "hands"), 32, 15).load()
    assert splits.classes == tuple(sorted(hands.CLASSES))
    assert splits.test.targets.bincount().tolist() == [6] * 15
    assert splits.train.targets.bincount().sort().values.tolist() == [15] + [18] * 14
    tracks, classes, tested = hands.read(packages / hands.FILE)
    first = tested & (classes == hands.CLASSES.index(splits.classes[0]))
    wanted = hands.draw(tracks[first][0, 1::3])
    assert np.array_equal(splits.test.images[0, 0].numpy(), wanted)


def test_of_each_class_the_third_run_of_six_is_for_testing_and_no_track_comes_twice(packages):
    tracks, classes, tested = hands.read(packages / hands.FILE)
    rows = np.loadtxt(packages / hands.FILE, delimiter=",")
    assert len(np.unique(tracks.reshape(len(tracks), -1), axis=0)) == len(tracks) == 357
    for number in range(15):
        of_class = rows[rows[:, -1] == number + 1, :-1].reshape(-1, 45, 2)
        assert np.array_equal(tracks[tested & (classes == number)], of_class[12:18])


def test_a_frame_has_one_spot_at_its_place_and_no_trail():
    frames = hands.draw(np.array([[0.0, 0], [1, 0], [0.5, 1]]))
    at = [np.unravel_index(frame.argmax(), frame.shape) for frame in frames]
    assert [tuple(map(int, place)) for place in at] == [(3, 3), (3, 28), (28, 15)]
    assert frames.max((1, 2)).min() > 230
    assert (frames > 20).sum((1, 2)).max() < 50
