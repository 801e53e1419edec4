"""What a study is about to do, in a few lines."""

import sys
from math import ceil
from shutil import get_terminal_size
from textwrap import wrap

from trg_pyg._program import say
from trg_pyg.config.methods import Method
from trg_pyg.config.schema import NetworkConfig
from trg_pyg.data.base import Splits
from trg_pyg.distillers.base import GraphSize
from trg_pyg.errors import an, count
from trg_pyg.metrics import PASSES
from trg_pyg.models.cost import Cost
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.study.agenda import Agenda
from trg_pyg.study.folder import finished_history, resumable_history
from trg_pyg.study.study import Objective, Study
from trg_pyg.study.teacher import teacher_training
from trg_pyg.tokens.maps import shown_grid
from trg_pyg.training.config import TrainConfig

# Column in which the text of a line begins.
_INDENT = 10


def announce(study: Study, agenda: Agenda) -> None:
    """Print data, networks, methods with their weights and graphs, recipe, runs and where they go."""
    for title, text in _lines(study, agenda):
        say("\n".join(_fitted(f"{title:<{_INDENT}}{text}")))


def _fitted(line: str) -> list[str]:
    """Break a line at the width of the terminal, where there is one; files have one line each to be searched in."""
    if not sys.stdout.isatty():
        return [line]
    width = max(get_terminal_size().columns, 2 * _INDENT)
    return wrap(line, width, subsequent_indent=" " * _INDENT, break_long_words=False, break_on_hyphens=False)


def _lines(study: Study, agenda: Agenda) -> list[tuple[str, str]]:
    config, choices, item = study.config, study.choices, study.splits.item
    lines = [("data", _data(study))]
    if study.shots:
        lines.append(("", "classes: " + ", ".join(f"{len(ids)} {name}" for name, ids in study.shots.items())))
    # The pair with the most taps shows them all.
    pair = max(study.pairs.values(), key=lambda pair: len(pair.student.features))
    if pair.teacher is not None:
        teacher = _network(config.teacher, study.costs["teacher"], pair.teacher, item) + study.started["teacher"]
        lines.append(("teacher", f"{teacher}; {_origin(study)}"))
    student = _network(config.student, study.costs["student"], pair.student, item) + study.started["student"]
    lines.append(("student", student))
    names = [method.name for method in choices.methods]
    width = max(map(len, names))
    passes = _passes(study.objectives)
    lines += [
        (
            "methods" if number == 0 else "",
            f"{name:<{width}}  {passes.get(name, '')}{_weights(study.objectives[name])}{_own(study, method)}",
        )
        for number, (name, method) in enumerate(zip(names, choices.methods, strict=True))
    ]
    if passes:
        lines.append(("", f"passes: {PASSES.about}"))
    lines += [("graphs" if number == 0 else "", text) for number, text in enumerate(_graphs(study.objectives, item))]
    lines.append(("training", _recipe(config.train, len(study.splits.train), item)))
    lines.append(("runs", _runs(study, agenda)))
    wandb = config.wandb if config.wandb == "disabled" else f"{config.wandb}, project {config.wandb_project}"
    lines.append(("output", f"{study.folder} on {_device(study)}; wandb {wandb}"))
    if choices.resume:
        lines.append(("resumed", _resumed(agenda)))
    elif agenda.kept:
        which = f"{len(agenda.kept)} of {count(len(agenda.runs), 'run')}"
        lines.append(("kept", f"{which}, finished before; --overwrite trains them anew"))
    return lines


def _data(study: Study) -> str:
    splits, counts = study.splits, study.splits.class_counts
    origin = " (held out of the training set)" if splits.evaluated == "validation" else ""
    heldout = "" if splits.heldout is None else f", {len(splits.heldout):,} held out to choose by"
    if splits.unlabelled is not None:
        heldout += f", {len(splits.unlabelled):,} unlabelled"
    each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    tested = count(len(splits.test), f"{splits.evaluated} {splits.item}")
    classes = "" if splits.train.task.answers_for else f", {count(len(splits.classes), 'class')} of {each}"
    return (
        f"{type(study.config.data).__name__}: {len(splits.train):,} training and {tested}{origin} "
        f"of {_shape(splits)}{heldout}{classes}"
    )


def _shape(splits: Splits) -> str:
    shown = splits.shown_size
    return shown if splits.channels in (0, 3) else f"{shown} and {count(splits.channels, 'channel')}"


def _network(config: NetworkConfig, needed: Cost, info: NetworkInfo, item: str) -> str:
    taps = ", ".join(f"{tap.path} {tap.channels}x{shown_grid(tap.grid)}" for tap in info.features)
    # Methods that compare embeddings take the mean of the last map then.
    missing = taps and info.embedding is None and not info.pixels
    unknown = "; no embedding is known: declare classifier_path" if missing else ""
    return f"{config.name}: {count(needed.parameters, 'parameter')}, {_flops(needed.flops)} {an(item)}" + (
        f", taps {taps}{unknown}" if taps else ""
    )


