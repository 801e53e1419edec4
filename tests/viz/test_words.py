import pytest
import torch

from trg_pyg.errors import InputError

pytest.importorskip("matplotlib")

from trg_pyg.viz.words import draw_words, text_height

WORDS = ["the", "tea", "was", "extraordinarily", "good"]


def test_words_stand_in_lines_over_colours_as_strong_as_their_values(axes):
    draw_words(axes, WORDS, torch.tensor([0.0, 1.0, 2.0, 4.0, 1.0]), columns=7)
    # Line and first letter: a word that is longer than a line has one of its own.
    places = [(0, 0), (0, 4), (1, 0), (2, 0), (3, 0)]
    assert [each.get_text() for each in axes.texts] == WORDS
    assert [(int(y), x) for x, y in (each.get_position() for each in axes.texts)] == places
    assert [each.get_alpha() for each in axes.patches] == pytest.approx([0, 0.25, 0.5, 1, 0.25])
    assert text_height(WORDS, 7) == 4 * text_height(["tea"], 7)


def test_words_of_no_value_stay_white(axes):
    draw_words(axes, WORDS, torch.zeros(5))
    assert {each.get_alpha() for each in axes.patches} == {0}


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0], r"\(1,\) values for 5 words"), ([1.0, -1, 0, 0, 0], "negative"), ([float("nan")] * 5, "not finite")],
)
def test_values_that_are_none_of_the_words_are_refused(axes, values, message):
    with pytest.raises(InputError, match=message):
        draw_words(axes, WORDS, torch.tensor(values))
