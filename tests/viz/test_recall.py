import pytest

from trg_pyg.errors import InputError

pytest.importorskip("matplotlib")

from trg_pyg.viz.recall import draw_edge_recall


def test_each_training_is_a_line_over_the_epochs_that_have_the_metric(axes):
    histories = {
        "TRG": [
            {"epoch": 1, "graph/edge_recall": 0.2, "graph/edge_recall_chance": 0.2},
            {"epoch": 2},
            {"epoch": 3, "graph/edge_recall": 0.4, "graph/edge_recall_chance": 0.2},
        ],
        "_TRGPaper": [{"epoch": 1, "graph/edge_recall": 0.1}],
    }
    draw_edge_recall(axes, histories)
    chance, first, second = axes.lines
    assert first.get_xdata().tolist() == [1, 3]
    assert first.get_ydata().tolist() == [0.2, 0.4]
    assert second.get_ydata().tolist() == [0.1]
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert set(chance.get_ydata()) == {0.2}
    assert (chance.get_color(), chance.get_linestyle()) == (first.get_color(), "--")
    told = ["TRG: 0.40, chance 0.2, corrected 0.25", "\u200b_TRGPaper: 0.10"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == told


def test_a_training_without_the_metric_is_refused(axes):
    with pytest.raises(InputError, match="KD: no epoch has graph/edge_recall"):
        draw_edge_recall(axes, {"KD": [{"epoch": 1}]})
