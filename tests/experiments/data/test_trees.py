"""The script for tree crowns: how boxes are read and cut."""

import numpy as np

from experiments.data.trees import SIDE, read_corners, tile


def test_a_box_is_of_the_tile_of_its_centre_and_a_crowd_in_others():
    across = np.array([[SIDE - 10.0, 20, SIDE + 20, 50], [0, 0, SIDE, 4]])
    assert tile(across, 0, 0) == [([SIDE - 10, 20, 10, 30], True), ([0, 0, SIDE, 4], False)]
    assert tile(across, SIDE, 0) == [([0, 20, 20, 30], False)]
    assert tile(across, 0, SIDE) == []


def test_pixels_of_pascal_voc_count_from_one(tmp_path):
    box = "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax>"
    (tmp_path / "a.xml").write_text(f"<annotation><object><bndbox>{box}</bndbox></object></annotation>")
    assert read_corners(tmp_path / "a.xml").tolist() == [[0, 1, 10, 20]]
