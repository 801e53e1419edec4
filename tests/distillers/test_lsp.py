import math

import pytest
import relational_equations as equations
import torch
from inputs import HARD
from pairs import pairs
from toys import with_maps

from trg_pyg.distillers import LSP
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs


def teacher_map(teacher: Outputs) -> torch.Tensor:
    """Of the transformer: without its class token, ``[B, 4, 4, 4]``."""
    return teacher.features[-1][:, 1:].detach().transpose(1, 2).unflatten(2, (4, 4))


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"scale": 3.0}, {"edges": "knn", "k": 5}, {"edges": "knn", "scale": 2.0}], ids=str
)
def test_term_equals_the_papers_equation(images, options, networks, outputs, step, close):
    """The student's 8x8 map is averaged to the 4x4 grid of the teacher."""
    student, teacher = outputs(images, dtype=torch.float64)
    k = options.get("k", 8) if options.get("edges") == "knn" else None
    expected = equations.lsp(student.features[-1], teacher_map(teacher), k, options.get("scale", 100.0))
    term = LSP(*networks, **options).terms["local"]
    close(term(student, teacher, step(images)), expected, [student.logits, *student.features, student.embedding])


@pytest.mark.parametrize(("first", "second"), [((3, 5), (3, 5)), ((6, 2), (3, 4)), ((1, 4), (5, 5))], ids=str)
def test_any_two_grids_meet_on_the_common_one(first, second, tokens, step, close):
    student = tokens(2, 3, *first, dtype=torch.float64).requires_grad_()
    teacher = tokens(2, 2, *second, seed=1, dtype=torch.float64)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    term = LSP(info_s, info_t, scale=1.0).terms["local"]
    close(term(out_s, out_t, step(2)), equations.lsp(student, teacher, scale=1.0), [student])


def test_patches_are_tokens_of_several_cells(tokens, step, close):
    """A patch of 2 by 2 cells is a token of four times the width, so it is a cell of a map folded so."""
    student, teacher = tokens(2, 3, 6, 4, dtype=torch.float64).requires_grad_(), tokens(2, 2, 6, 4, seed=1).double()
    folded = [torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1) for x in (student, teacher)]
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    term = LSP(info_s, info_t, patch=2, scale=1.0).terms["local"]
    close(term(out_s, out_t, step(2)), equations.lsp(*folded, scale=1.0), [student])


def test_total_is_cross_entropy_and_the_term(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    losses = LSP(*networks)(student, teacher, step())
    expected = equations.cross_entropy(student.logits, step().target)
    expected = expected + equations.lsp(student.features[-1], teacher_map(teacher))
    assert list(losses.parts) == ["ce", "local"]
    close(losses.total, expected, [student.logits, student.features[-1]])


def test_three_tokens_in_a_row_written_out(step):
    # Student: 0, 1, 1 + ln 2. The middle token has kernels 1/e and 1/2 with its neighbours; the teacher's are equal.
    student = torch.tensor([0.0, 1.0, 1 + math.log(2)]).view(1, 1, 1, 3)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(torch.zeros(1, 2, 1, 3))
    apart = 0.5 - 1 / math.e
    # KL((1/2, 1/2) || softmax(0, apart)) = log cosh(apart / 2); the ends have one neighbour each, so nothing to differ.
    local = LSP(info_s, info_t, scale=1.0)(out_s, out_t, step(1)).parts["local"].item()
    assert local == pytest.approx(math.log(math.cosh(apart / 2)) / 3, rel=1e-4)


def test_nearest_tokens_are_the_teachers(tokens, step):
    """Swapping tokens of both changes nothing with nearest neighbours, and does with those beside in the image."""
    student, teacher = tokens(2, 3, 4, 4), tokens(2, 2, 4, 4, seed=1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    values = {}
    for edges in ("grid", "knn"):
        for name, moved in (("before", slice(None)), ("after", order)):
            both = [x.flatten(2)[:, :, moved].unflatten(2, (4, 4)) for x in (student, teacher)]
            (info_s, out_s), (info_t, out_t) = map(with_maps, both)
            distiller = LSP(info_s, info_t, edges=edges, k=3, scale=1.0)
            values[edges, name] = distiller(out_s, out_t, step(2)).parts["local"].item()
    assert values["knn", "after"] == pytest.approx(values["knn", "before"], rel=1e-5)
    assert values["grid", "after"] != pytest.approx(values["grid", "before"], rel=1e-3)


@pytest.mark.parametrize(("edges", "kind", "dtype"), pairs(["grid", "knn"], HARD, [torch.float64, torch.float32]))
def test_hard_maps(edges, kind, dtype, hard, step):
    # Tokens are hard here: they are the rows.
    student = hard(kind, 9, 3, dtype=dtype).T.reshape(1, 3, 3, 3).requires_grad_()
    teacher = hard("random", 9, 2, seed=1, dtype=dtype).T.reshape(1, 2, 3, 3)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(teacher)
    losses = LSP(info_s, info_t, edges=edges, k=4, scale=1.0)(out_s, out_t, step(1))
    losses.total.backward()
    assert student.grad.isfinite().all()
    k = 4 if edges == "knn" else None
    expected = equations.lsp(student.double(), teacher.double(), k, scale=1.0)
    assert losses.parts["local"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("edges", ["grid", "knn"])
def test_tokens_all_equal_for_both_networks_are_alike(edges, step):
    student = torch.zeros(2, 2, 3, 3, requires_grad=True)
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(torch.ones(2, 1, 3, 3))
    losses = LSP(info_s, info_t, edges=edges, k=3)(out_s, out_t, step(2))
    losses.total.backward()
    assert losses.parts["local"] == 0
    assert torch.equal(student.grad, torch.zeros(2, 2, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "^scale=0"),
        ({"edges": "ring"}, "^edges=ring: choose grid or knn"),
        ({"patch": 3}, "patch"),
        ({"patch": 4}, "patch=4: an image of one token has no neighbours"),
        ({"edges": "knn", "k": 0}, "K=0"),
    ],
    ids=str,
)
def test_impossible_options_are_named(options, message, networks):
    with pytest.raises(InputError, match=message):
        LSP(*networks, **options)


def test_in_an_image_of_few_tokens_all_others_are_neighbours(networks):
    assert LSP(*networks, edges="knn", k=15).fitted(2) == LSP(*networks, k=100).fitted(2) == []
    few = LSP(*networks, edges="knn", patch=2)
    assert few.fitted(2) == ["k 3 in a graph of 4 nodes (8 asked for)"]
    assert few.graph_sizes(2)["local"].edges == 2 * 4 * 3
