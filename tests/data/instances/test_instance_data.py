import torch

from trg_pyg.data import InstanceSet, Turn, make_loader


def pictures(height: int, width: int) -> InstanceSet:
    """Images whose first channel is their label map."""
    labels = torch.randint(9, (20, height, width), generator=torch.Generator().manual_seed(0))
    return InstanceSet(labels[:, None].repeat(1, 3, 1, 1).byte(), labels)


def test_labels_move_with_their_images():
    for shape in ((6, 6), (4, 7)):
        loader = make_loader(pictures(*shape), 20, augment=Turn(square=shape[0] == shape[1]))
        (batch,) = loader
        assert torch.equal(batch.inputs[:, 0].long(), batch.target)
        assert not torch.equal(batch.target, pictures(*shape).targets[batch.index])


def test_a_square_has_eight_views_and_another_image_four():
    square, other = torch.arange(9).view(1, 1, 3, 3), torch.arange(6).view(1, 1, 2, 3)
    for image, square_, number in ((square, True, 8), (other, False, 4)):
        turn = Turn(square_)
        assert turn.views == number
        views = [turn.apply(image, turn.view(torch.tensor([each]))) for each in range(number)]
        assert len({str(view.tolist()) for view in views}) == number
        draws = turn.view(torch.arange(number))
        assert turn.number(draws).tolist() == list(range(number))


def test_every_view_is_drawn():
    turn = Turn(square=True)
    draws = turn.draw(200, torch.Generator().manual_seed(0))
    assert turn.number(draws).unique().tolist() == list(range(8))


def test_a_part_of_a_set_is_one_of_its_kind():
    part = pictures(4, 4).select(torch.tensor([3, 5]))
    assert isinstance(part, InstanceSet)
    assert part.targets.shape == (2, 4, 4)
    assert part.places.tolist() == [3, 5]
