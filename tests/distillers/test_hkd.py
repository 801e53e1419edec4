import copy
import inspect
from pathlib import Path

import bank_equations as equations
import pytest
import relational_equations
import torch
from hard import HARD
from torch import Tensor, nn

from trg_pyg.data.base import ImageSet
from trg_pyg.distillers import CRD, HKD, KD, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, build_model
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.training import TrainConfig, fit

LABELS = torch.arange(30) % 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(networks, seed: int = 0, labels: Tensor = LABELS, **options) -> HKD:
    torch.manual_seed(seed)
    distiller = HKD(*networks, **options)
    distiller.bind(labels, generator(seed))
    return distiller


def batch(index: list[int], seed: int = 0, labels: Tensor = LABELS) -> Step:
    return Step(labels[index], 0.5, generator(seed), torch.tensor(index))


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


def leaves(distiller, student: Outputs, teacher: Outputs) -> list[Tensor]:
    both = [x for o in (student, teacher) for x in (o.logits, *o.features, o.embedding)]
    return [*both, *distiller.parameters()]


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
    close(losses.total, total, leaves(distiller, student, teacher))
    for bank, old, new in zip(banks(distiller), before, e, strict=True):
        torch.testing.assert_close(bank, equations.moved(old, step.index, new, 0.9))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bank", ["own", "other"])
@pytest.mark.parametrize(
    ("negatives", "k", "temperature", "momentum", "smoothing"),
    [("auto", 2, 0.07, 0.9, 0.75), (1, 1, 0.5, 0.0, 0.0), (7, 4, 0.2, 0.5, 1.0)],
)
def test_steps_of_a_training_equal_the_equations(
    seed, bank, negatives, k, temperature, momentum, smoothing, networks, outputs, close
):
    options = {"negatives": negatives, "bank": bank, "temperature": temperature, "momentum": momentum}
    distiller = make(networks, seed, dim=4, k=k, smoothing=smoothing, **options).double()
    term = distiller.terms["holistic"]
    for number, index in enumerate([[0, 4, 9, 15, 22], [4, 29, 15, 1, 2, 28], [0, 1, 2, 3, 29]]):
        student, teacher = outputs(len(index), seed=10 * seed + number, dtype=torch.float64)
        step = batch(index, seed=number)
        expected, e = transcribed(
            distiller, *sides(student, teacher), step, k=k, own=bank == "own", tau=temperature, share=smoothing
        )
        before = banks(distiller)
        close(term(student, teacher, step), expected, leaves(distiller, student, teacher))
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


