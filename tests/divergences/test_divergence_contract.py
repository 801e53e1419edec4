"""What every divergence promises before it compares, for every one that there is."""

import inspect

import pytest
import torch

import trg_pyg.divergences
from trg_pyg._discover import subclasses
from trg_pyg.divergences import Divergence
from trg_pyg.errors import InputError
from trg_pyg.relations import Angle, Cosine, Direction, NodeFeatures, Softmax

PLACES = {"edges": Softmax(Cosine()), "triples": Angle(), "nodes": NodeFeatures(), "vectors": Direction()}


def needs_nothing(cls: type) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def with_defaults() -> list[Divergence]:
    kinds = [c for c in subclasses(Divergence) if c.__module__.startswith(f"{trg_pyg.divergences.__name__}.")]
    return [cls() for cls in kinds if needs_nothing(cls)]


@pytest.fixture(params=with_defaults(), ids=lambda divergence: type(divergence).__name__)
def divergence(request) -> Divergence:
    return request.param


def test_there_are_divergences():
    assert {"InfoNCE", "KL", "MSE", "SmoothL1"} <= {type(divergence).__name__ for divergence in with_defaults()}


@pytest.mark.parametrize("place", PLACES)
def test_it_says_where_values_must_be(divergence, place):
    relation = PLACES[place]
    assert divergence.accepts
    if place in divergence.accepts:
        divergence.check(relation, relation)
        return
    message = f"{type(divergence).__name__} of {type(relation).__name__}: the relation has values on {place}"
    with pytest.raises(InputError, match=message):
        divergence.check(relation, relation)


def test_seeing_the_training_set_leaves_the_global_generator_alone(divergence):
    state = torch.get_rng_state()
    divergence.bind(torch.arange(10) % 3, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
