"""Graph relation distillation against loops in double precision, and what every method promises, on label maps."""

import copy
from typing import Any

import pytest
import torch
from processes import launch
from torch import Tensor, nn
from torch.nn.functional import normalize

from trg_pyg.distillers import GRD, KD, Losses
from trg_pyg.divergences import MSE
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph
from trg_pyg.losses import RelationalLoss, bank_edge_error, bank_pixel_error, edge_error, instance_means, window_means
from trg_pyg.losses.affinity import affinities
from trg_pyg.models import NetworkInfo, Outputs, TappedModel
from trg_pyg.relations import Cosine
from trg_pyg.step import Step
from trg_pyg.tasks import InstanceSegmentation
from trg_pyg.training.distributed import World, wrap
from trg_pyg.training.guard import Buffers
from trg_pyg.training.modules import DistillationModule, FrozenTeacher

HEIGHT, WIDTH, D = 9, 12, 16
INFO = NetworkInfo(2 + D, (), None, (HEIGHT, WIDTH))
PARTS = ["foreground", "affinity", "pixels", "nodes", "edges", "bank_edges", "bank_pixels"]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def label_maps(images: int, seed: int = 0) -> Tensor:
    """Of 1 to 4 instances each, numbered from 1."""
    draws = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(2 + at % 4, (HEIGHT, WIDTH), generator=draws) for at in range(images)])


