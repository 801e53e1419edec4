from trg_pyg.viz.line_style import REFERENCE_STYLE, line_styles


def test_few_methods_differ_in_colour_and_many_at_all():
    few = line_styles([map(str, range(6))])
    assert len({style.color for style in few.values()}) == 6
    assert len({style.marker for style in few.values()}) == 6
    many = line_styles([map(str, range(60))])
    assert len(set(many.values())) == 60


def test_a_name_keeps_its_style_and_new_ones_avoid_it():
    styles = line_styles([["a", "b"], ["c", "b"], ["b", "d", "a"]])
    assert styles["c"].color not in {styles["b"].color}
    assert len({styles[name].color for name in "bda"}) == 3
    assert styles["a"] == line_styles([["a", "b"]])["a"]


def test_the_reference_is_black_and_nobody_else():
    styles = line_styles([["KD", "a", "b"]], reference="KD")
    assert styles["KD"] == REFERENCE_STYLE
    assert REFERENCE_STYLE.color not in {styles[name].color for name in "ab"}
