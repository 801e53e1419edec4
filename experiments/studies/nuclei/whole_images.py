"""Scores of label maps of whole images: those that ``trg predict --output`` wrote, or Otsu's threshold and components.

    python experiments/studies/nuclei/whole_images.py data/nuclei/test --least 50
    python experiments/studies/nuclei/whole_images.py data/nuclei/test --found found

Otsu's is the baseline without learning: the threshold that parts the levels of an image best in two, then connected
components (of 4 neighbours), those below ``--least`` pixels left out.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import label

from trg_pyg.data import read_image, read_labels
from trg_pyg.tasks._segments import Agreement, agreement

Array = np.ndarray[Any, Any]


def otsu(image: Array, least: int) -> Array:
    """Return the components of at least so many pixels above Otsu's threshold of a uint8 image ``[H, W]``."""
    counts = np.bincount(image.ravel(), minlength=256).astype(float)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    components, _ = label(image > np.nan_to_num(between).argmax())
    sizes = np.bincount(components.ravel())
    found: Array = np.where(sizes[components] >= least, components, 0)
    return found


def scored(folder: Path, found: Path | None, least: int = 10) -> list[Agreement]:
    """Return how well each image of a folder of ``images`` and ``labels`` agrees with its label map."""
    rows = []
    for file in sorted((folder / "labels").iterdir()):
        image = folder / "images" / file.name
        labels = otsu(read_image(image)[0], least) if found is None else read_labels(found / file.name)
        rows.append(agreement(labels, read_labels(file)))
    return rows


def main() -> None:
    """Print the scores of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with images/ and labels/, of the same names")
    parser.add_argument("--found", type=Path, help="folder of label maps; without it, Otsu's")
    parser.add_argument("--least", type=int, default=10, help="pixels of Otsu's components, at the least")
    rows = scored(**vars(parser.parse_args()))
    matches, found, true = (sum(getattr(row, name) for row in rows) for name in ("matches", "found", "true"))
    ap50, sbd = 100 * matches / max(found + true - matches, 1), 100 * np.mean([row.sbd for row in rows])
    voi = np.mean([row.split + row.merged for row in rows])
    print(f"AP50 {ap50:.1f} % ({matches} of {found} found and {true} true), SBD {sbd:.1f} %, VOI {voi:.2f} bits")


if __name__ == "__main__":
    main()