def test_binding_alike_draws_alike(networks, outputs):
    one, same, other = (make(networks, dim=4, k=2) for _ in range(3))
    other.bind(LABELS, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(banks(one), banks(same), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(banks(one), banks(other), strict=True))
    assert not torch.equal(*banks(one))
    arguments = (*outputs(4), batch([0, 1, 2, 3]))
    totals = [copy.deepcopy(d)(*arguments[:2], batch([0, 1, 2, 3])).total for d in (one, same)]
    assert torch.equal(*totals)


@pytest.mark.parametrize("method", [HKD, CRD])
def test_banks_follow_the_dtype_whenever_they_are_bound(method, networks, outputs):
    distiller = method(*networks).double()
    distiller.bind(LABELS, generator())
    assert {x.dtype for x in distiller.state_dict().values()} == {torch.float64}
    assert distiller(*outputs(9, dtype=torch.float64), batch(list(range(9)))).total.isfinite()


def test_a_state_dict_goes_on_in_a_fresh_distiller(networks, outputs):
    distiller, fresh = make(networks, 0, dim=4, k=2, negatives=5), make(networks, 1, dim=4, k=2, negatives=5)
    distiller(*outputs(4), batch([0, 1, 2, 3]))
    fresh.load_state_dict(distiller.state_dict())
    for seed, index in enumerate(([2, 3, 4, 5], [3, 2, 9, 0]), start=1):
        totals = [d(*outputs(4, seed=seed), batch(index, seed)).total for d in (distiller, fresh)]
        assert torch.equal(*totals)
        torch.testing.assert_close(fresh.state_dict(), distiller.state_dict(), rtol=0, atol=0)


def test_eval_mode_stores_nothing(networks, outputs):
    distiller = make(networks, dim=4, k=2).eval()
    before = copy.deepcopy(distiller.state_dict())
    values = [distiller(*outputs(4), batch([0, 1, 2, 3])).total for _ in range(2)]
    assert torch.equal(*values)
    torch.testing.assert_close(distiller.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(distiller.train()(*outputs(4), batch([0, 1, 2, 3])).total, values[0])
    assert not torch.equal(distiller(*outputs(4), batch([0, 1, 2, 3])).total, values[0])


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


def test_a_weight_of_0_turns_the_term_off(networks, outputs, step):
    distiller = HKD(*networks, weight=0, kd_weight=0)
    distiller.bind(LABELS, generator())
    assert distiller.min_images == 1
    assert list(distiller(*outputs(1), step(1)).parts) == ["ce"]
    assert not list(distiller.parameters())


def test_batches_need_the_neighbours(networks, outputs):
    assert HKD(*networks).min_images == 9
    assert HKD(*networks, k=2).min_images == 3
    with pytest.raises(InputError, match="K=2 neighbours of each of 2 tokens"):
        make(networks, k=2)(*outputs(2), batch([0, 1]))


def test_what_a_step_lacks_is_named(networks, outputs):
    arguments = outputs(4)
    with pytest.raises(InputError) as unbound:
        HKD(*networks, k=2)(*arguments, batch([0, 1, 2, 3]))
    assert str(unbound.value) == "bind(targets, generator) first: a memory bank needs the training set's labels"
    distiller = make(networks, k=2)
    with pytest.raises(InputError) as no_index:
        distiller(*arguments, Step(LABELS[:4], 0.5, generator()))
    assert str(no_index.value) == "a memory bank needs each image's position in the training set (Step.index)"
    with pytest.raises(InputError, match="position 31 in a memory bank of 30 images: make the bank for the training"):
        distiller(*arguments, Step(LABELS[:4], 0.5, generator(), torch.tensor([0, 1, 2, 31])))


def test_more_negatives_than_there_are(networks):
    with pytest.raises(InputError) as error:
        make(networks, negatives=25)
    assert str(error.value) == (
        "negatives=25: the training set has only 24 images of other classes than class 0; choose at most 24, or auto"
    )
    assert make(networks, negatives=24)
    with pytest.raises(InputError, match="the training set has images of class 3 only"):
        make(networks, labels=torch.full((9,), 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "^weight=-1.0: the weight of a loss is 0"),
        ({"kd_weight": -1.0}, "^kd_weight=-1.0"),
        ({"tau": 0}, "^tau=0"),
        ({"k": 0}, "^K=0"),
        ({"dim": 0}, "from 7 to 0: widths must be at least 1"),
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


def test_a_teacher_of_other_classes_is_refused(networks):
    with pytest.raises(InputError, match="teacher has 9 classes"):
        HKD(networks[0], NetworkInfo(9, (FeatureInfo("x", "map", 3, (4, 4)),)))


# Both methods in a training.


class Flat(nn.Module):
    """Nothing in it depends on the batch."""

    classifier_path = "head"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def random_set(size: int, side: int, classes: int, seed: int) -> ImageSet:
    images = torch.randint(0, 256, (size, 3, side, side), generator=generator(seed))
    return ImageSet(images.to(torch.uint8), torch.arange(size) % classes)


def memory(distiller):
    return next(module for module in distiller.modules() if type(module).__name__ == "PairMemory")


def few_images(method) -> dict[str, int]:
    return {"dim": 4, "k": 2} if method is HKD else {"dim": 4}


@pytest.mark.parametrize("method", [HKD, CRD])
def test_in_a_training_each_image_is_remembered_in_its_own_place(method):
    torch.manual_seed(0)
    student, teacher = TappedModel(Flat(), []), TappedModel(Flat(), [])
    torch.manual_seed(1)
    distiller = method(student.describe(4), teacher.describe(4), momentum=0.0, **few_images(method))
    train = random_set(11, 4, 3, seed=0)
    fit(student, teacher, distiller, train, train, TrainConfig(epochs=1, batch_size=4, lr=1e-30, milestones=[]))
    assert torch.equal(memory(distiller).draw.targets, train.targets)
    with torch.no_grad():
        seen = student(train.images).embedding, teacher(train.images).embedding
    layers = [m for m in distiller.modules() if type(m).__name__ == "Projection"]
    for f, layer, bank in zip(seen, layers, (memory(distiller).student, memory(distiller).teacher), strict=True):
        torch.testing.assert_close(bank.vectors, equations.embedded(f, layer))


@pytest.mark.parametrize("method", [HKD, CRD])
def test_a_resumed_training_equals_an_uninterrupted_one(method, tmp_path: Path):
    class Stop(Exception):
        pass

    def stop(metrics):
        if metrics["epoch"] == 1:
            raise Stop

    def train(folder: Path, **options):
        torch.manual_seed(0)
        networks = [TappedModel(build_model("resnet8", num_classes=4), distiller_taps) for _ in range(2)]
        distiller = method(*(n.describe(8) for n in networks), **few_images(method))
        images = random_set(34, 8, 4, seed=0)
        config = TrainConfig(epochs=3, batch_size=12, lr=0.05, milestones=[2])
        history = fit(*networks, distiller, images, images.select(torch.arange(8)), config, folder=folder, **options)
        weights = {**networks[0].state_dict(), **{f"d.{k}": v for k, v in distiller.state_dict().items()}}
        return history, weights

    distiller_taps = method.taps
    history, weights = train(tmp_path / "whole")
    name = "holistic" if method is HKD else "contrast"
    assert all(torch.tensor([epoch[f"train/{name}"], epoch["train/total"]]).isfinite().all() for epoch in history)
    assert sum("vectors" in key for key in weights) == 2
    with pytest.raises(Stop):
        train(tmp_path / "cut", on_epoch=stop)
    resumed, others = train(tmp_path / "cut", resume=True)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert [epoch["train/total"] for epoch in history] == [epoch["train/total"] for epoch in resumed]


def test_a_training_with_batches_too_small_does_not_start():
    torch.manual_seed(0)
    network, train = TappedModel(Flat(), []), random_set(20, 4, 3, seed=0)
    distiller = HKD(network.describe(4), network.describe(4))
    with pytest.raises(InputError, match="batch of 8 of 20 training images, and HKD needs 9 images for its neighbours"):
        fit(network, copy.deepcopy(network), distiller, train, train, TrainConfig(batch_size=12))


def test_a_training_set_without_the_negatives_does_not_start():
    torch.manual_seed(0)
    network, train = TappedModel(Flat(), []), random_set(20, 4, 3, seed=0)
    for method in (HKD, CRD):
        distiller = method(network.describe(4), network.describe(4), negatives=14)
        with pytest.raises(
            InputError, match=r"only 13 images of other classes than class 0; choose at most 13, or auto"
        ):
            fit(network, copy.deepcopy(network), distiller, train, train, TrainConfig(batch_size=20))


def test_the_published_defaults():
    options = {**inspect.signature(TermDistiller).parameters, **inspect.signature(HKD).parameters}
    assert {name: p.default for name, p in options.items() if p.default is not p.empty and name != "terms"} == {
        **{"ce_weight": 1, "kd_weight": 1, "tau": 4, "weight": 3, "dim": 128, "k": 8, "negatives": "auto"},
        **{"bank": "own", "temperature": 0.07, "momentum": 0.9, "smoothing": 0.75},
    }
