import copy

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import Normalize


def test_each_channel_is_centred_and_scaled() -> None:
    normalize = Normalize((0.0, 0.5, 1.0), (1.0, 0.5, 0.25))
    images = torch.ones(2, 3, 4, 4)
    expected = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(normalize(images), expected)


def test_constants_are_no_weights_but_follow_the_module() -> None:
    normalize = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert normalize.state_dict() == {}
    assert copy.deepcopy(normalize).double().mean.dtype == torch.float64


def test_repr_shows_the_constants() -> None:
    assert repr(Normalize((0.0, 0.5, 1.0), (1.0, 0.5, 0.25))) == "Normalize(mean=[0.0, 0.5, 1.0], std=[1.0, 0.5, 0.25])"


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5, 0.5), (1.0, 1.0, 1.0)),
        ((0.5, 0.5, 0.5), (1.0,)),
        ((0.5, 0.5, 0.5), (1.0, 0.0, 1.0)),
        ((0.5, 0.5, 0.5), (1.0, -1.0, 1.0)),
        ((0.5, float("nan"), 0.5), (1.0, 1.0, 1.0)),
        ((0.5, 0.5, 0.5), (1.0, float("inf"), 1.0)),
    ],
)
def test_bad_constants_are_refused(mean: tuple, std: tuple) -> None:
    with pytest.raises(InputError, match=r"Normalize (mean|std)"):
        Normalize(mean, std)


def test_the_images_that_are_given_stay_and_their_gradient_is_right() -> None:
    images = torch.full((1, 3, 2, 2), 0.75, requires_grad=True)
    Normalize((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))(images).sum().backward()
    assert images.eq(0.75).all()
    assert images.grad is not None
    assert images.grad[0, :, 0, 0].tolist() == [4, 2, 1]
