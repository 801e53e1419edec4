import pytest
import torch
from torch import nn

from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs
from trg_pyg.training.metrics import evaluate
from trg_pyg.training.predictions import top_predictions


class Brightness(nn.Module):
    """Three classes by the mean of the image; dropout would show a wrong mode."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        level = images.float().mean((1, 2, 3)) / 255
        return Outputs(self.dropout(torch.stack([1 - level, level, torch.full_like(level, 0.45)], 1) * 5), ())


@pytest.fixture
def image_set():
    generator = torch.Generator().manual_seed(0)
    level = torch.randint(0, 256, (23, 1, 1, 1), generator=generator)
    images = level.expand(23, 3, 4, 4).to(torch.uint8)
    return ImageSet(images, torch.randint(0, 3, (23,), generator=generator))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_they_are_the_largest_probability_of_each_image(image_set, batch_size):
    model = Brightness().train()
    found = top_predictions(model, image_set, batch_size)
    probability = model.eval()(image_set.images).logits.softmax(1)
    assert found.predicted.tolist() == probability.argmax(1).tolist()
    assert torch.allclose(found.confidence, probability.amax(1))
    assert found.targets.tolist() == image_set.targets.tolist()


def test_they_have_the_accuracy_that_an_evaluation_has_and_leave_the_mode(image_set):
    model = Brightness().train()
    found = top_predictions(model, image_set, 5)
    assert model.training
    assert found.top1 == pytest.approx(evaluate(model, image_set, 5)["top1"])


def test_no_image_and_no_finite_logit_are_refused(image_set):
    with pytest.raises(InputError, match="the set has 0 images"):
        top_predictions(Brightness(), image_set.select(torch.arange(0)), 5)

    class Diverged(Brightness):
        def forward(self, images):
            return Outputs(super().forward(images).logits * float("nan"), ())

    with pytest.raises(InputError, match="23 of 23 images have logits that are not finite"):
        top_predictions(Diverged(), image_set, 5)
