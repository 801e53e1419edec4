"""Scale decoupled distillation."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from trg_pyg.batch import Batch
from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.errors import InputError, require
from trg_pyg.losses.sdd import SDDLoss
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision


class SDD(TermDistiller):
    """What the networks' classifiers say of regions of the image (Wei et al., arXiv 2403.13512): SD-KD, or SD-DKD.

    Each network's own classifier reads the mean of its last map over each region, so that it has to be linear and
    what it takes of the image the mean over that map: networks that end in other layers need another tap, such as
    ``student.taps: [relu]`` of a WideResNet.

    Options are those of the public code for SD-KD; SD-DKD is ``form: dkd`` with ``ce_weight: 1``, ``weight: 1`` and a
    ``warmup`` of 20 of 240 epochs. Its grids are published per pair: ``[1, 2]`` for resnet32x4 -> resnet8x4.

    Args:
        student: the student's classes, last map and embedding.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        weight: weight of the regions after the warm-up.
        tau: temperature of the logits.
        form: compare regions as KD does or as DKD.
        grids: cells along a side of each grid of regions.
        complementary: weight of regions about which the teacher is right and about the whole not, or the reverse.
        alpha: of DKD, weight of the target class against the rest.
        beta: of DKD, weight of the distribution among the others.
        warmup: share of the training in which ``weight`` grows from 0.
        **options: kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: an option is impossible, the networks have different numbers of classes, or a map has no such
            regions or another width than the classifier takes; when training starts, the mean over a map is not what
            the classifier takes.
    """

    taps: ClassVar[Taps] = "last"
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        weight: float = 0.9,
        tau: float = 4.0,
        form: Literal["kd", "dkd"] = "kd",
        grids: tuple[int, ...] = (1, 2, 4),
        complementary: float = 2.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        warmup: float = 0.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_warmup(warmup)
        loss = SDDLoss(grids, form, tau, complementary, alpha, beta)
        infos = [
            _classified(info, owner, loss)
            for owner, info in (("student", student), ("teacher", check_networks(student, teacher)))
        ]
        terms: dict[str, tuple[float, Term]] = {"sdd": (weight, _Regions(loss, *infos))}
        super().__init__(student, teacher, ce_weight=ce_weight, tau=tau, terms=terms, **options)
        self.warmup = warmup

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight, which grows linearly during the warm-up."""
        return warmed_up(step, self.warmup) * super().weight_of(name, step)

    def meet(
        self,
        networks: Networks,
        batches: Callable[[], Iterable[Batch]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Look whether the mean over the last map is what the classifiers take, on a first batch.

        Raises:
            InputError: it is not.
        """
        for term in self.terms.values():
            assert isinstance(term, _Regions)
            images = next(iter(batches())).inputs[:2]
            with torch.no_grad(), networks.attacked():  # in evaluation mode, where nothing is dropped
                _check_pooled("student", networks.student(images), term.student)
            _check_pooled("teacher", networks.teacher(images), term.teacher)
        return {}


class _Regions(Term):
    def __init__(self, loss: SDDLoss, student: FeatureInfo, teacher: FeatureInfo) -> None:
        super().__init__()
        self.loss, self.student, self.teacher = loss, student, teacher

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the class scores at each place."""
        networks = step.need_networks("SDD")
        scores_s = _scores(networks.classifier("student"), "student", student, self.student)
        scores_t = _scores(networks.classifier("teacher"), "teacher", teacher, self.teacher)
        return self.loss(scores_s, scores_t, step.target)


def _classified(info: NetworkInfo, owner: str, loss: SDDLoss) -> FeatureInfo:
    tap = at_stage(info, -1, owner)
    require(
        tap.channels == info.embedding,
        f"the last map of the {owner} ({tap.path}) has {tap.channels} channels, its classifier takes {info.embedding}: "
        f"SDD needs the map whose mean it takes; name it in {owner}.taps",
    )
    require(
        max(loss.grids) <= min(tap.grid),
        f"grids={loss.grids}: the last map of the {owner} ({tap.path}) is {tap.grid[0]}x{tap.grid[1]}; leave out what "
        "is larger",
    )
    return tap


def _scores(layer: nn.Module, owner: str, outputs: Outputs, info: FeatureInfo) -> Tensor:
    """Class scores at each place, ``[B, classes, H, W]``."""
    if not isinstance(layer, nn.Linear):
        raise InputError(f"SDD: the classifier of the {owner} is {type(layer).__name__}, not one linear layer")
    places = full_precision(as_map(outputs.features[-1], info))
    with torch.autocast(places.device.type, enabled=False):
        weight, bias = (None if each is None else each.to(places.dtype) for each in (layer.weight, layer.bias))
        assert weight is not None
        scores = linear(places.flatten(2).transpose(1, 2), weight, bias)
    return scores.transpose(1, 2).unflatten(2, places.shape[2:])


def _check_pooled(owner: str, outputs: Outputs, info: FeatureInfo) -> None:
    taken = outputs.embedding
    assert taken is not None
    mean = as_map(outputs.features[-1], info).mean((2, 3))
    # Half precision rounds at the third digit.
    near = (mean - taken).abs().max() <= 0.02 * taken.abs().max()
    require(
        bool(near),
        f"the classifier of the {owner} does not take the mean over its last map ({info.path}): SDD needs the map that "
        f"it takes the mean of; name it in {owner}.taps",
    )
