import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trg_pyg.data import Augment
from trg_pyg.data.loading.augment import _gather
from trg_pyg.errors import InputError


def pictures(*shape: int) -> torch.Tensor:
    # From 1, so that a zero can only be padding.
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(1)).byte()


def reference(images: torch.Tensor, padding: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """The same draws applied image by image: pad, cut, mirror."""
    batch, _, height, width = images.shape
    tops = lefts = coins = [0] * batch
    if padding:
        tops, lefts = torch.randint(0, 2 * padding + 1, (2, batch), generator=generator).tolist()
    if flip:
        coins = torch.randint(0, 2, (batch,), generator=generator).tolist()
    out = []
    for image, top, left, coin in zip(images, tops, lefts, coins, strict=True):
        padded = F.pad(image, (padding,) * 4)
        cut = padded[:, top : top + height, left : left + width]
        out.append(cut.flip(2) if coin else cut)
    return torch.stack(out)


@given(
    batch=st.integers(1, 9),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    padding=st.integers(0, 9),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_a_loop_over_the_images(batch, height, width, padding, flip, seed):
    images = pictures(batch, 3, height, width)
    before = images.clone()
    ours, theirs = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    out = Augment(padding, flip)(images, ours)
    assert out.dtype == torch.uint8
    assert torch.equal(out, reference(images, padding, flip, theirs))
    assert torch.equal(images, before)
    assert torch.equal(ours.get_state(), theirs.get_state())


@given(batch=st.integers(1, 9), padding=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 2**31))
def test_all_pixels_at_once_are_those_of_one_image_after_the_other(batch, padding, flip, seed):
    images, augment = pictures(batch, 3, 5, 4), Augment(padding, flip)
    draws = augment.draw(batch, torch.Generator().manual_seed(seed))
    assert torch.equal(_gather(images, draws), augment.apply(images, draws))  # what a GPU does and what a CPU does


@given(batch=st.integers(1, 9), padding=st.integers(0, 3), flip=st.booleans(), data=st.data())
def test_an_image_moves_alike_whoever_moves_it(batch, padding, flip, data):
    images, augment = pictures(batch, 3, 5, 4), Augment(padding, flip)
    draws = augment.draw(batch, torch.Generator().manual_seed(0))
    start = data.draw(st.integers(0, batch - 1))
    stop = data.draw(st.integers(start + 1, batch))
    part = slice(start, stop)
    assert torch.equal(augment.apply(images[part], draws[part]), augment.apply(images, draws)[part])


def test_draws_are_offsets_and_a_coin(generator):
    draws = Augment(2, True).draw(500, generator)
    assert draws.dtype == torch.int64
    assert draws.is_contiguous()
    assert [sorted(column.unique().tolist()) for column in draws.T] == [[-2, -1, 0, 1, 2]] * 2 + [[0, 1]]
    assert Augment(0, False).draw(3, generator).tolist() == [[0, 0, 0]] * 3


def test_nothing_to_do_returns_the_images_and_draws_nothing(generator):
    images, state = pictures(2, 3, 4, 4), generator.get_state()
    assert Augment(0, False)(images, generator) is images
    assert torch.equal(generator.get_state(), state)


def test_every_offset_and_both_sides_come_up_equally_often(generator):
    images = torch.zeros(20_000, 3, 3, 3, dtype=torch.uint8)
    images[:, :, 1, 1] = 1
    out = Augment(1, False)(images, generator)[:, 0].flatten(1)
    assert out.sum(1).eq(1).all()  # one pixel of padding moves the centre to one of nine places
    torch.testing.assert_close(out.float().mean(0), torch.full((9,), 1 / 9), atol=0.01, rtol=0)
    sides = torch.tensor([0, 255], dtype=torch.uint8).expand(20_000, 3, 1, 2)
    share = Augment(0, True)(sides, generator)[:, 0, 0, 0].eq(255).float().mean()
    assert share.item() == pytest.approx(0.5, abs=0.015)


def test_an_image_is_drawn_for_on_its_own(generator):
    out = Augment(4, True)(pictures(1, 3, 8, 8).expand(32, 3, 8, 8), generator)
    assert len(out.flatten(1).unique(dim=0)) > 16


def test_the_seed_decides():
    images = pictures(8, 3, 8, 8)
    first, again, other = (Augment(2, True)(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_negative_padding_is_refused():
    with pytest.raises(InputError, match="crop_padding -1 is negative"):
        Augment(-1, False)


@pytest.mark.gpu
def test_the_device_does_not_change_the_result():
    images = pictures(8, 3, 8, 8)
    on_cpu, on_gpu = (
        Augment(2, True)(images.to(device), torch.Generator().manual_seed(0)) for device in ("cpu", "cuda")
    )
    assert torch.equal(on_cpu, on_gpu.cpu())
