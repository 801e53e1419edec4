import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw
from pairs import pairs
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.graphs import nearest_neighbours
from trg_pyg.graphs.neighbours import _smallest


def true_distances(x: Tensor) -> Tensor:
    """Squared distances from differences in float64, infinite to oneself."""
    x = x.double()
    squared = (x[:, :, None] - x[:, None]).square().sum(-1)
    squared.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return squared


def brute_force(x: Tensor, k: int) -> Tensor:
    """Other points by (distance, index)."""
    return true_distances(x).sort(dim=-1, stable=True).indices[..., :k]


shapes = st.tuples(st.integers(1, 4), st.integers(2, 24), st.integers(1, 9))
seeds = st.integers(0, 2**31)


def test_two_neighbours_equally_far_are_ordered_by_index():
    # 3 and 1 lie at the same distance of 2; the first of them is its nearest.
    x = torch.tensor([[[0.0], [0.0], [2.0], [3.0], [1.0]]])
    assert nearest_neighbours(x, 1).flatten().tolist() == [1, 0, 3, 2, 0]


def test_points_on_a_line():
    x = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]])
    assert nearest_neighbours(x, 2).tolist() == [[[1, 2], [0, 2], [1, 0], [2, 1]]]


def test_sets_are_searched_apart():
    # Together the nearest of 0 would be 0.1 of the other set.
    x = torch.tensor([[[0.0], [5.0]], [[0.1], [5.1]]])
    assert nearest_neighbours(x, 1).tolist() == [[[1], [0]], [[1], [0]]]


@settings(max_examples=60)
@given(shape=shapes, seed=seeds, data=st.data())
def test_equals_brute_force(shape, seed, data):
    x = draw(seed, *shape)
    k = data.draw(st.integers(1, shape[1] - 1))
    assert torch.equal(nearest_neighbours(x, k), brute_force(x, k))


@settings(max_examples=30)
@given(shape=shapes, seed=seeds, data=st.data())
def test_float32_neighbours_are_nearest_within_rounding(shape, seed, data):
    x = draw(seed, *shape).float()
    k = data.draw(st.integers(1, shape[1] - 1))
    distances = true_distances(x)
    found = distances.gather(-1, nearest_neighbours(x, k))
    torch.testing.assert_close(found, distances.sort(-1).values[..., :k], rtol=1e-5, atol=1e-5)


# From about 128 points for each of the k + 1 on, a row is searched by the minima of groups; the last group has a rest.
MANY = [(1, 256), (1, 301), (1, 1200), (2, 400), (3, 777)]


@pytest.mark.parametrize(("k", "points"), MANY)
@pytest.mark.parametrize("chunk_bytes", [7 * 4 * 300, 1 << 26])
def test_many_points_equal_brute_force(k, points, chunk_bytes):
    x = draw(points, 2, points, 5)
    assert torch.equal(nearest_neighbours(x, k, chunk_bytes=chunk_bytes), brute_force(x, k))


@pytest.mark.parametrize(("k", "points"), MANY)
@pytest.mark.parametrize("width", [1, 3, 6])  # from hundreds of equal distances in a row to few
def test_many_points_with_exact_ties_are_ordered_by_index(k, points, width):
    x = (draw(points, 1, points, width) * 2).round()
    assert torch.equal(nearest_neighbours(x.float(), k), brute_force(x, k))


@pytest.mark.parametrize(("k", "points"), MANY)
def test_ties_are_ordered_by_index_without_a_look_at_them(k, points, refuse):
    x = (draw(points, 1, points, 3) * 2).round().float()
    with refuse:
        found = nearest_neighbours(x, k)
    assert torch.equal(found, brute_force(x, k))


def test_points_in_several_blocks_of_products_equal_brute_force():
    """Blocks of two tiles of 256 points, the last of one and not full; a third of the points are duplicates."""
    x = draw(0, 2, 1200, 5).float()
    x[:, 800:] = x[:, :400]
    wanted = brute_force(x, 3)
    whole, blocks = (nearest_neighbours(x, 3, chunk_bytes=side**2 * 4) for side in (4096, 600))
    assert torch.equal(whole, wanted)
    assert torch.equal(blocks, wanted)


@pytest.mark.parametrize("shape", [(50, 1024), (3, 50, 4096), (3, 50, 320), (2, 7, 33)])
def test_a_search_by_minima_of_groups_equals_a_plain_sort(shape):
    score = draw(0, *shape).float()
    values, index = _smallest(score, 9)
    expected = score.sort(dim=-1)
    assert torch.equal(values, expected.values[..., :9])
    assert torch.equal(index, expected.indices[..., :9])


@pytest.mark.parametrize("points", [9, 301, 600])
def test_indices_of_points_that_are_not_finite_exist(points):
    """A loss of them is NaN, which training reports; an index out of range would hide that."""
    neighbours = nearest_neighbours(torch.full((1, points, 2), torch.nan), 1)
    assert neighbours.min() >= 0
    assert neighbours.max() < points


@settings(max_examples=60)
@given(shape=shapes, seed=seeds, data=st.data())
def test_integer_points_with_exact_ties_are_ordered_by_index(shape, seed, data):
    x = draw(seed, *shape).round()
    k = data.draw(st.integers(1, shape[1] - 1))
    assert torch.equal(nearest_neighbours(x.float(), k), brute_force(x, k))


