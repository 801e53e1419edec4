import numpy as np

from trg_pyg.viz import contours


def test_the_outermost_pixels_of_each_instance_have_a_colour_of_their_own():
    image = np.full((400, 400, 3), 7, np.uint8)
    labels = np.zeros((400, 400), int)
    labels[10:20, 10:20], labels[10:20, 20:30] = 1, 2
    drawn = contours(image, labels)
    changed = (drawn != 7).any(2)
    assert changed.sum() == 2 * (4 * 10 - 4)
    assert not changed[11:19, 11:19].any()
    assert not np.array_equal(drawn[15, 19], drawn[15, 20])
    assert (image == 7).all()


def test_small_images_are_enlarged():
    assert contours(np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), int)).shape == (384, 576, 3)
