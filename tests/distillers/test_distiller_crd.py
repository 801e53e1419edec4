import inspect

import bank_equations as equations
import pytest
import relational_equations
import torch
from inputs import generator
from torch import Tensor
from toys import LABELS, batch, leaves

from trg_pyg.distillers import CRD, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.step import Step


def make(networks, seed: int = 0, **options) -> CRD:
    torch.manual_seed(seed)
    distiller = CRD(*networks, **options)
    distiller.bind(LABELS, generator(seed))
    return distiller


def banks(distiller) -> tuple[Tensor, Tensor]:
    memory = distiller.terms["contrast"].loss.memory
    return memory.student.vectors.clone(), memory.teacher.vectors.clone()


def embedded(distiller, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    loss = distiller.terms["contrast"].loss
    return equations.embedded(student, loss.project_student), equations.embedded(teacher, loss.project_teacher)


def negatives(distiller, step: Step) -> list[list[int]]:
    """That they are drawn right is tested with ClassNegatives."""
    pool, allowed = distiller.terms["contrast"].loss.memory.draw(step.target, step.generator.clone_state())
    return [pool[row].tolist() for row in allowed]


@pytest.mark.parametrize(
    "options",
    [{}, {"dim": 4, "negatives": 3, "temperature": 0.5, "momentum": 0.9, "weight": 2.0, "kd_weight": 1.0, "tau": 3.0}],
    ids=["published", "other"],
)
def test_steps_of_a_training_equal_the_equations(options, networks, outputs, close):
    """By default CE + 0.8 x the contrast in 128-d, T 0.07, momentum 0.5, all images of other classes."""
    distiller = make(networks, **options).double()
    tau, momentum = options.get("temperature", 0.07), options.get("momentum", 0.5)
    assert banks(distiller)[0].shape == (30, options.get("dim", 128))
    z = None
    for number, index in enumerate([[0, 4, 9, 15], [4, 29, 15], [0, 1, 2, 29]]):
        student, teacher = outputs(len(index), seed=number, dtype=torch.float64)
        step, before = batch(index, number), banks(distiller)
        e, others = embedded(distiller, student.embedding, teacher.embedding.detach()), negatives(distiller, step)
        assert {len(row) for row in others} == {options.get("negatives", 24)}
        z = z or equations.crd_normalisers(e, before, step.index, others, tau)
        contrast = equations.contrast(e, before, step.index, others, tau, z)
        total = relational_equations.cross_entropy(student.logits, step.target)
        total = total + options.get("weight", 0.8) * contrast
        if "kd_weight" in options:
            total = total + relational_equations.logit_kd(student.logits, teacher.logits.detach(), 3.0)
        losses = distiller(student, teacher, step)
        assert list(losses.parts) == ["ce", *(["kd"] if "kd_weight" in options else []), "contrast"]
        assert losses.parts["contrast"].item() == pytest.approx(contrast.item(), rel=1e-6)
        close(losses.total, total, leaves(student, teacher, distiller))
        for now, old, new in zip(banks(distiller), before, e, strict=True):
            torch.testing.assert_close(now, equations.moved(old, step.index, new, momentum))


def test_of_a_network_without_an_embedding_the_last_map_is_averaged(networks, outputs, close):
    infos = [NetworkInfo(info.num_classes, info.features) for info in networks]
    student, teacher = (o._replace(embedding=None) for o in outputs(4, dtype=torch.float64))
    distiller, step = make(infos, dim=4).double(), batch([0, 1, 2, 8])
    # The teacher's class token is no part of its map.
    e = embedded(distiller, student.features[-1].mean((2, 3)), teacher.features[-1][:, 1:].mean(1).detach())
    others = negatives(distiller, step)
    z = equations.crd_normalisers(e, banks(distiller), step.index, others, 0.07)
    expected = equations.contrast(e, banks(distiller), step.index, others, 0.07, z)
    value = distiller.terms["contrast"](student, teacher, step)
    close(value, expected, [*student.features, *teacher.features, *distiller.parameters()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "from 6 to 0: widths must be at least 1"),
        ({"temperature": 0}, "^temperature=0"),
        ({"momentum": -0.1}, "^momentum=-0.1"),
        ({"negatives": 0}, "^negatives=0: choose at least 1, or auto"),
    ],
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        CRD(*networks, **options)


def test_the_published_defaults():
    options = {**inspect.signature(TermDistiller).parameters, **inspect.signature(CRD).parameters}
    assert {name: p.default for name, p in options.items() if p.default is not p.empty and name != "terms"} == {
        **{"ce_weight": 1, "kd_weight": 0, "tau": 4, "weight": 0.8, "dim": 128, "negatives": "auto"},
        **{"temperature": 0.07, "momentum": 0.5, "standardize": False, "decoupled": 0},
    }
