"""The blocks of a section that need predictions: accuracy class by class, calibration, confusion."""

from collections.abc import Mapping
from statistics import mean

import torch
from torch import Tensor

from trg_pyg.report.comparison import ComparedStudy
from trg_pyg.report.page import Block, Picture, Table
from trg_pyg.report.predictor import RunPredictions, StudyPredictions
from trg_pyg.report.table import cell
from trg_pyg.report.training_blocks import Styles
from trg_pyg.training.calibration import Calibration, calibration
from trg_pyg.training.confusion import among
from trg_pyg.viz.bars import plot_changes
from trg_pyg.viz.class_size import plot_class_size
from trg_pyg.viz.confusion import plot_confusion
from trg_pyg.viz.reliability import plot_reliability

_TITLES = ("Class by class", "Calibration", "Confusion")
_MOST = 10  # classes that gained or lost most
_ALL = 20  # classes up to which all are shown
_CONFUSED = 8
_TAKEN = 3  # further classes that they are taken for
_WHOLE = 10  # classes up to which the whole matrix is shown
_BINS = 15


def prediction_blocks(study: ComparedStudy, predictions: StudyPredictions, styles: Styles) -> list[Block]:
    """Return what predictions show, or a line that says why it is left out."""
    if not predictions.runs:
        why = f"Left out, since they need the predictions of the runs. {_list(predictions.missing)}"
        return [Block(", ".join(_TITLES), [why, *predictions.notes])]
    missing = [f"Runs without predictions: {_list(predictions.missing)}"] if predictions.missing else []
    blocks = [_calibration_block(study, predictions, styles)]
    reference = study.reference
    if reference is None or reference not in predictions.runs:
        who = "there is no reference" if reference is None else f"there are no predictions of {reference}"
        blocks.append(Block("Class by class, Confusion", [f"Left out, since {who} to compare with."]))
    else:
        compared = [name for name in predictions.runs if name != reference]
        compared = [name for name in compared if predictions.changes(name, reference)[0]]
        if compared:
            sizes = [_size_block(predictions, reference, compared, styles)] if study.long_tailed else []
            blocks[:0] = [_class_block(study, predictions, reference, compared), *sizes]
            blocks.append(_confusion_block(predictions, reference, compared))
        else:
            line = f"Left out, since no other method has predictions of a seed that {reference} has."
            blocks.append(Block("Class by class, Confusion", [line]))
    blocks[0].lines[:0] = [*missing, *predictions.notes]
    return blocks


def _list(lines: list[str]) -> str:
    return "; ".join(line.rstrip(".") for line in lines) + "."


def _class_block(study: ComparedStudy, predictions: StudyPredictions, reference: str, compared: list[str]) -> Block:
    one = predictions.any_run
    lines = [
        f"Accuracy within each class minus that of {reference} for the same seed, in points, last epoch. Bars: mean "
        f"over seeds; ticks: seeds. {_how_many(len(one.classes))}"
    ]
    pictures = []
    for name in compared:
        _, changes = predictions.changes(name, reference)
        centre = changes.mean(0)
        order = [i for i in centre.argsort(descending=True, stable=True).tolist() if centre[i] == centre[i]]
        if len(order) > _ALL:
            gained = [i for i in order if centre[i] > 0][:_MOST]
            order = gained + [i for i in order if centre[i] < 0][-_MOST:]
            if not order:  # equal networks
                continue
        shown = {_class_name(one, i, study.long_tailed): changes[:, i].tolist() for i in order}
        figure = plot_changes(shown, xlabel=f"accuracy over {reference}, points", title=name, width=3.9)
        alt = f"Change of class accuracy of {name} over {reference} in points: {_told(shown)}."
        pictures.append(Picture(f"classes {name}", figure, alt))
    return Block("Class by class", lines, pictures=pictures)


def _size_block(predictions: StudyPredictions, reference: str, compared: list[str], styles: Styles) -> Block:
    lines = [
        f"The same change of every class over {reference}, mean over seeds, by the number of training images that the "
        "class has; dotted: 100 and 20 images."
    ]
    changes = {name: predictions.changes(name, reference)[1].mean(0) for name in compared}
    pictures = [_size_picture(predictions.any_run, change, name, reference, styles) for name, change in changes.items()]
    return Block("Classes by size", lines, pictures=pictures)


def _how_many(classes: int) -> str:
    if classes <= _ALL:
        return "All classes, sorted."
    return f"Of {classes} classes, the {_MOST} that gained most and the {_MOST} that lost most, where so many did."


def _class_name(run: RunPredictions, label: int, with_count: bool) -> str:
    count = f" ({run.class_counts[label]})" if with_count else ""
    name = run.classes[label]
    # Two classes may have one name once it is cut, but a row each.
    return f"{name}{count}" if run.classes.count(name) == 1 else f"{name} [{label}]{count}"


def _told(changes: Mapping[str, list[float]], ends: int = 3) -> str:
    told = [f"{name} {mean(values):+.1f}" for name, values in changes.items()]
    return ", ".join(told) if len(told) <= 2 * ends else f"{', '.join(told[:ends])} … {', '.join(told[-ends:])}"


