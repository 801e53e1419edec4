"""How far the teacher's probabilities have to be moved to be the student's."""

import torch
from torch import Tensor
from torch.nn.functional import softmax

from trg_pyg.batch import check_target
from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_logits
from trg_pyg.tokens.normalize import full_precision, l2_normalize

# Of the public code: keeps a class without probability from being divided by 0, and like classes apart.
_EPS = 1e-8


class WKDLoss(DistillationLoss):
    r"""Wasserstein distance of class probabilities, by Sinkhorn's iteration (Lv et al., arXiv 2412.08139).

    .. math:: L = \frac{1}{B} \sum_b \sum_{ij} u_{bi} K_{ij} v_{bj} C_{ij}, \qquad K_{ij} = e^{-C_{ij} / \lambda},
        \qquad v_{bj} = \frac{\hat p^T_{bj}}{\sum_i u_{bi} K_{ij} + \epsilon}, \quad
        u_{bi} = \frac{\hat p^S_{bi}}{\sum_j K_{ij} v_{bj} + \epsilon}

    :math:`\hat p` is the softmax at temperature tau over all classes but the image's label; u begins evenly, and v and
    u are computed in turn. The cost C of moving probability from one class to another is 1 minus the cosine of what
    stands for the two, at least 0. It is no distance: of equal probabilities it is small, and not 0.

    Args:
        tau: temperature.
        smoothness: :math:`\lambda`, of the transport.
        iterations: of v and u.

    Shapes:
        - student and teacher logits ``[B, classes]``, ``target`` ``[B]``, int64; ``prototypes`` ``[classes, d]``

    Raises:
        InputError: an option is impossible, the two networks have different numbers of classes, or there is one only;
            there is not one label an image, or not one prototype a class.
    """

    def __init__(self, tau: float = 8.0, smoothness: float = 0.05, iterations: int = 10) -> None:
        super().__init__()
        check_positive("tau", tau)
        check_positive("smoothness", smoothness)
        require(iterations >= 1, f"iterations={iterations}: give 1 or more")
        self.tau, self.smoothness, self.iterations = tau, smoothness, iterations

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor, prototypes: Tensor) -> Tensor:
        """Return the batch mean.

        Args:
            student: the student's logits.
            teacher: the teacher's.
            target: label of each image.
            prototypes: what stands for each class, such as a row of the teacher's classifier.
        """
        check_logits(student, teacher)
        classes = student.shape[1]
        require(
            classes >= 2,
            f"logits {tuple(student.shape)}: with one class there are no others to distil; it needs 2 classes",
        )
        check_target(target, student)
        require(
            prototypes.dim() == 2 and len(prototypes) == classes,
            f"prototypes {tuple(prototypes.shape)} for {classes} classes: give one a class, [classes, d]",
        )
        student, teacher = full_precision(student), full_precision(teacher.detach())
        with torch.autocast(student.device.type, enabled=False):
            rows = l2_normalize(prototypes.detach()).to(student)
            cost = (1 - rows @ rows.T).clamp(min=0) + _EPS
            kernel = torch.exp(-cost / self.smoothness)
            of_label = torch.arange(classes, device=target.device) == target.unsqueeze(1)
            # A class of probability 0 takes part in no transport.
            p_s, p_t = (softmax((z / self.tau).masked_fill(of_label, -torch.inf), dim=1) for z in (student, teacher))
            u = (~of_label).to(p_s) / (classes - 1)
            for _ in range(self.iterations):
                v = p_t / (u @ kernel + _EPS)
                u = p_s / (v @ kernel.T + _EPS)
            return ((u @ (kernel * cost)) * v).sum(1).mean()
