from dataclasses import replace

import pytest

from tests.report.test_comparison import one, record
from trg_pyg.report.rows import result_rows
from trg_pyg.report.training_blocks import curves_block, losses_block, results_block
from trg_pyg.viz.line_style import line_styles

pytest.importorskip("matplotlib")


def with_losses(run, epochs):
    """The run with a part of the loss in its last epochs."""
    history = [
        epoch | ({"train/ce": 1.0} if i >= len(run.history) - epochs else {}) for i, epoch in enumerate(run.history)
    ]
    return replace(run, history=history)


def evaluated_once(run):
    return replace(run, history=[{"epoch": 1}, run.history[1]])


def blocks(*runs):
    study = one(*runs)
    rows, styles = result_rows(study), line_styles([study.methods])
    return results_block(study, rows, styles), curves_block(study, styles), losses_block(study)


def names(block):
    return [picture.name for picture in block.pictures]


def test_a_curve_of_a_single_point_is_left_out_and_named():
    _, curves, losses = blocks(with_losses(record(), 2), with_losses(evaluated_once(record("TRG")), 1))
    assert names(curves) == ["test/top1"]
    (axes,) = curves.pictures[0].figure.axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[1, 2]]
    assert "No curve of test top-1 of TRG: measured once." in curves.lines
    assert names(losses) == ["losses KD"]


def test_without_any_curve_there_is_a_line_in_its_place():
    _, curves, _ = blocks(evaluated_once(record()), evaluated_once(record("TRG")))
    assert names(curves) == []
    assert "No curve of test top-1: measured once, at epoch 2." in curves.lines


def test_it_is_said_by_what_the_best_epoch_is_chosen():
    run = record()
    held = replace(run, history=[epoch | {"heldout/top1": 40.0} for epoch in run.history])
    for each, chosen in (
        (run, "the same split, so it looks better"),
        (held, "a part of the training split, held out."),
    ):
        results, *_ = blocks(each)
        assert any(f"The best epoch is chosen on {chosen}" in line for line in results.lines)


def test_a_method_that_holds_out_images_for_itself_is_marked():
    run = record()
    own = replace(run, history=[epoch | {"own_heldout": 1200} for epoch in run.history])
    results, *_ = blocks(own)
    assert any(line.startswith("KD holds out 1,200 of the training images for itself") for line in results.lines)


def test_the_difference_of_one_seed_of_one_method_stands_in_the_table_alone():
    results, *_ = blocks(record(), record("TRG", top1=53.0))
    assert names(results) == []
    assert results.tables[0].rows[-1][2] == "+3.00"
    for other in (record("SP"), record("TRG", 1)):
        results, *_ = blocks(record(), record("KD", 1), record("TRG", top1=53.0), other)
        assert names(results) == ["difference"]


def test_a_method_of_which_only_the_idea_is_known_is_called_so():
    run = record()
    known = replace(run, method="mine", distiller={"class_path": "AEKT", "init_args": {"ratio": False}})
    results, *_ = blocks(run, known)
    notes = [line for line in results.lines if "form ours" in line]
    assert notes == ["mine: after Park and Lee, arXiv 2409.01679, form ours."]
