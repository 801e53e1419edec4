import bank_equations as equations
import baseline_equations
import pytest
import relational_equations
import torch
from toys import leaves, with_maps

from trg_pyg.distillers import VID
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs


def make(networks, seed: int = 0, **options) -> VID:
    torch.manual_seed(seed)
    return VID(*networks, **options).double()


def information(distiller: VID, stage: int, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    loss = distiller.terms[f"information{stage}"].loss
    weights = [module.weight[:, :, 0, 0] for module in loss.regressor if isinstance(module, torch.nn.Conv2d)]
    return baseline_equations.vid(student, teacher, weights, loss.log_scale, 1e-5)


def of_transformer(distiller: VID, student: Outputs, teacher: Outputs) -> list[torch.Tensor]:
    """Student maps of 16x16 and 8x8, a teacher of 4x4 tokens behind a class token."""
    maps = [equations.token_map(t, 1, 4, 4) for t in teacher.features]
    return [information(distiller, stage, student.features[stage], maps[stage]) for stage in (-2, -1)]


@pytest.mark.parametrize("images", [1, 3])
def test_total_is_cross_entropy_and_the_sum_over_stages(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    distiller = make(networks, images)
    stages = of_transformer(distiller, student, teacher)
    losses = distiller(student, teacher, step(images))
    assert list(losses.parts) == ["ce", "information-2", "information-1"]
    for name, value in zip(("information-2", "information-1"), stages, strict=True):
        assert losses.parts[name].item() == pytest.approx(value.item(), rel=1e-6)
    expected = relational_equations.cross_entropy(student.logits, step(images).target) + sum(stages)
    close(losses.total, expected, leaves(student, teacher, distiller))


@pytest.mark.parametrize("variance", [5.0, 0.5])
def test_the_first_variance_arrives(variance, networks):
    options = {} if variance == 5.0 else {"init_variance": variance}
    for term in make(networks, **options).terms.values():
        first = (1 + term.loss.log_scale.exp()).log() + 1e-5
        torch.testing.assert_close(first, torch.full((4,), variance, dtype=torch.float64))


@pytest.mark.parametrize("longer", ["student", "teacher"])
def test_stages_are_paired_from_the_last(longer, tokens, step, close):
    shapes = [(2, 7, 7), (3, 6, 4), (4, 3, 3), (5, 2, 2)]
    four = [tokens(2, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate(shapes)]
    three = [tokens(2, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate(shapes[1:], start=4)]
    student, teacher = (four, three) if longer == "student" else (three, four)
    student = [x.requires_grad_() for x in student]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    distiller = make((info_s, info_t), ce_weight=0)
    assert list(distiller.terms) == ["information-3", "information-2", "information-1"]
    expected = sum(information(distiller, i, student[i], teacher[i]) for i in (-3, -2, -1))
    close(distiller(out_s, out_t, step(2)).total, expected, [*student, *distiller.parameters()])


def test_networks_with_one_tap(networks, outputs, step, close):
    ends = [NetworkInfo(info.num_classes, info.features[-1:]) for info in networks]
    student, teacher = (o._replace(features=o.features[-1:]) for o in outputs(dtype=torch.float64))
    distiller = make(ends)
    assert list(distiller.terms) == ["information-1"]
    expected = information(distiller, -1, student.features[0], equations.token_map(teacher.features[0], 1, 4, 4))
    inputs = [*student.features, *teacher.features, *distiller.parameters()]
    close(distiller.terms["information-1"](student, teacher, step()), expected, inputs)


def test_networks_without_taps_are_refused(networks):
    with pytest.raises(InputError, match=r"student, which has 0 tapped features \(none\)"):
        VID(NetworkInfo(5, (), 7), networks[1])
    with pytest.raises(InputError, match=r"teacher, which has 0 tapped features \(none\)"):
        VID(networks[0], NetworkInfo(5, (), 4))


def test_a_first_variance_of_0_is_refused(networks):
    with pytest.raises(InputError, match="init_variance=0"):
        VID(*networks, init_variance=0)
