"""Digits that move: where they go, what a frame says, and clips that keep no label."""

import pytest
import torch

from trg_pyg.data import Augment, MovingDigits
from trg_pyg.errors import InputError


def centre(frames):
    """Row and column, as angles on the torus, of the ink of ``[..., 32, 32]``."""
    ink = frames.double()
    angle = 2 * torch.pi * torch.arange(32) / 32
    turned = torch.polar(torch.ones(32, dtype=torch.float64), angle.double())
    return (ink.sum(-1) * turned).sum(-1).angle(), (ink.sum(-2) * turned).sum(-1).angle()


def steps(images):
    """Steps of rows and columns from frame to frame, in pixels, ``[2, N, T - 1]``."""
    angle = torch.stack(centre(images[:, 0]))
    step = (angle[..., 1:] - angle[..., :-1] + torch.pi).remainder(2 * torch.pi) - torch.pi
    return (step * 32 / (2 * torch.pi)).round()


def test_every_class_moves_in_its_direction():
    splits = MovingDigits(clips=80, noise=0).load()
    found = steps(splits.train.images)
    assert (found == found[..., :1]).all()
    for target, down, right in zip(splits.train.targets.tolist(), *found[..., 0].tolist(), strict=True):
        name = splits.classes[target]
        wanted = ("down" in name) - ("up" in name), ("right" in name) - ("left" in name)
        speed = max(abs(down), abs(right))
        assert 1 <= speed <= 3
        assert (down / speed, right / speed) == wanted


def test_classes_are_balanced_and_digits_of_test_clips_are_others():
    splits = MovingDigits(clips=40, noise=0, order="still").load()
    splits_of = splits.train, splits.test
    assert splits.class_counts == (5,) * 8
    assert torch.bincount(splits.test.targets).tolist() == [5] * 8
    # Whatever their places, which pixels they have.
    pixels = [{tuple(clip) for clip in part.images[:, 0, 0].flatten(1).sort(1).values.tolist()} for part in splits_of]
    assert not pixels[0] & pixels[1]


def test_shuffled_clips_have_the_same_kind_of_frames_in_an_order_of_their_own():
    shuffled = steps(MovingDigits(clips=80, noise=0, order="shuffled").load().train.images)
    assert not (shuffled == shuffled[..., :1]).flatten(2).all((0, 2)).any()
    # The axis is still there: what goes along rows or columns alone does so in any order.
    straight = torch.arange(80).remainder(8)[:, None] == torch.tensor([3, 4])
    assert (shuffled[0][straight.any(1)] == 0).all()
    still = MovingDigits(clips=8, order="still", noise=0).load().train.images
    assert (still == still[:, :, :1]).all()


def test_a_clip_is_cropped_and_mirrored_as_a_whole():
    clips = torch.randint(256, (3, 3, 4, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augment = Augment(2, flip=True)
    draws = augment.draw(3, torch.Generator().manual_seed(1))
    found = augment.apply(clips, draws)
    for frame in range(4):
        assert torch.equal(found[:, :, frame], augment.apply(clips[:, :, frame].contiguous(), draws))
    assert not MovingDigits().augment().flip


def test_clips_that_lose_their_labels_become_the_unlabelled_ones():
    whole, part = MovingDigits(clips=80).load(), MovingDigits(clips=80, labelled=0.2).load()
    assert part.class_counts == (2,) * 8
    assert len(part.unlabelled) == 64
    assert (part.unlabelled.targets == 0).all()
    both = torch.cat([part.train.places, part.unlabelled.places])
    assert sorted(both.tolist()) == list(range(80))
    assert torch.equal(whole.train.images[part.train.places], part.train.images)
    assert torch.equal(whole.test.images, part.test.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 12}, "clips 12: give a multiple of 8"),
        ({"noise": -1.0}, r"noise -1\.0: give 0 or more"),
        ({"order": "back"}, "order=back: choose time or shuffled or still"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(InputError, match=message):
        MovingDigits(**options)
