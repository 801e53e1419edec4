import numpy as np
import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.viz import plot_strips, to_png


def test_frames_of_a_clip_stand_side_by_side_with_a_white_line_between():
    clips = torch.arange(3, dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(2, 3, 3, 4, 5) * 100
    figure = plot_strips(clips, ["one", "$two$"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "$two$"]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (4, 17, 3)
    row = (255 * shown[0, :, 0]).round() if shown.max() <= 1 else shown[0, :, 0]
    assert row.tolist() == [0] * 5 + [255] + [100] * 5 + [255] + [200] * 5
    assert to_png(figure).startswith(b"\x89PNG")


def test_clips_without_a_title_each_are_refused():
    with pytest.raises(InputError, match=r"clips \(2, 3, 3, 4, 5\) and 1 titles"):
        plot_strips(torch.zeros(2, 3, 3, 4, 5, dtype=torch.uint8), ["one"])
