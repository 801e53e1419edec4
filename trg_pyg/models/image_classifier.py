"""A network as it is used: images to logits, with its normalisation, and nothing else."""

from torch import Tensor, nn

from trg_pyg.errors import InputError
from trg_pyg.models._probe import first_tensor
from trg_pyg.models.normalize import Normalize


class ImageClassifier(nn.Module):
    """``network(normalize(images))`` without taps or checks, to be exported, compiled or timed.

    Args:
        network: takes normalised images; returns logits, or a tuple that begins with them.
        normalize: applied to the images before.

    Shapes:
        images float ``[B, C, H, W]`` in [0, 1] -> logits ``[B, classes]``.

    Raises:
        InputError: in a call, the network returns no logits.
    """

    def __init__(self, network: nn.Module, normalize: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.normalize = normalize

    @property
    def channels(self) -> int:
        """Channels of its images, by their normalisation; 3 where that does not say."""
        return len(self.normalize.mean) if isinstance(self.normalize, Normalize) else 3

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits = first_tensor(self.network(self.normalize(images)))
        if logits is None:
            raise InputError(f"{type(self.network).__name__} returns no tensor and no tuple that begins with one")
        return logits
