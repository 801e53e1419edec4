"""Why a relational method helps or does nothing: graphs and gradients of a student, measured beside its training."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from trg_pyg._files import write_text
from trg_pyg._program import markdown_table
from trg_pyg._transfer import in_double
from trg_pyg.batch import Batch, mask_of
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.distillers.base import Distiller, Taps
from trg_pyg.distillers.trg import default_token_graphs
from trg_pyg.errors import InputError, require
from trg_pyg.graphs.token_graphs import Measures
from trg_pyg.models._probe import Example, first_tensor
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import FeatureInfo, TappedModel
from trg_pyg.step import Step
from trg_pyg.study.agenda import Training
from trg_pyg.study.study import Study, tapped
from trg_pyg.training.class_balance import ClassBalance

# Of the probe's images and tokens: another number gives another probe, the same one for every run.
_SEED = 0


def draw_probe(study: Study, images: int, batch: int | None) -> list[Batch]:
    """Draw the training images that are looked at, the same for every run and epoch, on the study's device.

    They are as they are, without augmentation; ``index`` is their positions in the training set.

    Args:
        study: its training set.
        images: how many.
        batch: images looked at together; ``None`` takes the training's batch size, or all images if they are fewer.

    Raises:
        InputError: the training set has fewer images, or they are not a multiple of a batch.
    """
    train, size = study.splits.train, study.config.train.batch_size
    require(
        1 <= images <= len(train),
        f"probe_images={images}: the training set has {len(train)} {train.task.item}s; choose 1 to {len(train)}",
    )
    batch = min(size, images) if batch is None else batch
    require(batch >= 1, f"probe_batch={batch}: a batch holds at least one image")
    require(
        images % batch == 0,
        f"probe_images={images} in batches of {batch} leaves a batch of {images % batch}, whose graph is not like the "
        f"others: choose probe_images={-(-images // batch) * batch}, or set probe_batch",
    )
    index = torch.randperm(len(train), generator=torch.Generator().manual_seed(_SEED))[:images]
    loader = make_loader(train.select(index.to(train.targets.device)), batch, shuffle=False, device=study.device)
    return [replace(shown, index=part).to(study.device) for shown, part in zip(loader, index.split(batch), strict=True)]


class FeatureLeaf:
    """Adds a leaf of zeros to the output of a module, so that gradients with respect to the output are whole.

    What a tap gives is a copy, which only the losses on features depend on; the logits depend on the original, which
    the network may overwrite. Both are made of the sum. A method may ask the network again, also for gradients of what
    comes before the module: further passes of as many images have the same leaf, so their gradients are summed.

    Args:
        module: a hook comes before those that it has.

    Attributes:
        value: the leaf, of the shape and layout of what the module gave first.
    """

    def __init__(self, module: nn.Module) -> None:
        self.value: Tensor | None = None
        module.register_forward_hook(self._hook, prepend=True)

    def forget(self) -> None:
        """Let the next call make another leaf."""
        self.value = None

    def _hook(self, module: nn.Module, args: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return None
        if self.value is None:
            self.value = torch.zeros_like(tensor, requires_grad=True)
        if tensor.shape != self.value.shape:
            return None
        value = tensor + self.value
        if isinstance(output, Tensor):
            return value
        items = (value, *output[1:])
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def gradient_measures(parts: Mapping[str, tuple[float, Tensor]], feature: Tensor, logits: Tensor) -> Measures:
    """Return what each part of a loss asks of a feature and of the logits.

    Args:
        parts: ``{name: (weight, value)}`` with their graphs, which are kept.
        feature: what the values depend on; it and the logits may be unused.
        logits: the same.

    Returns:
        For each part ``value``, unweighted; ``grad`` and ``grad_logits``, the Euclidean norms of the gradient of weight
        times value; ``cosine`` of its gradient of the feature with that of ``ce``, where there is such a part: ``None``
        where one of them is 0.
    """
    measures: Measures = {}
    gradients = {}
    for name, (weight, value) in parts.items():
        gradients[name], of_logits = _gradients(value, (feature, logits))
        measures[f"value/{name}"] = value.item()
        measures[f"grad/{name}"] = weight * vector_norm(gradients[name]).item()
        measures[f"grad_logits/{name}"] = weight * vector_norm(of_logits).item()
    if "ce" in gradients:
        others = {name: gradient for name, gradient in gradients.items() if name != "ce"}
        measures |= {f"cosine/{name}": _cosine(gradient, gradients["ce"]) for name, gradient in others.items()}
    return measures


def _gradients(value: Tensor, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    # A part that has nothing to learn from has no graph; neither have logits that do not depend on the tap.
    wanted = [each for each in inputs if each.requires_grad] if value.requires_grad else []
    found = iter(
        torch.autograd.grad(value, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
        if wanted
        else ()
    )
    return [next(found) if wanted and each.requires_grad else torch.zeros_like(each) for each in inputs]


def _cosine(one: Tensor, other: Tensor) -> float | None:
    # In double: squares of small gradients would underflow.
    a, b = (in_double(each.detach()).flatten() for each in (one, other))
    length = vector_norm(a) * vector_norm(b)
    return (a @ b / length).item() if length > 0 else None


class Diagnosis:
    """Looks at trainings of a study after their initialisation and after every epoch, without a trace in them.

    Copies of the student and of the distiller, in evaluation mode and float32, see the same images and the same tokens
    each time. A memory bank is the training's own, but for epoch 0, before the training has made it: then it is drawn
    here. Each look is one line of ``diagnosis.jsonl`` in the run's folder, means over the batches of the probe,
    ``null`` where no batch has the quantity:

    * ``recall/image``, ``recall/batch``: share of the edges of the teacher's kNN graph that the student's own has too;
    * ``cross/share``, ``cross/student``: share of the edges of the batch graph, of teacher and student, between images;
      of these, where an image has one class, ``cross/same_class`` join images of one class and ``cross/tail`` come
      from a token of a class of medium or few training images; the student's with ``_student``;
    * ``<measure>_chance``: what random edges would have, for recall k of the n - 1 others in a graph; and
      ``recall/<scope>_corrected``: (recall - chance) / (1 - chance), 0 at chance and 1 for all edges;
    * ``value``, ``grad``, ``grad_logits`` and ``cosine`` of each part: see :func:`gradient_measures`; the feature is
      the student's last tap, the gradient that of the mean over a batch.

    Args:
        study: data, device and networks.
        teacher: trained; a copy of it is looked at.
        probe: what they are shown.
    """

    def __init__(self, study: Study, teacher: TappedModel, probe: Sequence[Batch]) -> None:
        self._study, self._probe = study, probe
        self._teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
        self._teachers: dict[Taps, TappedModel] = {}
        self._tail: Tensor | None = None
        if study.shots:
            self._tail = torch.zeros(len(study.splits.classes), dtype=torch.bool, device=study.device)
            self._tail[[*study.shots["medium"], *study.shots["few"]]] = True
        self.files: dict[str, Path] = {}

    def watch(self, training: Training, student: TappedModel, resumed: bool) -> Callable[[dict[str, float]], None]:
        """Look at a network before its training starts, and return what looks after each epoch.

        A training that goes on keeps its lines; one that was killed between a checkpoint and its line lacks that line.

        Args:
            training: that is about to start.
            student: its network.
            resumed: whether it goes on from a checkpoint, which is not read yet.

        Raises:
            InputError: a batch of the probe has fewer images than the method needs; the lines that are kept are of
                another probe; a network has no feature map.
        """
        images, fewest = len(self._probe[0].target), training.distiller.min_images
        require(
            images >= fewest,
            f"probe_batch={images}: {training.title} needs {fewest} images for its neighbours; choose larger batches",
        )
        file = self.files[training.title] = training.folder / "diagnosis.jsonl"
        if resumed:
            self._check_probe(file)
        else:
            write_text(file, "")
            self._append(file, training, student, epoch=0)
        return lambda metrics: self._append(file, training, student, int(metrics["epoch"]))

    def _append(self, file: Path, training: Training, student: TappedModel, epoch: int) -> None:
        line = {"epoch": epoch, **self._about, **self.measure(training, student, epoch)}
        with file.open("a") as lines:
            lines.write(json.dumps(line) + "\n")

    @property
    def _about(self) -> dict[str, int]:
        return {
            "probe_images": sum(len(each.target) for each in self._probe),
            "probe_batch": len(self._probe[0].target),
        }

    def _check_probe(self, file: Path) -> None:
        for line in read_lines(file)[:1]:
            kept = {name: line.get(name) for name in self._about}
            require(
                kept == self._about,
                f"{file} is of probe_images={kept['probe_images']} and probe_batch={kept['probe_batch']}: go on with "
                "the same, or delete it",
            )

    def measure(self, training: Training, student: TappedModel, epoch: int) -> Measures:
        """Return what a network and its losses are after an epoch, 0 for before the first."""
        with _no_draws(self._study.device):
            taps: Taps = "last" if training.method.taps == "none" else training.method.taps
            distiller = self._copy_of(training.distiller, epoch)
            model = copy.deepcopy(student).to(self._study.device).eval()
            model = tapped(model, training.network, taps).eval()
            teacher = self._teacher_with(taps)
            example = self._study.splits.example
            if epoch == 0:  # the network has not met its method yet
                model.describe(example)
                distiller.extend(model)
            last = self._last(model, training.network.name, example), self._last(teacher, "the teacher", example)
            recipe = training.recipe
            targets, classes = self._study.splits.train.targets, model.describe(example).num_classes
            balance = ClassBalance(targets, classes, recipe, self._study.device)
            graphs = distiller.token_graphs or default_token_graphs(*last)
            assert model.taps
            leaf = FeatureLeaf(model.model.get_submodule(model.taps[-1]))
            looks = []
            for number, batch in enumerate(self._probe):
                # The same tokens for the graphs as for the losses of a method that draws them first, as TRG does.
                draws = [torch.Generator().manual_seed(_SEED + number) for _ in range(2)]
                networks = Networks(model, teacher)
                step = Step(
                    batch.target,
                    epoch / recipe.epochs,
                    draws[0],
                    batch.index,
                    networks,
                    smoothing=recipe.label_smoothing,
                    prior=balance.prior,
                    class_weights=balance.weights(max(epoch - 1, 0)),
                    inputs=batch.inputs,
                    mask=mask_of(batch.inputs),
                )
                inputs, rows = distiller.see(batch.inputs, step)
                step = replace(step, rows=rows)
                with torch.no_grad():
                    heard = teacher(inputs)
                leaf.forget()  # a method may have asked the student while it made its views
                with torch.enable_grad():
                    said = model(inputs)
                    parts = distiller.weighted_parts(said, heard if distiller.needs_teacher else None, step)
                assert leaf.value is not None
                with torch.no_grad():
                    last_maps = step.labelled(said.features[-1]), step.labelled(heard.features[-1])
                    tokens = graphs.tokenize(*last_maps, draws[1], mask=step.mask)
                    look = graphs.measure(*tokens, step.classes, self._tail)
                looks.append(look | gradient_measures(parts, leaf.value, said.logits))
        return {"k": graphs.k, "tokens": graphs.tokenize.num_tokens} | _means(looks)

    def _copy_of(self, distiller: Distiller, epoch: int) -> Distiller:
        distiller = copy.deepcopy(distiller)
        if epoch == 0:
            distiller.learn(self._study.splits.train.task)
            distiller.bind(self._study.splits.train.targets.cpu(), torch.Generator().manual_seed(_SEED))
        return distiller.to(self._study.device).eval()

    def _teacher_with(self, taps: Taps) -> TappedModel:
        if taps not in self._teachers:
            self._teachers[taps] = tapped(self._teacher, self._study.config.teacher, taps).eval()
        return self._teachers[taps]

    @staticmethod
    def _last(network: TappedModel, name: str, example: Example) -> FeatureInfo:
        features = network.describe(example).features
        require(len(features) > 0, f"{name}: taps is empty; name a module, or null to find the feature maps")
        return features[-1]


def _means(looks: Sequence[Measures]) -> Measures:
    means: Measures = {}
    for name in looks[0]:
        values = [value for look in looks if (value := look[name]) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means


@contextmanager
def _no_draws(device: torch.device) -> Iterator[None]:
    """Put the global random generators back afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a diagnosis, none where there is no file."""
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is cut off or no diagnosis ({error}): delete its last line, or the file") from error


def diagnosis_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of the first, the middle and the last line, a row a measure, chance beside it."""
    chosen = [lines[place] for place in dict.fromkeys((0, (len(lines) - 1) // 2, len(lines) - 1))]
    last = chosen[-1]
    rows = [["measure", *(f"epoch {line['epoch']}" for line in chosen), "chance"]]
    # A student's measure has no chance of its own: it is that of the teacher's.
    chance = {"cross/student": "cross/share", **{f"{name}_student": name for name in last}}
    for name in last:
        if "/" not in name or name.endswith("_chance"):
            continue
        of = 0.0 if name.endswith("_corrected") else last.get(f"{chance.get(name, name)}_chance")
        rows.append([name, *(_cell(line.get(name)) for line in chosen), _cell(of)])
    return markdown_table(rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
