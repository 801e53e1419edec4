import pytest
import relational_equations as equations
import torch
from inputs import HARD
from toys import with_maps

from trg_pyg.distillers import IRG, KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs


def teacher_maps(teacher: Outputs) -> tuple[torch.Tensor, ...]:
    """Of the transformer: without its class token, ``[B, 4, 4, 4]``."""
    return tuple(x[:, 1:].detach().transpose(1, 2).unflatten(2, (4, 4)) for x in teacher.features)


@pytest.mark.parametrize("images", [1, 2, 3, 5])
def test_terms_equal_the_papers_equations(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    maps_t = teacher_maps(teacher)
    expected = {
        "vertex": equations.irg_vertex(student.logits, teacher.logits.detach()),
        "edge-2": equations.irg_edge(student.features[-2], maps_t[-1]),
        "edge-1": equations.irg_edge(student.features[-1], maps_t[-1]),
        # 3 channels of 16x16 and 6 of 8x8 come to 3 of 8x8.
        "transform": equations.irg_transform(student.features, maps_t),
    }
    terms = IRG(*networks).terms
    assert list(terms) == list(expected)
    for name, value in expected.items():
        leaves = [student.logits, *student.features, student.embedding]
        close(terms[name](student, teacher, step(images)), value, leaves)


@pytest.mark.parametrize(
    ("first", "last"),
    [((5, 9, 9), (7, 4, 4)), ((8, 4, 6), (3, 6, 4)), ((4, 5, 5), (4, 5, 5)), ((2, 7, 7), (6, 7, 3))],
    ids=str,
)
def test_layers_of_any_shapes_are_averaged_to_one(first, last, tokens, step, close):
    student = [tokens(4, *shape, seed=i, dtype=torch.float64).requires_grad_() for i, shape in enumerate((first, last))]
    teacher = [tokens(4, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate((last, first), start=2)]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    term = IRG(info_s, info_t).terms["transform"]
    close(term(out_s, out_t, step(4)), equations.irg_transform(student, teacher), student)


def test_total_has_the_published_weights(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = IRG(*networks)(student, teacher, step(4))
    maps_t = teacher_maps(teacher)
    expected = (
        equations.cross_entropy(student.logits, step(4).target)
        + 0.1 * equations.irg_vertex(student.logits, teacher.logits.detach())
        + 5 * equations.irg_edge(student.features[-2], maps_t[-1])
        + 5 * equations.irg_edge(student.features[-1], maps_t[-1])
        + 5 * equations.irg_transform(student.features, maps_t)
    )
    assert list(losses.parts) == ["ce", "vertex", "edge-2", "edge-1", "transform"]
    close(losses.total, expected, [student.logits, *student.features])


def test_with_logit_distillation_the_part_is_that_of_kd(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    distiller = IRG(
        *networks, ce_weight=0.5, kd_weight=1.0, tau=2.0, vertex_weight=3.0, edge_weight=0, transform_weight=7.0
    )
    losses = distiller(student, teacher, step())
    assert torch.equal(losses.parts["kd"], KD(*networks, tau=2.0)(student, teacher, step()).parts["kd"])
    expected = (
        0.5 * equations.cross_entropy(student.logits, step().target)
        + equations.logit_kd(student.logits, teacher.logits.detach(), 2.0)
        + 3 * equations.irg_vertex(student.logits, teacher.logits.detach())
        + 7 * equations.irg_transform(student.features, teacher_maps(teacher))
    )
    close(losses.total, expected, [student.logits, *student.features])


@pytest.mark.parametrize("layers", [(), (-1,), (0,), [1, 0], (0, -1)])
def test_layers_are_chosen(layers, networks, outputs, step):
    student, teacher = outputs(dtype=torch.float64)
    parts = IRG(*networks, layers=layers)(student, teacher, step()).parts
    assert list(parts) == ["ce", "vertex", *(f"edge{layer}" for layer in layers), "transform"]
    for layer in layers:
        expected = equations.irg_edge(student.features[layer], teacher_maps(teacher)[-1])
        assert parts[f"edge{layer}"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("layers", [(-1, -1), (1, -1), (-2, -1, 0)])
def test_a_layer_is_not_chosen_twice(layers, networks):
    with pytest.raises(InputError, match="a layer is chosen twice; raise edge_weight instead"):
        IRG(*networks, layers=layers)


def test_a_layer_that_there_is_not_is_named(networks):
    with pytest.raises(InputError, match=r"stage 2 of the student, which has 2 tapped features \(layer2, layer3\)"):
        IRG(*networks, layers=(2,))


@pytest.mark.parametrize(
    ("options", "missing"),
    [({"vertex_weight": 0}, "vertex"), ({"edge_weight": 0}, "edge"), ({"transform_weight": 0}, "transform")],
)
def test_a_weight_of_0_turns_a_term_off(options, missing, networks, outputs, step):
    parts = IRG(*networks, **options)(*outputs(), step()).parts
    expected = ["ce", "vertex", "edge-2", "edge-1", "transform"]
    assert list(parts) == [name for name in expected if not name.startswith(missing)]


def test_networks_with_one_tap_have_all_but_what_is_between_two(networks, outputs, step):
    ends = [info.__class__(info.num_classes, info.features[-1:]) for info in networks]
    with pytest.raises(InputError, match=r"stage -2 of the student, which has 1 tapped features .*student\.taps"):
        IRG(*ends, layers=(-1,))
    with pytest.raises(InputError, match="stage -2 of the student"):
        IRG(*ends, transform_weight=0)
    student, teacher = (o._replace(features=o.features[-1:]) for o in outputs())
    assert list(IRG(*ends, layers=(-1,), transform_weight=0)(student, teacher, step()).parts) == [
        "ce",
        "vertex",
        "edge-1",
    ]
    assert list(IRG(*ends, edge_weight=0, transform_weight=0)(student, teacher, step()).parts) == ["ce", "vertex"]


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hard_maps(kind, dtype, hard, step):
    student = [hard(kind, 4, 3, 4, 4, dtype=dtype), hard(kind, 4, 6, 2, 2, seed=1, dtype=dtype)]
    teacher = [hard("random", 4, 2, 4, 4, seed=2, dtype=dtype), hard("random", 4, 4, 2, 2, seed=3, dtype=dtype)]
    student = [x.requires_grad_() for x in student]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    losses = IRG(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert all(x.grad.isfinite().all() for x in student)
    exact_s, exact_t = [x.double() for x in student], [x.double() for x in teacher]
    expected = {
        "edge-2": equations.irg_edge(exact_s[0], exact_t[1]),
        "edge-1": equations.irg_edge(exact_s[1], exact_t[1]),
        "transform": equations.irg_transform(exact_s, exact_t),
    }
    for name, value in expected.items():
        assert losses.parts[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_images_all_equal_for_both_networks_are_alike(step):
    student = [torch.zeros(3, 2, 4, 4, requires_grad=True), torch.zeros(3, 4, 2, 2, requires_grad=True)]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(torch.ones(3, 2, 4, 4), torch.ones(3, 2, 2, 2))
    losses = IRG(info_s, info_t)(out_s, out_t, step())
    losses.total.backward()
    assert losses.parts["edge-2"] == losses.parts["edge-1"] == losses.parts["transform"] == 0
    assert all(torch.equal(x.grad, torch.zeros_like(x)) for x in student)
