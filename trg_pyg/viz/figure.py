"""Figures that look alike, and what becomes of them."""

import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from trg_pyg.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

INK, GRID = "#222222", "#dddddd"
_LONGEST = 34  # characters of a name in a picture
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: smaller, and drawn with the reader's fonts
    "svg.hashsalt": "trg_pyg",  # the same figure is the same file
    "text.parse_math": False,  # names are the user's, and may hold a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of this package; a name with a dollar is no formula in it.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'trg_pyg[lab]'") from error
    with rc_context(_STYLE), warnings.catch_warnings():
        # A letter that the font for measuring lacks is drawn with another one where the picture is looked at.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def styled(plot: Callable[P, T]) -> Callable[P, T]:
    """Make a function draw in :func:`figure_style`."""

    @functools.wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> T:
        with figure_style():
            return plot(*args, **kwargs)

    return draw


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty white figure, in inches, that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def shown_name(name: str, longest: int = _LONGEST) -> str:
    """Return a name as a picture shows it: on one line, not too long, and not hidden from legends."""
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(name) > longest:
        name = name[: longest - 1] + "…"
    # Of labels that begin with an underscore matplotlib makes no entry of a legend.
    return f"\u200b{name}" if name.startswith("_") else name


def label_rows(axes: "Axes", names: Sequence[str], xlabel: str, title: str) -> None:
    """Name the rows of a picture that has one for each name, and its axis and itself.

    Args:
        axes: row i lies at height i.
        names: of the rows, from top to bottom.
        xlabel: what the rows show, with its unit.
        title: of the figure.
    """
    axes.set_yticks(range(len(names)), [shown_name(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(xlabel)
    axes.set_title(shown_name(title, 60))


@styled
def to_svg(figure: "Figure") -> str:
    """Return a figure as the text of an ``svg`` element, without the lines before it that only a file needs."""
    content = io.StringIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    return text[text.index("<svg") :]


@styled
def to_png(figure: "Figure", dpi: int = 150) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    return content.getvalue()
