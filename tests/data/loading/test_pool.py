import pytest
import torch

from trg_pyg.data import ImageSet, Pools
from trg_pyg.errors import InputError


def numbered(count: int, first: int = 0) -> ImageSet:
    """Image i has the value first + i, and a bright left edge."""
    images = torch.arange(first, first + count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    images[..., 0] = 255
    return ImageSet(images, torch.arange(count) % 2)


def pools(batch_size: int = 4, **options) -> Pools:
    return Pools({"some": numbered(10), "others": numbered(6, 100)}, batch_size, **options)


def drawn(stream: Pools, name: str = "some", steps: int = 1) -> list[list[int]]:
    found = []
    for _ in range(steps):
        stream.begin(0)
        batch = stream[name]
        assert torch.equal(batch.target, batch.index % 2)
        found.append(batch.index.tolist())
    return found


def test_a_stream_is_endless_in_batches_of_one_size_that_each_round_fills_anew():
    first, second, third, fourth = drawn(pools(), steps=4)  # rounds of 10 images have two batches
    assert [len(set(a + b)) for a, b in ((first, second), (third, fourth))] == [8, 8]
    assert (first, second) != (third, fourth)
    assert all(len(batch) == 6 for batch in drawn(pools(64), "others", steps=3))  # all that there are


def test_a_step_has_one_batch_and_nothing_is_drawn_where_nobody_looks():
    stream = pools()
    stream.begin(0)
    assert stream["some"].index.tolist() == stream["some"].index.tolist()
    stream.begin(0)
    stream.begin(0)
    assert [stream["some"].index.tolist()] == drawn(pools(), steps=2)[1:]


def test_streams_depend_on_their_own_draws_alone():
    stream, alone = pools(flip=True), pools(flip=True)
    for _ in range(3):
        drawn(stream, "others")
    assert drawn(stream, steps=4) == drawn(alone, steps=4)
    assert drawn(pools(seed=1)) != drawn(pools(seed=0))


def test_images_are_mirrored_where_training_images_are():
    for flip, edges in ((False, {0}), (True, {0, 1})):
        images = pools(64, flip=flip)["some"].inputs
        assert {int(column) for column in images[:, 0, 0].argmax(1)} == edges


@pytest.mark.parametrize("steps", range(6))
def test_a_stream_goes_on_where_it_stood(steps):
    whole, stopped, resumed = pools(flip=True), pools(flip=True), pools(flip=True, seed=7)
    drawn(stopped, steps=steps)
    resumed.load_state_dict(stopped.state_dict())
    assert drawn(resumed, steps=5) == drawn(whole, steps=steps + 5)[steps:]


def test_parts_and_processes_share_a_batch():
    (whole,) = drawn(pools())
    parts = pools(parts=2)
    found = []
    for part in range(2):
        parts.begin(part)
        found += parts["some"].index.tolist()
    assert found == whole
    assert [row for rank in range(3) for row in drawn(pools(rank=rank, world_size=3))[0]] == whole


def test_a_state_of_other_images_is_refused():
    state = Pools({"some": numbered(9)}, 4).state_dict()
    with pytest.raises(InputError, match="images 9, and this one has 10"):
        Pools({"some": numbered(10)}, 4).load_state_dict(state)
