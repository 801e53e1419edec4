import modern_equations as equations
import pytest
import torch
from inputs import HARD
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from toys import with_maps

from trg_pyg.distillers import ManifoldKD
from trg_pyg.errors import InputError

NAMES = ("image", "place", "random")


def tokens_of(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Of a map, and of a sequence of a 4x4 grid behind a class token."""
    return adaptive_avg_pool2d(student, 4).flatten(2).mT, teacher.detach()[:, 1:]


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("images", [1, 3])
def test_terms_of_a_layer_equal_their_equations(layer, images, networks, outputs, step, close):
    """All 16 tokens of an image are sampled."""
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    terms = ManifoldKD(*networks, layers=[layer], random_tokens=16).terms
    expected = equations.manifold(*tokens_of(student.features[layer], teacher.features[layer]))
    for name, value in zip(NAMES, expected, strict=True):
        close(terms[f"{name}{layer}"](student, teacher, step(images)), value, list(student.features))


def test_the_published_weights_are_over_the_layers(networks, outputs, step):
    total, parts = ManifoldKD(*networks, layers=(0, -1))(*outputs(), step())
    expected = parts["ce"]
    for layer in (0, -1):
        each = [parts[f"{name}{layer}"] for name in NAMES]
        expected = expected + (4 * each[0] + 0.1 * each[1] + 0.2 * each[2]) / 2
    torch.testing.assert_close(total.detach(), expected)


def test_another_sample_is_drawn_in_each_step_with_its_generator(networks, outputs, step):
    term = ManifoldKD(*networks).terms["random-1"]
    values = [term(*outputs(), step(seed=seed)).item() for seed in (0, 0, 1, 2)]
    assert values[0] == values[1]
    assert len(set(values)) == 3


def test_64_images_have_a_sample_of_192_tokens(networks):
    assert ManifoldKD(*networks).graph_sizes(64)["random-1"].nodes == 192


@pytest.mark.parametrize("kind", HARD)
def test_hard_tokens(kind, hard, step, close):
    student = hard(kind, 3, 12).view(3, 3, 2, 2).requires_grad_()
    teacher = hard(kind, 3, 8, seed=1).view(3, 2, 2, 2)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    terms = ManifoldKD(info_s, info_t, random_tokens=4).terms
    expected = equations.manifold(student.flatten(2).mT, teacher.flatten(2).mT)
    for name, value in zip(NAMES, expected, strict=True):
        close(terms[f"{name}-1"](out_s, out_t, step()), value, [student])


@pytest.mark.parametrize("layers", [[], [-1, 1]])
def test_layers_are_at_least_one_and_none_twice(layers, networks):
    with pytest.raises(InputError, match="choose at least one, and none twice"):
        ManifoldKD(*networks, layers=layers)


def test_a_layer_that_there_is_not_is_refused(networks):
    with pytest.raises(InputError, match="stage 2 of the student, which has 2 tapped features"):
        ManifoldKD(*networks, layers=[2])