def batch(images: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    both = (draw(images, 2 + D, HEIGHT, WIDTH, seed=seed + network).to(dtype) for network in (10, 20))
    student, teacher = (Outputs(logits.requires_grad_(), ()) for logits in both)
    return student, teacher


def step(labels: Tensor, seed: int = 0) -> Step:
    return Step(labels, 0.3, torch.Generator().manual_seed(seed), torch.arange(len(labels)))


def made(**options) -> GRD:
    distiller = GRD(INFO, INFO, **{"bank": 8, "drawn": 8, **options})
    distiller.learn(InstanceSegmentation())
    distiller.bind(label_maps(8), torch.Generator())
    return distiller


def dense(students: list[Tensor], teachers: list[Tensor], maps: list[Tensor], kept: list[tuple[Tensor, Tensor]]):
    """The parts by name, of images [16, H, W] with their label maps and of the teacher's images that are kept."""

    def vectors(e: Tensor, labels: Tensor) -> list[Tensor]:
        return [e[:, labels == i].mean(1) for i in labels.unique().tolist() if i]

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return a @ b / (a.norm() * b.norm())

    def windows(e: Tensor) -> list[Tensor]:
        unit = e / e.norm(dim=0)
        places = [(y, x) for y in range(0, HEIGHT, 7) for x in range(0, WIDTH, 7)]
        return [unit[:, y : y + 7, x : x + 7].mean((1, 2)) for y, x in places]

    zero = torch.zeros((), dtype=torch.float64)
    parts = dict.fromkeys(PARTS[2:], zero)
    for s, t, labels in zip(students, teachers, maps, strict=True):
        each = 1 / len(students)
        parts["pixels"] = parts["pixels"] + each * sum(
            ((affinities(s[None])[0, k] - affinities(t[None])[0, k]) ** 2).mean() for k in range(10)
        )
        of_s, of_t = vectors(s, labels), vectors(t, labels)
        n = len(of_s)
        for a, b in zip(of_s, of_t, strict=True):
            parts["nodes"] = parts["nodes"] + each / n * (a - b).norm()
        for i in range(n):
            for j in range(n):
                error = cosine(of_s[i], of_s[j]) - cosine(of_t[i], of_t[j])
                parts["edges"] = parts["edges"] + each / n**2 * error**2
        for other, other_labels in kept:
            bank, share = vectors(other, other_labels), each / len(kept)
            for a, b in zip(of_s, of_t, strict=True):
                for v in bank:
                    error = cosine(a, v) - cosine(b, v)
                    parts["bank_edges"] = parts["bank_edges"] + share / (n * len(bank)) * error**2
            g_s, g_t, g = windows(s), windows(t), windows(other)
            for a, b in zip(g_s, g_t, strict=True):
                for v in g:
                    error = a @ v - b @ v
                    parts["bank_pixels"] = parts["bank_pixels"] + share / (len(g_s) * len(g)) * error**2
    return parts


def test_the_parts_are_the_equations_with_their_gradients():
    """In the second step; the bank has the images of both."""
    distiller = made().double()
    first, second = batch(2, seed=1, dtype=torch.float64), batch(3, seed=5, dtype=torch.float64)
    maps = label_maps(3, seed=7)
    distiller(*first, step(maps[:2]))
    student, teacher = second
    found = distiller.others(student, teacher, step(maps))
    e_s, e_t = ([image[2:] for image in each.logits] for each in second)
    kept = [(image[2:].detach(), labels) for image, labels in zip(first[1].logits, maps[:2], strict=True)]
    kept += [(image.detach(), labels) for image, labels in zip(e_t, maps, strict=True)]
    wanted = dense(e_s, [each.detach() for each in e_t], list(maps), kept)
    assert list(found) == PARTS[2:]
    for name, (weight, value) in found.items():
        assert weight == {"pixels": 10, "nodes": 0.1, "edges": 0.1, "bank_edges": 1, "bank_pixels": 24}[name]
        torch.testing.assert_close(value, wanted[name])
        grads = [torch.autograd.grad(each, student.logits, retain_graph=True)[0] for each in (value, wanted[name])]
        torch.testing.assert_close(*grads)


def test_edges_are_the_relational_loss_of_complete_graphs():
    labels, (student, teacher) = label_maps(3), batch(3, dtype=torch.float64)
    sides = [instance_means(each.logits[:, 2:].detach(), labels, 4)[0] for each in (student, teacher)]
    there = instance_means(student.logits[:, 2:], labels, 4)[1]
    values = []
    for s, t, are in zip(*sides, there, strict=True):
        graph = CompleteGraph(None, self_loops=True)
        values.append(RelationalLoss(Cosine(), MSE())(graph(s[are][None]), graph(t[are][None])))
    torch.testing.assert_close(edge_error(*sides, there), torch.stack(values).mean())


def test_means_of_an_image_by_hand():
    labels = torch.tensor([[[0, 1, 1, 3], [0, 0, 1, 3]]])
    embedding = torch.arange(16.0).view(1, 2, 2, 4)
    means, there = instance_means(embedding, labels, 3)
    assert there.tolist() == [[True, False, True]]
    assert means[0].tolist() == [[pytest.approx((1 + 2 + 6) / 3), pytest.approx((9 + 10 + 14) / 3)], [0, 0], [5, 13]]


def test_windows_at_the_border_are_means_of_what_is_inside():
    embedding = draw(1, 3, 9, 8, seed=0)
    found = window_means(embedding)
    assert found.shape == (1, 4, 3)
    torch.testing.assert_close(found[0, 3], normalize(embedding, dim=1)[0, :, 7:, 7:].mean((1, 2)))


def test_products_of_all_windows_are_those_one_by_one():
    student, teacher, bank = draw(2, 5, 3, seed=1), draw(2, 5, 3, seed=2), draw(4, 6, 3, seed=3)
    filled = torch.tensor([True, False, True, True])
    each = torch.einsum("bpd,mqd->bmpq", student - teacher, bank).square().mean((2, 3))
    torch.testing.assert_close(bank_pixel_error(student, teacher, bank, filled), each[:, filled].mean())


def test_numbers_of_instances_are_names():
    labels = label_maps(3)
    order = torch.tensor([0, 3, 1, 4, 2])
    one, other = (value(made(), labels=each) for each in (labels, order[labels]))
    torch.testing.assert_close(one.total, other.total)


def test_equal_networks_leave_the_losses_of_the_labels():
    student, _ = batch()
    losses = made()(student, Outputs(student.logits.detach(), ()), step(label_maps(3)))
    assert all(losses.parts[name] == 0 for name in PARTS[2:])
    assert losses.parts["affinity"] > 0


@pytest.mark.parametrize("label", [0, 1], ids=["none", "one that fills the image"])
def test_images_without_two_instances_have_no_edges(label):
    student, teacher = batch()
    losses = made()(student, teacher, step(torch.full((3, HEIGHT, WIDTH), label)))
    assert losses.parts["edges"] < 1e-10
    assert (losses.parts["nodes"] > 0) == bool(label)
    assert (losses.parts["bank_edges"] > 0) == bool(label)
    losses.total.backward()
    assert student.logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["zero", "equal", "large", "tiny"])