def _flops(count: int) -> str:
    for unit, size in (("GFLOPs", 10**9), ("MFLOPs", 10**6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,} FLOPs"


def _origin(study: Study) -> str:
    config, choices = study.config.teacher, study.choices
    if choices.published is not None:
        return f"published weights {choices.published.name}"
    if config.weights is not None and not config.trained_further:
        return f"weights {config.weights}"
    if choices.trains_teacher:
        training = teacher_training(study)
        epochs = config.train.epochs
        kept = finished_history(training.folder, epochs)
        done = len(resumable_history(training.folder) if kept is None else kept)
        if done >= epochs:
            return f"trained before, {training.folder}"
        return f"trained first, {count(epochs, 'epoch')}" + (f", of which {done} are done" if done else "")
    return "as its args load it"


def _passes(objectives: dict[str, Objective]) -> dict[str, str]:
    """Return what each method's step costs, as a column; nothing where all cost as much."""
    shown = {name: f"{objective.passes:.3g}" for name, objective in objectives.items()}
    width = max(map(len, shown.values()))
    if len(set(shown.values())) == 1:
        return {}
    return {name: f"{passes:>{width}} pass{'  ' if passes == '1' else 'es'}  " for name, passes in shown.items()}


def _weights(objective: Objective) -> str:
    parts = []
    for part, (start, end) in objective.weights.items():
        symbol = f" ({objective.symbols[part]})" if part in objective.symbols else ""
        parts.append(f"{start:g}{'' if start == end else f' to {end:g}'} {part}{symbol}")
    return " + ".join(parts) or "does not say what it sums"


def _own(study: Study, method: Method) -> str:
    """Return what a method holds out for itself, since the data hold nothing out."""
    splits = study.splits_of(method)
    if splits is study.splits or splits.heldout is None:
        return ""
    return (
        f"; holds out {len(splits.heldout):,} {splits.item}s of its own, set data.heldout to take them from all methods"
    )


def _graphs(objectives: dict[str, Objective], item: str) -> list[str]:
    """Return lines for each set of graphs: the methods that have it, tokens of an item, and each graph's size."""
    owners: dict[tuple[str, ...], list[str]] = {}
    for name, objective in objectives.items():
        parts: dict[GraphSize, list[str]] = {}
        for part, size in objective.graphs.items():
            parts.setdefault(size, []).append(part)
        lines = [f"{', '.join(of_size)}: {_size(size)}" for size, of_size in parts.items()]
        if objective.tokens is not None:
            lines = [f"{count(objective.tokens, 'token')} {an(item)}, {count(objective.images, item)} a batch", *lines]
        elif lines:
            lines[0] += f", of {count(objective.images, item)}"
        if objective.fitted:
            lines.append("fitted: " + ", ".join(objective.fitted))
        if lines:
            owners.setdefault(tuple(lines), []).append(name)
    return [
        f"{', '.join(names)}: {line}" if number == 0 else f"    {line}"
        for lines, names in owners.items()
        for number, line in enumerate(lines)
    ]


def _size(size: GraphSize) -> str:
    graphs = "1" if size.graphs == 1 else f"{size.graphs:,} times"
    edges = "edges as the nodes have it" if size.edges is None else count(size.edges // size.graphs, "edge")
    return f"{graphs} {size.builder} of {count(size.nodes // size.graphs, 'node')}, {edges}"


def _recipe(recipe: TrainConfig, images: int, item: str) -> str:
    steps = ceil(images / recipe.batch_size)
    of_step = count(min(images, recipe.batch_size), item)
    if recipe.batch_size > images:
        of_step += f" (all there are; batch_size is {recipe.batch_size:,})"
    pieces = [
        f"{count(recipe.epochs, 'epoch')} of {count(steps, 'step')} of {of_step}",
        f"{recipe.optimizer}, lr {recipe.lr:g}, weight decay {recipe.weight_decay:g}",
        _schedule(recipe),
        recipe.precision,
    ]
    if recipe.accumulate > 1:
        pieces.append(f"{recipe.accumulate} parts a step")
    named = ("mixup", "cutmix", "randaugment", "erasing", "views", "label_smoothing", "ema")
    balancing = ("balanced_sampling", "logit_adjustment", "effective_number", "deferred_epochs")
    for name in (*named, *balancing):
        value = getattr(recipe, name)
        pieces += [f"{name} {value:g}"] if value else []
    flags = ("adjust_after", "trivialaugment", "compile", "deterministic")
    pieces += [name for name in flags if getattr(recipe, name)]
    return "; ".join(pieces)


def _schedule(recipe: TrainConfig) -> str:
    warmup = recipe.warmup_epochs
    rise = f" after {warmup:g} epoch{'' if warmup == 1 else 's'} of warm-up" if warmup else ""
    if recipe.schedule == "multistep":
        return f"multistep x {recipe.gamma:g} at {', '.join(map(str, recipe.milestones)) or 'no epoch'}{rise}"
    return f"{recipe.schedule}{rise}"


def _runs(study: Study, agenda: Agenda) -> str:
    methods, seeds = study.choices.methods, study.choices.seeds
    text = f"{len(agenda.runs)}: {count(len(methods), 'method')} x seed{'s' * (len(seeds) > 1)} "
    text += ", ".join(map(str, seeds))
    return text + (", methods side by side" if study.config.share_teacher and len(methods) > 1 else "")


def _device(study: Study) -> str:
    return str(study.device) if study.world.size == 1 else f"{study.device.type}, {study.world.size} processes"


def _resumed(agenda: Agenda) -> str:
    finished, begun = agenda.finished, agenda.begun
    rest = len(agenda.runs) - len(finished) - len(begun)
    pieces = [f"{len(finished)} of {len(agenda.runs)} runs are finished"]
    if begun:
        pieces.append("; ".join(f"{run.title} goes on after epoch {done} of {agenda.epochs}" for run, done in begun))
    pieces.append(f"{rest} not begun")
    return "; ".join(pieces)
