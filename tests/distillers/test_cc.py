import bank_equations as equations
import baseline_equations
import pytest
import relational_equations
import torch
from inputs import HARD
from toys import leaves

from trg_pyg.distillers import CC, KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs


def make(networks, seed: int = 0, **options) -> CC:
    torch.manual_seed(seed)
    return CC(*networks, **options)


def embedded(distiller: CC, student: torch.Tensor, teacher: torch.Tensor) -> list[torch.Tensor]:
    layers = [module for module in distiller.modules() if isinstance(module, torch.nn.Linear)]
    assert len(layers) == 2
    return [equations.linear(f, layer) for f, layer in zip((student, teacher), layers, strict=True)]


@pytest.mark.parametrize("images", [1, 2, 5])
def test_the_kernel_form_is_cross_entropy_and_100_kernel(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    distiller = make(networks, images).double()
    x_s, x_t = embedded(distiller, student.embedding, teacher.embedding.detach())
    assert x_s.shape == x_t.shape == (images, 128)
    kernel = equations.kernel_congruence(x_s, x_t, 0.4, 2)
    expected = relational_equations.cross_entropy(student.logits, step(images).target) + 100 * kernel
    losses = distiller(student, teacher, step(images))
    assert list(losses.parts) == ["ce", "correlation"]
    assert losses.parts["correlation"].item() == pytest.approx(kernel.item(), rel=1e-6)
    close(losses.total, expected, leaves(student, teacher, distiller))


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 0), (0.4, 1), (1.5, 5)])
def test_the_kernels_options_arrive(gamma, order, networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    distiller = make(networks, dim=3, gamma=gamma, order=order, weight=7.0, ce_weight=0.5, kd_weight=1, tau=2).double()
    x_s, x_t = embedded(distiller, student.embedding, teacher.embedding.detach())
    expected = (
        0.5 * relational_equations.cross_entropy(student.logits, step(4).target)
        + relational_equations.logit_kd(student.logits, teacher.logits.detach(), 2.0)
        + 7 * equations.kernel_congruence(x_s, x_t, gamma, order)
    )
    losses = distiller(student, teacher, step(4))
    assert torch.equal(losses.parts["kd"], KD(*networks, tau=2)(student, teacher, step(4)).parts["kd"])
    close(losses.total, expected, leaves(student, teacher, distiller))


@pytest.mark.parametrize(
    ("options", "weight", "dim"), [({}, 0.02, 128), ({"weight": 3.0, "dim": 5}, 3.0, 5)], ids=["published", "other"]
)
def test_the_difference_form_is_cross_entropy_and_differences(options, weight, dim, networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    distiller = make(networks, form="difference", **options).double()
    x_s, x_t = embedded(distiller, student.embedding, teacher.embedding.detach())
    assert x_s.shape == x_t.shape == (4, dim)
    differences = baseline_equations.correlation(x_s, x_t)
    expected = relational_equations.cross_entropy(student.logits, step(4).target) + weight * differences
    losses = distiller(student, teacher, step(4))
    assert list(losses.parts) == ["ce", "correlation"]
    close(losses.total, expected, leaves(student, teacher, distiller))


def test_in_both_forms_both_embeddings_train_and_the_teacher_does_not(networks, outputs, step):
    for form in ("kernel", "difference"):
        student, teacher = outputs(4)
        distiller = make(networks, form=form)
        distiller(student, teacher, step(4)).total.backward()
        assert all(p.grad.any() for p in distiller.parameters())
        assert student.embedding.grad.any()
        assert teacher.embedding.grad is None


@pytest.mark.parametrize("form", ["kernel", "difference"])
def test_of_a_network_without_an_embedding_the_last_map_is_averaged(form, networks, outputs, step, close):
    infos = [NetworkInfo(info.num_classes, info.features) for info in networks]
    student, teacher = (o._replace(embedding=None) for o in outputs(4, dtype=torch.float64))
    distiller = make(infos, form=form, dim=3).double()
    # The teacher's class token is no part of its map.
    x = embedded(distiller, student.features[-1].mean((2, 3)), teacher.features[-1][:, 1:].mean(1).detach())
    kernel = form == "kernel"
    expected = equations.kernel_congruence(*x, 0.4, 2) if kernel else baseline_equations.correlation(*x)
    value = distiller.terms["correlation"](student, teacher, step(4))
    close(value, expected, [*student.features, *teacher.features, *distiller.parameters()])


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("form", ["kernel", "difference"])
def test_hard_embeddings(kind, form, hard, step):
    infos = NetworkInfo(5, (), 4), NetworkInfo(5, (), 3)
    distiller = make(infos, form=form, dim=6)
    student, teacher = hard(kind, 5, 4, dtype=torch.float32).requires_grad_(), hard(kind, 5, 3, seed=1).float()
    losses = distiller(Outputs(torch.zeros(5, 5), (), student), Outputs(torch.zeros(5, 5), (), teacher), step(5))
    losses.total.backward()
    assert student.grad.isfinite().all()
    x = embedded(distiller.double(), student.double(), teacher.double())
    expected = equations.kernel_congruence(*x, 0.4, 2) if form == "kernel" else baseline_equations.correlation(*x)
    assert losses.parts["correlation"].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-12)


def test_differences_need_two_images_and_kernels_do_not(networks, outputs, step):
    assert CC(*networks).min_images == 1
    assert CC(*networks, form="difference").min_images == 2
    assert CC(*networks, form="difference", weight=0).min_images == 1
    assert CC(*networks)(*outputs(1), step(1)).parts["correlation"].item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="a batch of 1: correlation compares consecutive images"):
        CC(*networks, form="difference")(*outputs(1), step(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "difference", "weight": -2.0}, "^weight=-2.0"),
        ({"form": "gaussian"}, "^form=gaussian: choose kernel or difference"),
        ({"gamma": 0}, "^gamma=0"),
        ({"order": -1}, "^order=-1"),
        ({"dim": 0}, "from 6 to 0: widths must be at least 1"),
    ],
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        CC(*networks, **options)
