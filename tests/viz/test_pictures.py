"""Every plotting function: what it draws, as SVG, with names that nobody should use."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module

import pytest
import torch
from processes import launch

from trg_pyg.errors import InputError
from trg_pyg.training.calibration import calibration
from trg_pyg.training.distributed import World
from trg_pyg.viz.figure import figure_style, shown_name, to_png, to_svg

HOSTILE = "_<b>$\\frac{&\"'%s"


@pytest.fixture(autouse=True)
def matplotlib():
    return pytest.importorskip("matplotlib")


def texts(figure) -> list[str]:
    """What is written in a picture, as its SVG has it."""
    root = ElementTree.fromstring(to_svg(figure))
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def test_curves_have_a_mean_and_a_line_a_seed():
    from trg_pyg.viz.curves import plot_curves

    curves = {"KD": [{1: 10.0, 2: 20.0}, {1: 14.0, 2: 22.0, 3: 30.0}], HOSTILE: [{1: 5.0, 2: 6.0}]}
    figure = plot_curves(curves, ylabel="test top-1, %", title=HOSTILE)
    lines = figure.axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[10, 20], [14, 22, 30], [12, 21], [5, 6]]
    shown = texts(figure)
    assert {"KD", "epoch", "test top-1, %"} <= set(shown)
    assert sum(HOSTILE in text for text in shown) == 2


def test_a_logarithmic_axis_has_plain_numbers_and_needs_positive_values():
    from trg_pyg.viz.curves import plot_curves

    figure = plot_curves({"ce": [{1: 2.0, 2: 0.01}]}, log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert not [text for text in texts(figure) if "$" in text]
    assert "0.1" in texts(figure)
    assert plot_curves({"ce": [{1: 2.0, 2: 0.0}]}, log=True).axes[0].get_yscale() == "linear"


def test_bars_are_means_in_the_order_given():
    from trg_pyg.viz.bars import plot_bars, plot_changes

    for plot in (plot_bars, plot_changes):
        figure = plot({"TRG": [1.0, 3.0], HOSTILE: [5.0]}, xlabel="%", title="few")
        assert [bar.get_width() for bar in figure.axes[0].patches] == [2, 5]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["TRG", shown_name(HOSTILE)]
        assert figure.axes[0].yaxis_inverted()
    losses = plot_changes({"up": [1.0], "down": [-1.0]}).axes[0].patches
    assert losses[0].get_facecolor() != losses[1].get_facecolor()


def test_intervals_stand_where_they_are():
    from trg_pyg.viz.intervals import Interval, plot_intervals

    figure = plot_intervals({"TRG": Interval(2.0, 1.0, 3.0, [1.5, 2.5]), HOSTILE: Interval(4.0, None, None, [4.0])})
    drawn = [[float(x) for x in line.get_xdata()] for line in figure.axes[0].get_lines()]
    assert drawn == [[0, 0], [1, 3], [1.5, 2.5], [2], [4]]
    assert any(HOSTILE in text for text in texts(figure))


def test_reliability_has_the_accuracy_of_every_bin():
    from trg_pyg.viz.reliability import plot_reliability

    found = calibration(torch.tensor([0.1, 0.9, 1.0]), torch.tensor([True, False, True]), 5)
    figure = plot_reliability(found, title=HOSTILE)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1, 0, 0, 0, 0.5]
    assert f"ECE {100 * found.error:.1f} %" in texts(figure)
    assert "own words" in texts(plot_reliability(found, note="own words"))


def test_confusion_writes_its_numbers():
    from trg_pyg.viz.confusion import plot_confusion

    shares = {"KD": torch.tensor([[70.0, 30.0]]), HOSTILE: torch.tensor([[float("nan"), 55.0]])}
    shown = texts(plot_confusion(shares, ["cat"], ["cat", "others"]))
    assert {"70", "30", "55", "cat", "others"} <= set(shown)
    assert "nan" not in shown


def test_class_sizes_are_points():
    from trg_pyg.viz.class_size import plot_class_size

    axes = plot_class_size([500, 5], [1.0, -2.0], title=HOSTILE).axes[0]
    points = axes.get_lines()[-1]
    assert (list(points.get_xdata()), list(points.get_ydata())) == ([500, 5], [1, -2])
    assert axes.xaxis_inverted()


def test_a_picture_is_the_same_each_time_and_loads_nothing():
    from trg_pyg.viz.bars import plot_bars

    one, other = (to_svg(plot_bars({"a": [1.0]})) for _ in range(2))
    assert one == other
    assert one.startswith("<svg")
    assert not re.search(r"(href|src)=\"(?!#)", one)
    assert "url(http" not in one
    assert to_png(plot_bars({"a": [1.0]})).startswith(b"\x89PNG")


def test_long_names_are_cut_and_lines_joined():
    assert shown_name("a\nb\x1b c") == "a b c"
    assert len(shown_name("x" * 200)) == 34


def test_the_user_finds_matplotlib_as_it_was(matplotlib):
    before = matplotlib.rcParams["text.parse_math"]
    with figure_style():
        assert matplotlib.rcParams["text.parse_math"] is False
    assert matplotlib.rcParams["text.parse_math"] == before


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    from trg_pyg.viz.bars import plot_bars

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pictures need matplotlib: pip install 'trg_pyg\[lab\]'"):
        plot_bars({"a": [1.0]})


def imported(world: World) -> bool:
    for name in ("bars", "curves", "confusion", "reliability", "intervals", "class_size"):
        import_module(f"trg_pyg.viz.{name}")
    return "matplotlib" in sys.modules


def test_importing_the_pictures_imports_no_matplotlib(tmp_path):
    assert launch(imported, 1, tmp_path, group=False) == [False]
