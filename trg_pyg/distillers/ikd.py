"""Distillation of what detectors of two sizes see differently."""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad

from trg_pyg._transfer import to_device
from trg_pyg.distillers.base import check_weights
from trg_pyg.distillers.fgd import FGD
from trg_pyg.errors import InputError, check_choice, require
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tasks.detection import counted_boxes

# A box is small where its area is below that of a square of this share of the image's sides.
_SMALL = 1 / 6
_NOISE = 0.08  # standard deviation, of pixels in [0, 1]
_CHANCE = 0.3  # of the noise
_LEAST_CROP = 0.8
_EPS, _STEP = 8 / 255, 2 / 255
_RESIZED, _LEAST_SIZE = 0.5, 0.9


class IKD(FGD):
    r"""FGD on augmented images, and the teacher's maps of images that mislead it (arXiv 2209.09841).

    .. math:: L = L_{FGD}(x') + 10^{-5} \sum_l \frac{1}{B} \big\| \phi_l(F^l_S(\tilde x)) - F^l_T(\tilde x) \big\|^2

    * :math:`x'`: an image whose boxes are all small gets Gaussian noise of deviation 0.08, three times in ten; one
      with a larger box is cropped to 0.8 to 1 of its height and width, and its boxes with it.
    * :math:`\tilde x`: :math:`x'` after ``attack_steps`` steps of 2/255 that raise the teacher's loss of classes,
      within 8/255 of each pixel. Each follows the sign of a gradient with momentum 1; half of the time that is of
      images resized to 0.9 to 1 of their sides. It is left out after ``until`` of the training.

    Ours: small is a box with an area below that of a sixth of the image's sides; a crop is brought back to the size of
    the images, and not taken where it would leave no box; the attack is made anew in each step, where the authors' code
    makes it once and stores files; boxes are resized with the images. The projections are those of FGD, and so is what
    the sum counts as. The student's pass of :math:`\tilde x` leaves its running statistics alone.

    Args:
        student: the student's levels.
        teacher: the teacher's.
        adversarial_weight: weight of the misleading images, 0 leaves them out.
        adversarial: what is learnt of them: the teacher's ``"features"``, or their ``"labels"``, with weight 1 whatever
            ``adversarial_weight`` is, the control in which the same images are plain data.
        augment: whether x' is another image than x.
        attack_steps: of the attack, 1 or more.
        until: share of the training with misleading images, in [0, 1].
        **options: those of FGD.

    Raises:
        InputError: an option is out of its range, or as FGD.
    """

    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        adversarial_weight: float = 1e-5,
        adversarial: Literal["features", "labels"] = "features",
        augment: bool = True,
        attack_steps: int = 5,
        until: float = 2 / 3,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        check_weights(adversarial_weight=adversarial_weight)
        check_choice("adversarial", adversarial, ("features", "labels"))
        require(attack_steps >= 1, f"attack_steps={attack_steps}: an attack takes 1 step at least")
        require(0 <= until <= 1, f"until={until}: it is a share of the training, from 0 to 1")
        self.adversarial_weight, self.adversarial, self.augment = adversarial_weight, adversarial, augment
        self.attack_steps, self.until = attack_steps, until
        # What views made of the images and boxes of the step at hand.
        self._seen: tuple[Tensor, Tensor] | None = None

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the augmented images, float in [0, 1]."""
        images, boxes = images.float() / 255 if images.dtype == torch.uint8 else images, step.target
        self._seen = _augmented(images, boxes, step) if self.augment else (images, boxes)
        return [self._seen[0]]

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of FGD of the augmented images, and ``adversarial`` while there are any."""
        if self._seen is None or len(self._seen[0]) != len(step.target):
            raise InputError("IKD is given outputs of other images than it made: call see with those of the step")
        images, boxes = self._seen
        step = replace(step, inputs=images, target=boxes, rows=None)
        parts = super().weighted_parts(student, teacher, step)
        if self.adversarial_weight and step.progress < self.until:
            parts["adversarial"] = self._of_misleading(step.need_networks("IKD"), images, step)
        return parts

    def misleading(self, networks: Networks, images: Tensor, step: Step) -> Tensor:
        """Return images near others for which the teacher's loss of classes is high.

        Args:
            networks: whose teacher is misled.
            images: float ``[B, C, H, W]`` in [0, 1].
            step: with their boxes.
        """
        low, high = (images - _EPS).clamp(min=0), (images + _EPS).clamp(max=1)
        attacked, direction = images, torch.zeros_like(images)
        for _ in range(self.attack_steps):
            coin, share = torch.rand(2, generator=step.generator).tolist()
            leaf = attacked.detach().requires_grad_()
            with torch.enable_grad():
                seen, boxes = _resized(leaf, step.target, share) if coin < _RESIZED else (leaf, step.target)
                logits = networks.through("teacher", seen, lambda images: images)
                loss = self.task.supervised(Outputs(logits.float(), ()), replace(step, target=boxes))["classification"]
                (gradient,) = torch.autograd.grad(loss, leaf)
            size = gradient.abs().sum((1, 2, 3), keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
            direction = gradient / size + direction
            attacked = torch.clamp(attacked + _STEP * direction.sign(), low, high)
        return attacked.detach()

    def _of_misleading(self, networks: Networks, images: Tensor, step: Step) -> tuple[float, Tensor]:
        attacked = self.misleading(networks, images, step)
        student = networks.student(attacked)
        if self.adversarial == "labels":
            return 1.0, torch.stack([*self.task.supervised(student, step).values()]).sum()
        own, goal = self.maps(student, networks.teacher(attacked), step)
        with torch.autocast(attacked.device.type, enabled=False):
            pairs = zip(self.projections, own, goal, strict=True)
            differences = [self.summed(project(each) - aim) for project, each, aim in pairs]
        return self.adversarial_weight, torch.stack(differences).sum()


def _augmented(images: Tensor, boxes: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Return images with noise or cropped, by what boxes they have, and their boxes."""
    coin, *shares = to_device(step.noise((5,)), images.device).unbind(1)
    uniform = to_device(step.noise(images.shape[1:]), images.device).clamp(1e-6, 1 - 1e-6)
    there = counted_boxes(boxes)
    left, top, right, bottom = boxes[..., :4].unbind(2)
    large = there & ((right - left) * (bottom - top) >= _SMALL**2)
    noisy = there.any(1) & ~large.any(1) & (coin < _CHANCE)
    noise = math.sqrt(2) * _NOISE * torch.erfinv(2 * uniform - 1)
    images = torch.where(noisy[:, None, None, None], (images + noise).clamp(0, 1), images)

    height, width = (_LEAST_CROP + (1 - _LEAST_CROP) * share for share in shares[:2])
    down, across = (1 - height) * shares[2], (1 - width) * shares[3]
    first, sides = torch.stack([across, down] * 2, dim=1), torch.stack([width, height] * 2, dim=1)
    corners = ((boxes[..., :4] - first.unsqueeze(1)) / sides.unsqueeze(1)).clamp(0, 1)
    inside = (corners[..., 2:] > corners[..., :2]).all(2)
    labels = torch.where(inside, boxes[..., 4], -1)
    moved = torch.cat([corners, torch.stack([labels, boxes[..., 5]], dim=2)], dim=2)
    taken = large.any(1) & (there & inside).any(1)

    # Rows of an affine map from [-1, 1] of what is seen to [-1, 1] of the image.
    none = torch.zeros_like(width)
    rows = [
        torch.stack(row, 1) for row in ((width, none, 2 * across + width - 1), (none, height, 2 * down + height - 1))
    ]
    places = affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
    cropped = grid_sample(images, places, padding_mode="border", align_corners=False)
    return (
        torch.where(taken[:, None, None, None], cropped, images),
        torch.where(taken[:, None, None], moved, boxes),
    )


def _resized(images: Tensor, boxes: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return images made smaller, zeros beside and below them, and their boxes."""
    height, width = images.shape[2:]
    share = _LEAST_SIZE + (1 - _LEAST_SIZE) * share
    rows, columns = round(share * height), round(share * width)
    small = interpolate(images, size=(rows, columns), mode="bilinear", align_corners=False)
    scale = boxes.new_tensor([columns / width, rows / height] * 2 + [1, 1])
    return pad(small, (0, width - columns, 0, height - rows)), boxes * scale
