"""What the definitions of the CIFAR networks are written in: plain convolutions with batch norm, from a state dict."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.models import TappedModel, build_model


def warmed(name: str) -> nn.Module:
    """A network for evaluation, with running statistics other than 0 and 1."""
    torch.manual_seed(0)
    model = build_model(name, 100)
    model(torch.rand(4, 3, 32, 32))
    return model.eval()


def normalised(state: dict[str, Tensor], x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
    """A convolution of padding, in as many groups as its weight is of, and its batch norm."""
    weight = state[f"{conv}.weight"]
    groups = x.shape[1] // weight.shape[1]
    x = F.conv2d(x, weight, state.get(f"{conv}.bias"), stride, weight.shape[-1] // 2, groups=groups)
    return F.batch_norm(x, *(state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")))


def check_outputs(
    model: nn.Module, images: Tensor, feature: Tensor, pooled: Tensor, classifier: str, atol: float = 1e-5
) -> None:
    """The last map, its mean behind whatever follows the map, and the logits of that mean."""
    state = model.state_dict()
    logits, (found,), embedding = TappedModel(model)(images)
    torch.testing.assert_close(found, feature, rtol=1e-4, atol=atol)
    torch.testing.assert_close(embedding, pooled, rtol=1e-4, atol=atol)
    expected = pooled @ state[f"{classifier}.weight"].T + state[f"{classifier}.bias"]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=atol)
