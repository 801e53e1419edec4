import pytest
import torch
from batches import tensors

from trg_pyg.data import Augment, BatchLoader, ImageSet
from trg_pyg.errors import InputError


@pytest.fixture
def ten() -> ImageSet:
    """Image i is filled with i and has target 100 + i."""
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).repeat(1, 3, 4, 4)
    return ImageSet(images, torch.arange(100, 110))


def order(loader: BatchLoader) -> list[int]:
    return torch.cat([batch.index for batch in loader]).tolist()


def test_without_shuffle_the_order_is_that_of_the_set(ten):
    batches = [batch.index.tolist() for batch in BatchLoader(ten, 4, shuffle=False)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (4, False, [4, 4, 2]),
        (4, True, [4, 4]),
        (5, True, [5, 5]),
        (10, True, [10]),
        (64, False, [10]),
        (1, True, [1] * 10),
    ],
)
def test_sizes_of_the_batches(ten, batch_size, drop_last, sizes):
    loader = BatchLoader(ten, batch_size, drop_last=drop_last)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_images_targets_and_positions_belong_together(ten):
    seen = []
    for images, targets, index in map(tensors, BatchLoader(ten, 3)):
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 4, 4)
        assert images[:, 0, 0, 0].tolist() == index.tolist()
        assert targets.tolist() == [100 + i for i in index.tolist()]
        seen += index.tolist()
    assert sorted(seen) == list(range(10))


def test_each_epoch_has_an_order_of_its_own_and_the_seed_decides(ten):
    def epochs(seed):
        loader = BatchLoader(ten, 4, generator=torch.Generator().manual_seed(seed))
        return [order(loader) for _ in range(3)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again != other
    assert first[0] != first[1] != first[2]


def test_without_a_generator_the_order_is_the_same_each_time(ten):
    assert order(BatchLoader(ten, 4)) == order(BatchLoader(ten, 4))


def test_the_state_of_the_generator_continues_a_run(ten, generator):
    loader = BatchLoader(ten, 4, augment=Augment(1, True), generator=generator)
    list(loader)
    state = generator.get_state()
    expected = [[part.tolist() for part in tensors(batch)] for batch in loader]
    resumed = BatchLoader(ten, 4, augment=Augment(1, True), generator=torch.Generator().set_state(state))
    assert [[part.tolist() for part in tensors(batch)] for batch in resumed] == expected


def test_augmentation_sees_each_batch_and_leaves_the_set_alone(ten):
    before = ten.images.clone()
    loader = BatchLoader(ten, 4, augment=Augment(2, True), generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    expected_order = torch.randperm(10, generator=generator)
    for batch, expected_index in zip(loader, expected_order.split(4), strict=True):
        assert torch.equal(batch.index, expected_index)
        assert torch.equal(batch.inputs, Augment(2, True)(ten.images[expected_index], generator))
    assert torch.equal(ten.images, before)


def test_a_batch_larger_than_the_set_is_refused_if_it_would_be_dropped(ten):
    with pytest.raises(InputError, match=r"batch_size 11 is larger than the 10 images .* at most 10"):
        BatchLoader(ten, 11, drop_last=True)


def test_an_empty_batch_is_refused(ten):
    with pytest.raises(InputError, match="batch_size 0 is below 1"):
        BatchLoader(ten, 0)


@pytest.mark.gpu
def test_on_a_gpu_no_batch_waits_for_the_device(ten):
    def loader(device):
        generator = torch.Generator().manual_seed(0)
        return BatchLoader(ten.to(device), 4, augment=Augment(2, True), generator=generator)

    list(loader("cuda"))  # the first use of a kernel may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = list(loader("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch, expected in zip(on_gpu, loader("cpu"), strict=True):
        for part, expected_part in zip(tensors(batch), tensors(expected), strict=True):
            assert part.is_cuda
            assert torch.equal(part.cpu(), expected_part)