def test_hard_embeddings_have_finite_gradients(kind):
    student, teacher = (torch.ones(2, 2 + D, HEIGHT, WIDTH) for _ in range(2))
    factor = {"zero": 0, "equal": 1, "large": 1e18, "tiny": 1e-30}[kind]
    student, teacher = (Outputs((each * factor).requires_grad_(), ()) for each in (student, teacher))
    losses = made()(student, teacher, step(label_maps(2)))
    losses.total.backward()
    assert losses.total.isfinite()
    assert student.logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    losses, exact = value(made(), dtype=dtype), value(made())
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses.total, exact.total, rtol=2e-2, atol=1e-2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(value(made()).total, exact.total, rtol=2e-2, atol=1e-2)


def value(distiller: GRD, labels: Tensor | None = None, dtype: torch.dtype = torch.float32, seed: int = 0) -> Losses:
    return distiller(*batch(seed=seed, dtype=dtype), step(label_maps(3) if labels is None else labels, seed))


def test_the_bank_keeps_the_latest_images_of_the_teacher():
    distiller = made(bank=4, drawn=2)
    for seed in range(3):
        value(distiller, seed=seed)
    assert distiller.bank.added == 9
    teacher, maps = batch(seed=2)[1].logits[:, 2:], label_maps(3)
    means, there = instance_means(teacher, maps, 4)
    found, present, windows = distiller._of(distiller.bank.vectors[[6 % 4, 7 % 4, 8 % 4]])
    torch.testing.assert_close(found, means)
    assert torch.equal(present > 0, there)
    torch.testing.assert_close(windows, window_means(teacher))


def test_places_without_an_image_are_not_counted():
    student, teacher = batch()
    means, there = instance_means(teacher.logits[:, 2:].detach(), label_maps(3), 4)
    own, _ = instance_means(student.logits[:, 2:], label_maps(3), 4)
    filled = torch.tensor([True, True, False])
    none = torch.zeros(0, 4, D), torch.zeros(0, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)
    torch.testing.assert_close(
        bank_edge_error(own, means, there, means, there, filled),
        bank_edge_error(own, means, there, means[:2], there[:2], filled[:2]),
    )
    assert bank_edge_error(own, means, there, *none) == 0


def test_the_first_steps_compare_with_what_there_is():
    for seed in range(5):
        assert value(made(bank=100, drawn=1), seed=seed).parts["bank_pixels"] > 0


def test_what_a_step_draws_comes_from_its_generator():
    kept = made(bank=8, drawn=2)
    value(kept)
    one, same, other = (
        copy.deepcopy(kept)(*batch(seed=1), step(label_maps(3), seed)).parts["bank_edges"] for seed in (4, 4, 5)
    )
    assert one == same != other


def test_parts_of_weight_0_are_not_computed():
    only = made(node_weight=0, edge_weight=0, bank_edge_weight=0, bank_pixel_weight=0)
    assert list(value(only).parts) == PARTS[:3]
    assert not list(only.buffers())
    assert list(value(made(pixel_weight=0, edge_weight=0, bank_pixel_weight=0)).parts) == [
        *PARTS[:2],
        "nodes",
        "bank_edges",
    ]


def test_pixels_can_be_distilled_by_their_logits_too():
    student, teacher = batch()
    kd = KD(INFO, INFO)
    kd.learn(InstanceSegmentation())
    expected = kd(student, teacher, step(label_maps(3))).parts["kd"]
    assert torch.equal(made(kd_weight=1.0)(student, teacher, step(label_maps(3))).parts["kd"], expected)
    rows = [each.logits[:, :2].movedim(1, -1).reshape(-1, 2) for each in (student, teacher)]
    s, t = ((each / 4).log_softmax(1) for each in rows)
    torch.testing.assert_close(expected, (16 * (t.exp() * (t - s)).sum(1).mean()).detach())


