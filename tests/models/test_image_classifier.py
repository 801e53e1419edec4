import pytest
import torch
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models import ImageClassifier, Normalize, TappedModel, build_model


class Wrapped(nn.Module):
    def __init__(self, result) -> None:
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result(images)


def test_logits_are_those_of_the_tapped_model() -> None:
    network, normalize = build_model("resnet8", 5).eval(), Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    images = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    expected = TappedModel(network, [], normalize)(images).logits
    assert torch.equal(ImageClassifier(network, normalize)(images.float() / 255), expected)


def test_logits_may_be_the_first_of_several() -> None:
    several = Wrapped(lambda images: (images.mean(dim=(2, 3)), images))
    assert ImageClassifier(several, nn.Identity())(torch.ones(2, 3, 4, 4)).shape == (2, 3)


def test_a_network_without_logits_is_refused() -> None:
    with pytest.raises(InputError, match="Wrapped returns no tensor and no tuple that begins with one"):
        ImageClassifier(Wrapped(lambda images: {"logits": images}), nn.Identity())(torch.ones(2, 3, 4, 4))
