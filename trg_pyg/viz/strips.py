"""Clips as strips of frames."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from trg_pyg.errors import require
from trg_pyg.viz.drawing import pixels_of
from trg_pyg.viz.figure import new_figure, shown_name, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_strips(clips: Tensor, titles: Sequence[str], *, width: float = 8.0) -> "Figure":
    """Draw clips one below the other, the frames of each from left to right.

    Args:
        clips: uint8 ``[N, C, T, H, W]``.
        titles: of the N clips.
        width: of the figure in inches; the height follows from the frames.

    Raises:
        InputError: there is not one title a clip, or no clip.
    """
    require(
        clips.dim() == 5 and 0 < len(clips) == len(titles),
        f"clips {tuple(clips.shape)} and {len(titles)} titles: give [clips, channels, frames, height, width] and a "
        "title for each clip",
    )
    frames, height, side = clips.shape[2:]
    figure = new_figure(width, len(clips) * (width * height / (frames * side) + 0.3))
    grid = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    for axes, clip, title in zip(grid, clips, titles, strict=True):
        # A white line between two frames.
        strip = pad(clip, (0, 1), value=255).transpose(1, 2).flatten(2)[..., :-1]
        axes.imshow(pixels_of(strip), interpolation="nearest")
        axes.set_title(shown_name(title, 100))
        axes.set_axis_off()
    return figure
