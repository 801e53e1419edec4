"""Scores of whole label maps, and the baseline without learning."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.studies.nuclei.whole_images import otsu, scored


def test_the_baseline_finds_what_is_bright():
    image = np.full((20, 30), 40, np.uint8)
    image[::2] += 3  # a background of two levels
    image[2:8, 2:9], image[2:8, 12:20], image[15, 15] = 180, 200, 255
    found = otsu(image, least=10)
    assert np.array_equal(found > 0, (image > 100) & (image < 255))
    assert found.max() == 2


def write_pair(folder: Path, image: np.ndarray, labels: np.ndarray) -> None:
    for part, pixels in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / part / "one.png")


def test_label_maps_of_a_folder_are_scored(tmp_path):
    labels = np.zeros((16, 16), np.uint16)
    labels[2:14, 2:8], labels[2:14, 8:14] = 1, 2
    write_pair(tmp_path, (labels > 0).astype(np.uint8) * 200, labels)
    (as_one,) = scored(tmp_path, None)
    assert (as_one.matches, as_one.found, as_one.true) == (0, 1, 2)  # what touches is one
    (found,) = scored(tmp_path, tmp_path / "labels")
    assert (found.sbd, found.matches) == (1, 2)
