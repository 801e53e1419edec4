import copy
import inspect

import bank_equations as equations
import pytest
import relational_equations
import torch
from inputs import HARD, generator
from torch import Tensor, nn
from toys import LABELS, batch, leaves

from trg_pyg.distillers import HKD, KD, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step


def make(networks, seed: int = 0, labels: Tensor = LABELS, **options) -> HKD:
    torch.manual_seed(seed)
    distiller = HKD(*networks, **options)
    distiller.bind(labels, generator(seed))
    return distiller


def banks(distiller) -> tuple[Tensor, Tensor]:
    memory = distiller.terms["holistic"].memory
    return memory.student.vectors.clone(), memory.teacher.vectors.clone()


def transcribed(
    distiller: HKD, embeddings, logits, step: Step, *, k=8, own=True, tau=0.07, share=0.75
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The four contrasts, and e of both; that negatives are drawn right is tested with ClassNegatives."""
    term = distiller.terms["holistic"]
    pool, allowed = term.memory.draw(step.target, step.generator.clone_state())
    e, g = [], []
    for f, z, layer, hop in zip(
        embeddings,
        logits,
        (term.images.nodes.embed_student, term.images.nodes.embed_teacher),
        (term.pass_student, term.pass_teacher),
        strict=True,
    ):
        e.append(equations.embedded(f, layer))
        own_weight, beside = (lin.weight for lin in hop.lins)
        g.append(equations.one_hop(e[-1], equations.likeliest(z, k), own_weight, beside, hop.bias))
    loss = equations.holistic(
        (e[0], e[1]), (g[0], g[1]), banks(distiller), step.index, pool, allowed, own=own, tau=tau, share=share
    )
    return loss, (e[0], e[1])


def sides(student: Outputs, teacher: Outputs):
    """Embeddings and logits of both, the teacher's detached."""
    return (student.embedding, teacher.embedding.detach()), (student.logits, teacher.logits.detach())


def test_the_published_objective(networks, outputs, close):
    """128-d, 8 neighbours, own bank, T 0.07, 0.75, 0.9: CE + KD + 3 x the four contrasts."""
    distiller = make(networks).double()
    student, teacher = outputs(11, dtype=torch.float64)
    step = batch([2, 3, 5, 7, 11, 13, 17, 19, 23, 28, 29])
    expected, e = transcribed(distiller, *sides(student, teacher), step)
    before = banks(distiller)
    assert before[0].shape == before[1].shape == (30, 128)
    losses = distiller(student, teacher, step)
    total = (
        relational_equations.cross_entropy(student.logits, step.target)
        + relational_equations.logit_kd(student.logits, teacher.logits.detach(), 4.0)
        + 3 * expected
    )
    assert list(losses.parts) == ["ce", "kd", "holistic"]
    assert losses.parts["holistic"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(losses.parts["kd"], KD(*networks)(student, teacher, batch([0] * 11)).parts["kd"])
    close(losses.total, total, leaves(student, teacher, distiller))
    for bank, old, new in zip(banks(distiller), before, e, strict=True):
        torch.testing.assert_close(bank, equations.moved(old, step.index, new, 0.9))


@pytest.mark.parametrize("bank", ["own", "other"])
@pytest.mark.parametrize(
    ("negatives", "k", "temperature", "momentum", "smoothing"),
    [("auto", 2, 0.07, 0.9, 0.75), (1, 1, 0.5, 0.0, 0.0), (7, 4, 0.2, 0.5, 1.0)],
)
def test_steps_of_a_training_equal_the_equations(
    bank, negatives, k, temperature, momentum, smoothing, networks, outputs, close
):
    options = {"negatives": negatives, "bank": bank, "temperature": temperature, "momentum": momentum}
    distiller = make(networks, dim=4, k=k, smoothing=smoothing, **options).double()
    term = distiller.terms["holistic"]
    for number, index in enumerate([[0, 4, 9, 15, 22], [4, 29, 15, 1, 2, 28], [0, 1, 2, 3, 29]]):
        student, teacher = outputs(len(index), seed=number, dtype=torch.float64)
        step = batch(index, seed=number)
        expected, e = transcribed(
            distiller, *sides(student, teacher), step, k=k, own=bank == "own", tau=temperature, share=smoothing
        )
        before = banks(distiller)
        close(term(student, teacher, step), expected, leaves(student, teacher, distiller))
        for now, old, new in zip(banks(distiller), before, e, strict=True):
            torch.testing.assert_close(now, equations.moved(old, step.index, new, momentum))


def test_neighbours_are_each_networks_own(networks, outputs):
    """Of the student by the student's probabilities: another teacher leaves the student's graph as it is."""
    distiller = make(networks, dim=4, k=1).eval()
    term = distiller.terms["holistic"]
    seen = []
    for hop in (term.pass_student, term.pass_teacher):
        hop.register_forward_hook(lambda module, args, output: seen.append(args[1]))
    student, teacher = outputs(4)
    # Images 0 and 1, 2 and 3 for the student; 0 and 2, 1 and 3 for the teacher.
    first, second = 9 * torch.eye(5)[[0, 0, 1, 1]], 9 * torch.eye(5)[[0, 1, 0, 1]]
    term(student._replace(logits=first), teacher._replace(logits=second), batch([0, 1, 2, 3]))
    assert seen[0].tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
    assert seen[1].tolist() == [[2, 3, 0, 1], [0, 1, 2, 3]]


def test_of_a_network_without_an_embedding_the_last_map_is_averaged(networks, outputs, close):
    infos = [NetworkInfo(info.num_classes, info.features) for info in networks]
    student, teacher = (o._replace(embedding=None) for o in outputs(4, dtype=torch.float64))
    distiller = make(infos, dim=4, k=2).double()
    step = batch([0, 1, 2, 3])
    # The teacher's class token is no part of its map.
    f = student.features[-1].mean((2, 3)), teacher.features[-1][:, 1:].mean(1).detach()
    expected, _ = transcribed(distiller, f, (student.logits, teacher.logits.detach()), step, k=2)
    inputs = [*student.features, *distiller.parameters()]
    close(distiller.terms["holistic"](student, teacher, step), expected, inputs)


def test_networks_without_taps_are_enough(networks, outputs):
    bare = [NetworkInfo(info.num_classes, (), info.embedding) for info in networks]
    student, teacher = (o._replace(features=()) for o in outputs(4))
    assert make(bare, dim=4, k=2)(student, teacher, batch([0, 1, 2, 3])).total.isfinite()


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hard_embeddings(kind, dtype, hard):
    infos = NetworkInfo(5, (), 4), NetworkInfo(5, (), 3)
    distiller = make(infos, dim=4, k=2).to(dtype)
    student, teacher = hard(kind, 6, 4, dtype=dtype).requires_grad_(), hard(kind, 6, 3, seed=1, dtype=dtype)
    logits = hard("random", 6, 5, seed=2, dtype=dtype), hard("random", 6, 5, seed=3, dtype=dtype)
    step = batch([0, 1, 2, 3, 4, 5])
    exact = copy.deepcopy(distiller).double()
    expected, _ = transcribed(exact, (student.double(), teacher.double()), [z.double() for z in logits], step, k=2)
    losses = distiller(Outputs(logits[0], (), student), Outputs(logits[1], (), teacher), step)
    losses.total.backward()
    assert losses.parts["holistic"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert student.grad.isfinite().all()
    assert all(bank.isfinite().all() for bank in banks(distiller))


def test_images_with_equal_logits_and_zero_embeddings_are_finite(networks, outputs):
    distiller = make(networks, dim=4, k=2)
    for parameter in distiller.parameters():
        nn.init.zeros_(parameter)
    student, teacher = outputs(5)
    same = student._replace(logits=torch.zeros(5, 5, requires_grad=True))
    losses = distiller(same, teacher._replace(logits=torch.zeros(5, 5)), batch([0, 1, 2, 3, 4]))
    losses.total.backward()
    assert losses.total.isfinite()
    assert not student.embedding.grad.any()
    assert all(p.grad.isfinite().all() for p in distiller.parameters())
    assert all(bank.isfinite().all() for bank in banks(distiller))


def test_the_memory_is_of_e_and_only_of_the_batch(networks, outputs):
    distiller = make(networks, dim=4, k=2, momentum=0.0)
    before = banks(distiller)
    student, teacher = outputs(4)
    distiller(student, teacher, batch([7, 1, 20, 3]))
    images = distiller.terms["holistic"].images
    f = student.embedding, teacher.embedding
    rest = [i for i in range(30) if i not in (7, 1, 20, 3)]
    for bank, old, x, layer in zip(
        banks(distiller), before, f, (images.nodes.embed_student, images.nodes.embed_teacher), strict=True
    ):
        torch.testing.assert_close(bank[[7, 1, 20, 3]], equations.embedded(x, layer))
        assert torch.equal(bank[rest], old[rest])


def test_in_a_small_batch_all_others_are_neighbours(networks, outputs):
    few, one = make(networks, k=2), make(networks, k=1)
    one.load_state_dict(few.state_dict())
    totals = [each(*outputs(2), batch([0, 1])).total for each in (few, one)]
    assert torch.equal(*totals)
    assert few.fitted(2) == ["k 1 in a graph of 2 nodes (2 asked for)"]
    assert few.fitted(3) == []
    assert few.min_images == 2
    with pytest.raises(InputError, match="a graph of a single token has no neighbours"):
        few(*outputs(1), batch([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "^K=0"),
        ({"dim": 0}, "from 6 to 0: widths must be at least 1"),
        ({"bank": "both"}, "^bank=both: choose other or own"),
        ({"temperature": 0}, "^temperature=0"),
        ({"momentum": 1.0}, "^momentum=1.0"),
        ({"smoothing": 1.5}, "^smoothing=1.5: it is a share, from 0 to 1"),
        ({"negatives": 0}, "^negatives=0: choose at least 1, or auto"),
        ({"negatives": "all"}, "^negatives=all: choose a number or auto"),
    ],
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        HKD(*networks, **options)


def test_the_published_defaults():
    options = {**inspect.signature(TermDistiller).parameters, **inspect.signature(HKD).parameters}
    assert {name: p.default for name, p in options.items() if p.default is not p.empty and name != "terms"} == {
        **{"ce_weight": 1, "kd_weight": 1, "tau": 4, "weight": 3, "dim": 128, "k": 8, "negatives": "auto"},
        **{"bank": "own", "temperature": 0.07, "momentum": 0.9, "smoothing": 0.75},
        **{"standardize": False, "decoupled": 0},
    }