def test_a_step_that_is_not_taken_leaves_no_trace():
    distiller = made()
    kept = Buffers(distiller)
    before = copy.deepcopy(distiller.state_dict())
    value(distiller)
    assert not torch.equal(distiller.bank.vectors, before["bank.vectors"])
    kept.restore()
    assert all(torch.equal(each, before[name]) for name, each in distiller.state_dict().items())


def test_a_state_goes_on_with_the_same_values():
    one, other = made(), made()
    value(one)
    other.load_state_dict(one.state_dict())
    assert value(one, seed=1).total == value(other, seed=1).total


def test_a_step_does_not_wait_for_a_device(refuse):
    student, teacher = batch()
    given = made(), step(label_maps(3))
    with refuse:
        given[0](student, teacher, given[1]).total.backward()


def test_on_a_gpu_no_tensor_is_elsewhere(on_fake_cuda):
    distiller = made()
    losses = on_fake_cuda(distiller.forward, [distiller], *batch(), step(label_maps(3)))
    assert {each.device.type for each in (losses.total, *losses.parts.values())} == {"cuda"}


def test_no_gradient_reaches_the_teacher():
    student, teacher = batch()
    made()(student, teacher, step(label_maps(3))).total.backward()
    assert teacher.logits.grad is None
    assert student.logits.grad.abs().amax((0, 2, 3)).all()


def two_steps(world: World) -> dict[str, Any]:
    """Losses and gradients of two steps on a process's share of the images, and the bank after them."""
    torch.manual_seed(0)
    student, teacher = (TappedModel(nn.Conv2d(3, 2 + D, 3, padding=1), []) for _ in range(2))
    distiller = GRD(student.describe((HEIGHT, WIDTH)), teacher.describe((HEIGHT, WIDTH)), bank=8, drawn=8)
    distiller.learn(InstanceSegmentation())
    distiller.bind(label_maps(8), torch.Generator())
    module, frozen = DistillationModule(student, distiller, world=world), FrozenTeacher(teacher)
    wrapped, found = wrap(module, world).train(), {}
    images, labels = torch.rand(10, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)), label_maps(10)
    draws = torch.Generator().manual_seed(2)
    for number in range(2):
        index = world.share(torch.arange(5 * number, 5 * number + 5))
        step = Step(labels[index], 0.5 * number, draws, index)
        losses, _ = wrapped(images[index], frozen(images[index]), step, 5)
        wrapped.zero_grad()
        losses.total.backward()
        found[f"parts {number}"] = losses.parts
        found[f"gradient {number}"] = student.model.weight.grad.clone()
    return found | {"bank": distiller.bank.vectors}


def test_on_two_processes_it_is_what_it_is_on_one(tmp_path):
    alone = two_steps(World())
    for found in launch(two_steps, 2, tmp_path):
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_it_compares_compiles_as_one_graph():
    found = {}
    for compiles in (False, True):
        distiller = made()
        if compiles:
            distiller.compare = torch.compile(distiller.compare, fullgraph=True, backend="aot_eager")
        student, teacher = batch()
        losses = distiller(student, teacher, step(label_maps(3)))
        losses.total.backward()
        found[compiles] = losses, student.logits.grad
    torch.testing.assert_close(found[True], found[False], rtol=1e-5, atol=1e-7)


def test_options_that_cannot_be_are_named():
    for name in ("pixel_weight", "node_weight", "edge_weight", "bank_edge_weight", "bank_pixel_weight"):
        with pytest.raises(InputError, match=f"^{name}=-1"):
            made(**{name: -1.0})
    with pytest.raises(InputError, match="drawn=9: a step compares with 1 to bank=8 images"):
        made(drawn=9)
    with pytest.raises(InputError, match=r"embeddings of pixels: the student has none, the teacher \(9, 12\)"):
        GRD(NetworkInfo(18, ()), INFO)
    unbound = GRD(INFO, INFO)
    unbound.learn(InstanceSegmentation())
    with pytest.raises(InputError, match="GRD has no bank of images yet: call bind"):
        value(unbound)
    few = made()
    few.bind(label_maps(8).clamp(max=2), torch.Generator())
    with pytest.raises(InputError, match="instance 3 of an image, and there are places for 2"):
        value(few)