def _size_picture(run: RunPredictions, changes: Tensor, name: str, reference: str, styles: Styles) -> Picture:
    tested = [label for label, change in enumerate(changes.tolist()) if change == change]
    counts = [run.class_counts[label] for label in tested]
    values = [changes[label].item() for label in tested]
    figure = plot_class_size(
        counts, values, ylabel=f"over {reference}, points", title=name, style=styles[name], size=(3.9, 2.8)
    )
    up = sum(value > 0 for value in values)
    alt = f"Change of class accuracy of {name} over {reference} by training images: {up} of {len(values)} classes gain."
    return Picture(f"class size {name}", figure, alt)


def _calibration_block(study: ComparedStudy, predictions: StudyPredictions, styles: Styles) -> Block:
    rows = [["method", "ECE, %", "confidence, %", "accuracy, %", "confidence - accuracy", f"{study.evaluated} loss"]]
    pictures = []
    for name, runs in predictions.runs.items():
        each = [_calibration([run]) for run in runs.values()]
        figures = [
            {
                "ece": 100 * calibrated.error,
                "confidence": 100 * run.predictions.confidence.double().mean().item(),
                "accuracy": run.predictions.top1,
            }
            for calibrated, run in zip(each, runs.values(), strict=True)
        ]
        for figure in figures:
            figure["over"] = figure["confidence"] - figure["accuracy"]
        losses = [study.methods[name][seed].history[-1] for seed in runs]
        keys = ("ece", "confidence", "accuracy", "over")
        rows.append([name, *(cell(figures, key) for key in keys), cell(losses, "test/loss")])
        pooled = _calibration(list(runs.values()))
        shown = plot_reliability(pooled, title=name, note=f"ECE {rows[-1][1]} %", style=styles[name])
        alt = (
            f"Reliability of {name}: expected calibration error {rows[-1][1]} percent, mean "
            f"confidence {mean(figure['confidence'] for figure in figures):.1f}, accuracy "
            f"{mean(figure['accuracy'] for figure in figures):.1f} percent."
        )
        pictures.append(Picture(f"reliability {name}", shown, alt))
    lines = [
        f"Expected calibration error (ECE): the gap between accuracy and mean confidence in {_BINS} bins of equal "
        "width, weighted by the predictions in each (Guo et al., ICML 2017). The table has mean ± standard deviation "
        "over seeds; the pictures have those of all seeds together: bars are accuracy, the dashed diagonal is "
        "perfect calibration, and a network is too sure of itself where bars stay below it."
    ]
    return Block("Calibration", lines, [Table("calibration", rows)], pictures)


def _calibration(runs: list[RunPredictions]) -> Calibration:
    confidence = torch.cat([run.predictions.confidence for run in runs])
    return calibration(confidence, torch.cat([run.predictions.correct for run in runs]), _BINS)


def _confusion_block(predictions: StudyPredictions, reference: str, compared: list[str]) -> Block:
    one = predictions.any_run
    if len(one.classes) <= _WHOLE:
        names = [_class_name(one, label, False) for label in range(len(one.classes))]
        pictures = [
            _confusion_picture({name: predictions.confusion(name, list(predictions.runs[name]))}, names, one)
            for name in (reference, *compared)
        ]
        which = ""
    else:
        pictures = []
        for name in compared:
            seeds, changes = predictions.changes(name, reference)
            names = [_class_name(one, label, False) for label in range(len(one.classes))]
            matrices = {each: predictions.confusion(each, seeds) for each in (reference, name)}
            pictures.append(_confusion_picture(matrices, names, one, _most_changed(changes.mean(0).nan_to_num())))
        which = (
            f"The {_CONFUSED} classes whose accuracy changed most against {reference}, gains first, and {_TAKEN} more "
            "that they are taken for most. "
        )
    lines = [f"{which}Of 100 of a row's class, how many are taken for each class, all seeds together."]
    return Block("Confusion", lines, pictures=pictures)


def _confusion_picture(
    matrices: dict[str, Tensor], names: list[str], run: RunPredictions, classes: list[int] | None = None
) -> Picture:
    """Draw the matrices of some methods, of some classes and all others, or of all classes."""
    shown = list(range(len(run.classes))) if classes is None else classes
    # Beside the classes themselves, those that their images are taken for most often.
    taken = shown if classes is None else [*shown, *_most_taken(matrices, classes)]
    rows = [names[label] for label in shown]
    columns = [*(names[label] for label in taken), *([] if classes is None else ["others"])]
    shares = {name: among(matrix, shown, taken)[:, : len(columns)] for name, matrix in matrices.items()}
    right = "; ".join(
        f"{name} is right in {', '.join(f'{row} {share[i, i]:.0f}' for i, row in enumerate(rows))} percent"
        for name, share in shares.items()
    )
    figure = plot_confusion(shares, rows, columns, width=3.8 if len(matrices) == 1 else 4.6)
    return Picture(f"confusion {list(matrices)[-1]}", figure, f"What those of a class are taken for: {right}.")


def _most_taken(matrices: dict[str, Tensor], classes: list[int]) -> list[int]:
    counts = torch.stack(list(matrices.values())).sum(0)[classes].sum(0)
    counts[classes] = 0
    return [label for label in counts.argsort(descending=True, stable=True)[:_TAKEN].tolist() if counts[label] > 0]


def _most_changed(changes: Tensor) -> list[int]:
    most = changes.abs().argsort(descending=True, stable=True)[:_CONFUSED].tolist()
    return sorted(most, key=lambda label: -changes[label].item())