@pytest.mark.parametrize(("copies", "k", "rows"), pairs([3, 9], [1, 2, 5], [1, 5, 1000]))
def test_among_duplicates_there_are_k_neighbours_at_distance_zero_and_always_the_same(copies, k, rows):
    """Every distinct point occurs several times, so up to copies - 1 neighbours are at distance 0."""
    order = torch.randperm(7 * copies, generator=torch.Generator().manual_seed(0))
    x = draw(0, 1, 7, 33).float().repeat(1, copies, 1)[:, order]
    k, chunk_bytes = min(k, copies - 1), rows * 7 * copies * 4
    found = nearest_neighbours(x, k, chunk_bytes=chunk_bytes)
    assert (true_distances(x).gather(-1, found) == 0).all()
    assert all(len(set(row)) == k for row in found[0].tolist())
    assert torch.equal(nearest_neighbours(x.clone(), k, chunk_bytes=chunk_bytes), found)


@settings(max_examples=40)
@given(shape=shapes, seed=seeds, copies=st.integers(2, 5), data=st.data())
def test_duplicates_come_first_and_none_is_left_out(shape, seed, copies, data):
    x = (draw(seed, *shape) * 8).round().float().repeat(1, copies, 1) / 8  # distinct points lie well apart
    k = data.draw(st.integers(1, copies - 1))
    distances = true_distances(x).gather(-1, nearest_neighbours(x, k))
    assert (distances == 0).all()


def test_near_duplicates_far_from_the_others_are_ordered_rightly_in_float64():
    """Points 1e-3 apart in a set that is 4 wide: within the rounding of a float32 product, far above float64's."""
    near = torch.tensor([0.0, 1, 3, 6, 10, 15], dtype=torch.float64).view(1, 6, 1) * 1e-3
    x = torch.cat([near + 1, near - 1], dim=1) * torch.ones(1, 1, 16) * 2.0
    assert torch.equal(nearest_neighbours(x, 1)[..., 0], brute_force(x, 1)[..., 0])


@pytest.mark.parametrize("size", [1e-30, 1e20, 1e30])
def test_points_of_any_size_have_the_neighbours_of_points_of_size_one(size):
    x = draw(0, 2, 9, 5).float()
    assert torch.equal(nearest_neighbours(x * size, 3), nearest_neighbours(x, 3))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3.7])
def test_all_points_equal(value):
    x = torch.full((2, 5, 3), value)
    expected = [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert nearest_neighbours(x, 2).tolist() == [expected, expected]


@pytest.mark.parametrize("k", [1, 7, 39])
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_chunks_do_not_change_the_result(k, kind):
    x = draw(2, 3, 40, 17).float()
    if kind == "ties":
        x = x.sign()
    whole = nearest_neighbours(x, k)
    row = 40 * 4
    # a byte (1 row), rows that do not divide 40, several sets of rows at once
    for chunk_bytes in (1, row * 7, row * 40, row * 85):
        assert torch.equal(nearest_neighbours(x, k, chunk_bytes=chunk_bytes), whole)


@pytest.mark.parametrize("rows", [slice(0, 20), slice(17, 40), slice(39, 40)])
@pytest.mark.parametrize("chunk_bytes", [7 * 4 * 40, 1 << 26])
def test_neighbours_of_some_points_are_theirs_among_all(rows, chunk_bytes):
    x = torch.randint(0, 3, (2, 40, 3), generator=torch.Generator().manual_seed(0)).float()  # with ties
    expected = nearest_neighbours(x, 5)[:, rows]
    assert torch.equal(nearest_neighbours(x, 5, rows=rows, chunk_bytes=chunk_bytes), expected)


def test_never_the_point_itself_and_no_point_twice():
    for x in (draw(0, 2, 9, 3), torch.zeros(2, 9, 3)):
        neighbours = nearest_neighbours(x, 8)
        everyone_else = [[j for j in range(9) if j != i] for i in range(9)]
        assert neighbours.sort(-1).values.tolist() == [everyone_else] * 2


def test_a_common_shift_does_not_matter():
    x = draw(3, 1, 30, 4).float()
    assert torch.equal(nearest_neighbours(x + 64, 1), nearest_neighbours(x, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(dtype):
    x = draw(4, 2, 20, 8).to(dtype)
    assert torch.equal(nearest_neighbours(x, 5), nearest_neighbours(x.float(), 5))


@pytest.mark.parametrize("points", [30, 600])
def test_autocast_does_not_change_the_result(points):
    x = draw(5, 2, points, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = nearest_neighbours(x, 5)
    assert torch.equal(under_autocast, nearest_neighbours(x, 5))


def test_indices_carry_no_gradient_and_the_input_is_left_alone():
    x = draw(6, 1, 6, 2).requires_grad_()
    before = x.detach().clone()
    neighbours = nearest_neighbours(x, 2)
    assert neighbours.dtype == torch.int64
    assert not neighbours.requires_grad
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize("k", [0, -1, 5, 9])
def test_k_out_of_range_names_k_and_the_range(k):
    with pytest.raises(InputError, match=f"^K={k} neighbours of each of 5 tokens.*K from 1 to 4$"):
        nearest_neighbours(torch.zeros(1, 5, 2), k)


def test_a_single_point_has_no_neighbours():
    with pytest.raises(InputError, match=r"single token.*at least 2"):
        nearest_neighbours(torch.zeros(3, 1, 2), 1)
