"""Batches say which view of which image they show."""

import pytest
import torch

from trg_pyg.data import Augment, RandomResizedCrop, make_loader
from trg_pyg.data._views import seeds_of
from trg_pyg.data.base import ImageSet
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.data.splits.holdout import holdout_indices


def image_set(count: int = 12) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (count, 3, 5, 4), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count) % 3)


def seen(source, epochs: int = 1, **options) -> list:
    """Every image with its slot, over some epochs."""
    loader = make_loader(source, 5, generator=torch.Generator().manual_seed(1), **options)
    return [
        (slot, image.tolist(), index)
        for _ in range(epochs)
        for batch in loader
        for slot, image, index in zip(batch.slot.tolist(), batch.inputs, batch.index.tolist(), strict=True)
    ]


@pytest.mark.parametrize(("padding", "flip", "views"), [(4, True, 162), (1, False, 9), (0, True, 2), (0, False, 1)])
def test_a_view_and_its_number(padding, flip, views):
    augment = Augment(padding, flip)
    assert augment.views == views
    every = augment.view(torch.arange(views))
    assert torch.equal(augment.number(every), torch.arange(views))
    assert len(set(map(tuple, every.tolist()))) == views
    draws = augment.draw(40, torch.Generator().manual_seed(0))
    assert torch.equal(augment.view(augment.number(draws)), draws)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"augment": Augment(1, True)}, 18),
        ({"augment": None}, 1),
        ({"augment": Augment(1, True), "views": 3}, 3),
        ({"augment": None, "views": 3}, 3),
    ],
    ids=["crops", "as they are", "three of the crops", "three numbers"],
)
def test_a_slot_shows_the_same_pixels_always_and_every_image_has_its_own(options, most):
    found = seen(image_set(), 40, **options)
    pixels = {}
    for slot, image, index in found:
        assert pixels.setdefault(slot, image) == image
        assert slot // most == index
    assert len(pixels) > 0.8 * 12 * most
    assert {slot % most for slot in pixels} == set(range(most))


def test_a_part_of_a_part_has_the_places_of_the_whole():
    whole = image_set()
    kept = holdout_indices(whole.targets, ["a", "b", "c"], 0.5, 0)
    part = whole.select(kept).select(torch.tensor([False, True, True, False, True, True]))
    assert part.to("cpu").places.tolist() == kept[[1, 2, 4, 5]].tolist()
    known = {slot: image for slot, image, _ in seen(whole, 60, augment=Augment(0, True))}
    assert all(known[slot] == image for slot, image, _ in seen(part, 4, augment=Augment(0, True)))


def test_one_view_of_all_images():
    loader = make_loader(image_set(), 5, augment=Augment(1, True), shuffle=False)
    loader.view = 7
    assert torch.cat([batch.slot for batch in loader]).tolist() == [18 * place + 7 for place in range(12)]
    loader = make_loader(image_set(), 5, augment=Augment(1, True), shuffle=False, views=4)
    loader.view = 3
    assert torch.cat([batch.slot for batch in loader]).tolist() == [4 * place + 3 for place in range(12)]


def test_shares_of_a_batch_have_their_own_slots():
    options = {"augment": Augment(1, True), "world_size": 2}
    one, other = (seen(image_set(), rank=rank, **options) for rank in (0, 1))
    alone = seen(image_set(), augment=Augment(1, True))
    assert sorted(one + other) == sorted(alone)


def test_crops_of_files_have_a_slot_where_they_are_fixed(images):
    train = ImageFolder(str(images), size=8, stream=True).load().train
    assert all(batch.slot is None for batch in make_loader(train, 5, augment=RandomResizedCrop()))
    found = seen(train, 12, augment=RandomResizedCrop(), views=2)
    pixels = {}
    for slot, image, _ in found:
        assert pixels.setdefault(slot, image) == image
    assert len(pixels) == 2 * len(train)
    assert len({str(image) for image in pixels.values()}) > len(train)
    part = train.select(torch.arange(3, 9))
    assert all(pixels[slot] == image for slot, image, _ in seen(part, augment=RandomResizedCrop(), views=2))


def test_seeds_differ_by_slot_and_stream():
    seeds = torch.stack([seeds_of(torch.arange(2000), stream) for stream in range(3)])
    assert seeds.unique().numel() == 6000
    assert (seeds >= 0).all()
    assert (seeds < 2**62).all()
    shares = torch.bincount((seeds % 162).flatten(), minlength=162) / 6000
    assert (shares - 1 / 162).abs().max() < 5 * (1 / 162 / 6000) ** 0.5
