import copy
import inspect

import bank_equations as equations
import pytest
import relational_equations
import torch
from torch import Tensor

from trg_pyg.distillers import CRD, KD, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo, NetworkInfo
from trg_pyg.step import Step

LABELS = torch.arange(30) % 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(networks, seed: int = 0, **options) -> CRD:
    torch.manual_seed(seed)
    distiller = CRD(*networks, **options)
    distiller.bind(LABELS, generator(seed))
    return distiller


def batch(index: list[int], seed: int = 0) -> Step:
    return Step(LABELS[index], 0.5, generator(seed), torch.tensor(index))


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


def leaves(distiller, student, teacher) -> list[Tensor]:
    both = [x for o in (student, teacher) for x in (o.logits, *o.features, o.embedding)]
    return [*both, *distiller.parameters()]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "options",
    [{}, {"dim": 4, "negatives": 3, "temperature": 0.5, "momentum": 0.9, "weight": 2.0, "kd_weight": 1.0, "tau": 3.0}],
    ids=["published", "other"],
)
def test_steps_of_a_training_equal_the_equations(seed, options, networks, outputs, close):
    """By default CE + 0.8 x the contrast in 128-d, T 0.07, momentum 0.5, all images of other classes."""
    distiller = make(networks, seed, **options).double()
    tau, momentum = options.get("temperature", 0.07), options.get("momentum", 0.5)
    assert banks(distiller)[0].shape == (30, options.get("dim", 128))
    z = None
    for number, index in enumerate([[0, 4, 9, 15], [4, 29, 15], [0, 1, 2, 29]]):
        student, teacher = outputs(len(index), seed=10 * seed + number, dtype=torch.float64)
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
        close(losses.total, total, leaves(distiller, student, teacher))
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


def test_one_image_is_a_batch(networks, outputs):
    assert CRD(*networks).min_images == 1
    assert make(networks)(*outputs(1), batch([7])).total.isfinite()


def test_with_logit_distillation_the_part_is_that_of_kd(networks, outputs):
    parts = make(networks, kd_weight=1.0, tau=2.0)(*outputs(3), batch([0, 1, 2])).parts
    assert torch.equal(parts["kd"], KD(*networks, tau=2.0)(*outputs(3), batch([0, 1, 2])).parts["kd"])


def test_binding_alike_draws_alike(networks, outputs):
    one, same, other = (make(networks, dim=4) for _ in range(3))
    other.bind(LABELS, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(banks(one), banks(same), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(banks(one), banks(other), strict=True))
    assert not torch.equal(*banks(one))
    assert torch.equal(*(d(*outputs(4), batch([0, 1, 2, 3])).total for d in (one, same)))


def test_a_state_dict_goes_on_in_a_fresh_distiller(networks, outputs):
    distiller, fresh = make(networks, 0, dim=4, negatives=5), make(networks, 1, dim=4, negatives=5)
    distiller(*outputs(4), batch([0, 1, 2, 3]))
    fresh.load_state_dict(distiller.state_dict())
    for seed, index in enumerate(([2, 3, 4, 5], [3, 2, 9, 0]), start=1):
        assert torch.equal(*(d(*outputs(4, seed=seed), batch(index, seed)).total for d in (distiller, fresh)))
        torch.testing.assert_close(fresh.state_dict(), distiller.state_dict(), rtol=0, atol=0)


def test_eval_mode_stores_nothing(networks, outputs):
    distiller = make(networks, dim=4).eval()
    before = copy.deepcopy(distiller.state_dict())
    values = [distiller(*outputs(4), batch([0, 1, 2, 3])).total for _ in range(2)]
    assert torch.equal(*values)
    torch.testing.assert_close(distiller.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(distiller.train()(*outputs(4), batch([0, 1, 2, 3])).total, values[0])
    assert not torch.equal(distiller(*outputs(4), batch([0, 1, 2, 3])).total, values[0])


def test_what_a_step_lacks_is_named(networks, outputs):
    with pytest.raises(InputError) as unbound:
        CRD(*networks)(*outputs(4), batch([0, 1, 2, 3]))
    assert str(unbound.value) == "bind(targets, generator) first: a memory bank needs the training set's labels"
    distiller = make(networks)
    with pytest.raises(InputError) as no_index:
        distiller(*outputs(4), Step(LABELS[:4], 0.5, generator()))
    assert str(no_index.value) == "a memory bank needs each image's position in the training set (Step.index)"


def test_more_negatives_than_there_are(networks):
    with pytest.raises(InputError) as error:
        make(networks, negatives=25)
    assert str(error.value) == (
        "negatives=25: the training set has only 24 images of other classes than class 0; choose at most 24, or auto"
    )
    assert make(networks, negatives=24)


def test_a_weight_of_0_needs_no_memory(networks, outputs, step):
    distiller = CRD(*networks, weight=0)
    assert list(distiller(*outputs(), step()).parts) == ["ce"]
    assert not list(distiller.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "^weight=-1.0: the weight of a loss is 0"),
        ({"ce_weight": -1.0}, "^ce_weight=-1.0"),
        ({"tau": 0}, "^tau=0"),
        ({"dim": 0}, "from 7 to 0: widths must be at least 1"),
        ({"temperature": 0}, "^temperature=0"),
        ({"momentum": -0.1}, "^momentum=-0.1"),
        ({"negatives": 0}, "^negatives=0: choose at least 1, or auto"),
    ],
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        CRD(*networks, **options)


def test_a_teacher_of_other_classes_is_refused(networks):
    with pytest.raises(InputError, match="teacher has 9 classes"):
        CRD(networks[0], NetworkInfo(9, (FeatureInfo("x", "map", 3, (4, 4)),)))


def test_the_published_defaults():
    options = {**inspect.signature(TermDistiller).parameters, **inspect.signature(CRD).parameters}
    assert {name: p.default for name, p in options.items() if p.default is not p.empty and name != "terms"} == {
        **{"ce_weight": 1, "kd_weight": 0, "tau": 4, "weight": 0.8, "dim": 128, "negatives": "auto"},
        **{"temperature": 0.07, "momentum": 0.5},
    }
