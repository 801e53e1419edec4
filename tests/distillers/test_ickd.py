import modern_equations as equations
import pytest
import torch
from inputs import HARD
from torch import nn
from toys import with_maps

from trg_pyg.distillers import ICKD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


@pytest.mark.parametrize("images", [1, 2, 3])
def test_term_equals_its_equation(images, networks, outputs, step, close):
    torch.manual_seed(images)
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    term = ICKD(*networks).double().terms["channels"]
    layer = term.nodes.project
    nn.init.normal_(layer.norm.weight), nn.init.normal_(layer.norm.bias)
    goal = teacher.features[-1][:, 1:].detach().transpose(1, 2).unflatten(2, (4, 4))
    expected = equations.ickd(equations.projected(student.features[-1], layer), goal)
    close(term(student, teacher, step(images)), expected, [student.features[-1], *layer.parameters()])


def test_the_published_weight_is_two_and_a_half(networks, outputs, step):
    total, parts = ICKD(*networks)(*outputs(), step())
    assert total.item() == pytest.approx(parts["ce"].item() + 2.5 * parts["channels"].item())


def test_channels_that_are_scaled_alike_have_the_same_correlations(step):
    maps = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (info_s, out_s), (info_t, out_t) = with_maps(maps), with_maps(5 * maps)
    distiller = ICKD(info_s, info_t).double().eval()
    layer = distiller.terms["channels"].nodes.project
    layer.conv.weight.data.copy_(torch.eye(3)[:, :, None, None])
    assert distiller(out_s, out_t, step(2)).parts["channels"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", HARD)
def test_hard_maps(kind, hard, step, close):
    torch.manual_seed(0)
    student = hard(kind, 4, 12).view(4, 3, 2, 2).requires_grad_()
    teacher = hard(kind, 4, 18, seed=1).view(4, 2, 3, 3)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    term = ICKD(info_s, info_t).double().terms["channels"]
    expected = equations.ickd(equations.projected(student, term.nodes.project), teacher)
    close(term(out_s, out_t, step(4)), expected, [student])


def test_one_value_a_channel_is_normalised_by_the_running_statistics(step):
    (info_s, out_s), (info_t, out_t) = with_maps(torch.ones(1, 3, 1, 1)), with_maps(torch.ones(1, 2, 1, 1))
    assert ICKD(info_s, info_t)(out_s, out_t, step(1)).parts["channels"].isfinite()


def test_a_network_without_a_tap_is_refused(networks):
    with pytest.raises(InputError, match="stage -1 of the teacher, which has 0 tapped features"):
        ICKD(networks[0], NetworkInfo(5, (), 7))
