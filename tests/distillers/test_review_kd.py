import modern_equations as equations
import pytest
import torch
from inputs import HARD
from torch import nn
from toys import with_maps

from trg_pyg.distillers import ReviewKD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


def made(*networks, seed: int = 0, **options) -> ReviewKD:
    torch.manual_seed(seed)
    distiller = ReviewKD(*networks, **options).double()
    for module in distiller.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    return distiller


@pytest.mark.parametrize("images", [2, 3])
def test_maps_of_two_stages_and_embeddings_equal_the_equation(images, networks, outputs, step, close):
    term = made(*networks, seed=images, width=5).terms["review"]
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    goals = [feature[:, 1:].detach().mT.unflatten(2, (4, 4)) for feature in teacher.features]
    expected = equations.review(
        [*student.features, student.embedding[:, :, None, None]],
        [*goals, teacher.embedding.detach()[:, :, None, None]],
        list(term.fuse),
    )
    close(term(student, teacher, step(images)), expected, [*student.features, student.embedding, *term.parameters()])


def test_grids_that_are_no_multiples_of_each_other(step, close):
    shapes = [(4, 6), (3, 5)], [(5, 7), (2, 2)]
    draws = torch.Generator().manual_seed(0)
    ours, theirs = (
        [torch.randn(2, 3, *grid, generator=draws, dtype=torch.float64).requires_grad_() for grid in grids]
        for grids in shapes
    )
    (info_s, out_s), (info_t, out_t) = with_maps(*ours), with_maps(*theirs)
    term = made(info_s, info_t).terms["review"]
    goals = [goal.detach() for goal in theirs]
    close(term(out_s, out_t, step(2)), equations.review(ours, goals, list(term.fuse)), ours)


def test_the_width_is_that_of_the_deepest_stage_where_it_is_smaller(networks):
    widths = [ReviewKD(*networks, width=width).terms["review"].fuse[0].enter.conv.out_channels for width in (512, 5)]
    assert widths == [6, 5]


def test_the_weight_grows_in_the_first_twelfth_of_the_training(networks, outputs, step):
    distiller = ReviewKD(*networks, weight=6.0)
    weights = [distiller.weight_of("review", step(progress=progress)) for progress in (0.0, 1 / 24, 1 / 12, 1.0)]
    assert weights == pytest.approx([0, 3, 6, 6])


@pytest.mark.parametrize("kind", HARD)
def test_hard_maps(kind, hard, step, close):
    student = hard(kind, 4, 27).view(4, 3, 3, 3).requires_grad_()
    teacher = hard(kind, 4, 18, seed=1).view(4, 2, 3, 3)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    term = made(info_s, info_t).terms["review"]
    close(term(out_s, out_t, step(4)), equations.review([student], [teacher], list(term.fuse)), [student])


@pytest.mark.parametrize(("option", "value"), [("width", 0), ("warmup", 1.5)])
def test_options_out_of_their_range_are_refused(option, value, networks):
    with pytest.raises(InputError, match=f"{option}={value}"):
        ReviewKD(*networks, **{option: value})


def test_a_network_without_a_tap_is_refused(networks):
    with pytest.raises(InputError, match="stage -1 of the student, which has 0 tapped features"):
        ReviewKD(NetworkInfo(5, (), 7), networks[1])
