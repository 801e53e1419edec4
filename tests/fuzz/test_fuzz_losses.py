import copy
from typing import Any

import hypothesis.strategies as st
import torch
from contracts import DISTILLERS, LOSSES, STUDENT, TEACHER, Case, made, make_outputs, make_step
from fuzzing import fuzz, judged
from odd_tensors import Odd, check_finite, labels, odd, shapes
from torch import Tensor, nn

from trg_pyg.distillers import Distiller
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import DistillationLoss
from trg_pyg.models.taps import Outputs
from trg_pyg.step import Step
from trg_pyg.tokens import l2_normalize, patchify, pool_to_grid

ITEMS = 12
CASES = {cls: Case(cls) for cls in LOSSES}
# Made once: it takes longer than a loss.
MADE = {cls: made(cls, (STUDENT, TEACHER)) for cls in DISTILLERS}


@st.composite
def calls(draw: st.DrawFn) -> tuple[type[DistillationLoss], list[Any], dict[str, Any]]:
    """A loss, mostly with what it takes."""
    cls = draw(st.sampled_from(LOSSES))
    case = CASES[cls]
    usual = case.inputs(lambda kind, *shape, seed=0, dtype=None: torch.zeros(shape), "zeros", torch.float32)
    sides = []
    make = draw(odd)
    for x, grid in zip(usual, ((4, 4), case.teacher_grid), strict=True):
        # Both networks mostly compute alike.
        make = draw(st.sampled_from([make, draw(odd)]))
        if case.compares == "maps":
            sides.append(make.make(*draw(shapes(3, x.shape[1], *grid))))
        else:
            sides.append(make.make(*draw(shapes(*x.shape))))
    known = {
        "target": labels(ITEMS),
        "index": st.one_of(st.none(), labels(ITEMS, most=ITEMS - 1)),
        "generator": st.builds(torch.Generator),
        # Of the teacher, and the weight of its classifier: fitting ones, too few rows, and none at all.
        "logits": st.sampled_from([torch.eye(ITEMS, 3), torch.zeros(1, 3), torch.zeros(3), torch.zeros(ITEMS, 0)]),
        "prototypes": st.sampled_from(
            [torch.eye(usual[0].shape[1]), torch.zeros(usual[0].shape[1], 0), torch.zeros(3)]
        ),
        "weight": st.sampled_from([torch.ones(3, usual[1].shape[1]), torch.zeros(3), torch.zeros(3, 0)]),
    }
    return cls, sides, {name: draw(known[name]) for name in case.extra}


@fuzz(25, 1500, call=calls())
def test_a_loss_is_finite_or_refuses(call: tuple[type[DistillationLoss], list[Tensor], dict[str, Any]]) -> None:
    cls, (student, teacher), extra = call
    case = copy.deepcopy(CASES[cls])
    with judged("losses"):
        if case.compares == "graphs":
            builder = KNNGraph(2)
            of_images = teacher.dim() == 2 and len(teacher) == ITEMS and teacher.shape[1] > 0
            graph = builder(teacher.reshape(3, -1, teacher.shape[1]) if of_images else teacher)
            value = case.loss(builder.reweight(graph, student), graph)
        else:
            value = case.loss(student, teacher, **extra)
        check_loss(value, case.loss, student, teacher)


def check_loss(value: Tensor, module: nn.Module, *inputs: Tensor) -> None:
    assert value.shape == ()
    assert value.dtype in (torch.float32, torch.float64)
    check_finite(value, *inputs)


@st.composite
def steps(draw: st.DrawFn, images: int) -> tuple[Any, ...]:
    return (
        draw(labels(images)),
        draw(st.one_of(st.floats(0, 1), st.floats(0, 1), st.sampled_from([-1.0, 2.0, float("nan"), float("inf")]))),
        torch.Generator(),
        draw(st.one_of(st.none(), labels(images, most=39), labels(images, most=39))),
    )


@st.composite
def network_outputs(draw: st.DrawFn, like: Outputs) -> Outputs:
    """Mostly of the shapes that the network was described with."""
    make = draw(odd)

    def one(usual: Tensor) -> Tensor:
        return draw(st.sampled_from([make, make, make, draw(odd)])).make(*draw(shapes(*usual.shape)))

    features = tuple(one(feature) for feature in like.features)
    features = draw(st.sampled_from([features] * 8 + [features[1:], ()]))
    assert like.embedding is not None
    embedding = draw(st.sampled_from([one(like.embedding)] * 8 + [None]))
    return Outputs(one(like.logits), features, embedding)


@fuzz(20, 1200, cls=st.sampled_from(DISTILLERS), images=st.sampled_from([1, 3, 3, 9, 9]), data=st.data())
def test_a_distiller_is_finite_or_refuses(cls: type[Distiller], images: int, data: st.DataObject) -> None:
    distiller = copy.deepcopy(MADE[cls])
    like = make_outputs(images)
    how = data.draw(st.sampled_from(["outputs", "step", "both", "alike", "alike", "alike"]))
    usual = make_step(images)
    known = usual.target, usual.progress, usual.generator, usual.index
    known = known if how in ("outputs", "alike") else data.draw(steps(images))
    if how == "step":
        student, teacher = like
    elif how == "alike":  # of the right shapes, all of one odd kind
        student, teacher = (_alike(data.draw(odd), side) for side in like)
    else:
        student, teacher = (data.draw(network_outputs(side)) for side in like)
    with judged("distillers"):
        losses = distiller(student, teacher, Step(*known))
        inputs = [x for side in (student, teacher) for x in (side.logits, *side.features, side.embedding)]
        check_loss(losses.total, distiller, *(x for x in inputs if x is not None))


def _alike(make: Odd, side: Outputs) -> Outputs:
    assert side.embedding is not None
    return Outputs(
        make.make(*side.logits.shape),
        tuple(make.make(*feature.shape) for feature in side.features),
        make.make(*side.embedding.shape),
    )


@fuzz(
    12,
    300,
    make=odd,
    shape=shapes(2, 3, 4, 4),
    patch=st.integers(-1, 5),
    grid=st.tuples(st.integers(-1, 5), st.integers(-1, 5)),
)
def test_tokens_are_made_or_refused(make: Odd, shape: tuple[int, ...], patch: int, grid: tuple[int, int]) -> None:
    x = make.make(*shape)
    for work in (lambda: patchify(x, patch), lambda: pool_to_grid(x, grid), lambda: l2_normalize(x)):
        with judged("tokens"):
            check_finite(work(), x)
