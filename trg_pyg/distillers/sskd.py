"""Self-supervision as knowledge."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trg_pyg.batch import Batch
from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import require
from trg_pyg.losses.selected import SelectedKL
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.projection import Projection
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import l2_normalize

# SGD of the teacher's head, as the public code has it.
_LR, _MOMENTUM, _DECAY = 0.05, 0.9, 5e-4


class SSKD(TermDistiller):
    r"""Knowledge distillation meets self-supervision (Xu et al., arXiv 2006.07114).

    Both networks see every image upright and turned by 90, 180 and 270 degrees.

    .. math:: L = w_{CE} L_{CE} + w_{KD} L_{KD} + w_r \, L_r(z) + w_s \, \tau_s^2 \,
        \mathrm{KL}\big(\mathrm{softmax}(c^T / \tau_s) \,\Vert\, \mathrm{softmax}(c^S / \tau_s)\big)

    Cross-entropy and logit distillation are of the upright images; L_r is that of the turned ones; c ``[3 B, B]`` are
    the cosine similarities of turned and upright images behind a head of two layers on the embedding. L_r and the last
    term count the rows that the teacher answers right and the best of the others
    (:class:`~trg_pyg.losses.selected.SelectedKL`). The teacher's head learns first, by telling which image a turned
    one is of; its backbone stays as it is. Weights are the paper's.

    The public code cuts each view out of the image anew; here all views are of the crop that the loader has made, and
    the head of the teacher learns on images without augmentation, whose features are computed once.

    Args:
        student: the student's classes and embedding.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: weight of logit distillation.
        tau: temperature of logits, upright and turned.
        turned_weight: weight of L_r.
        turned_share: of the rows that the teacher answers wrong, in L_r.
        similarity_weight: weight of the last term.
        similarity_share: of the rows that the teacher answers wrong, in the last term.
        similarity_tau: temperature of similarities.
        head_epochs: that the teacher's head learns for, before the training, >= 0; the public code has 60.
        head_batch: images of a step of that.
        **options: standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, a temperature is not positive, a share is not in [0, 1], the networks have
            different numbers of classes, or an embedding is not known.
    """

    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        kd_weight: float = 0.9,
        tau: float = 4.0,
        turned_weight: float = 2.7,
        turned_share: float = 1.0,
        similarity_weight: float = 10.0,
        similarity_share: float = 0.75,
        similarity_tau: float = 0.5,
        head_epochs: int = 3,
        head_batch: int = 64,
        **options: Any,
    ) -> None:
        check_weights(turned_weight=turned_weight, similarity_weight=similarity_weight)
        for name, number, least in (("head_epochs", head_epochs, 0), ("head_batch", head_batch, 1)):
            require(number >= least, f"{name}={number}: give {least} or more")
        widths = []
        for owner, info in (("student", student), ("teacher", check_networks(student, teacher))):
            require(info.embedding is not None, f"the embedding of the {owner} is not known; declare classifier_path")
            widths.append(info.embedding or 0)
        similarity = _Similarity(SelectedKL(similarity_tau, similarity_share), *widths)
        terms: dict[str, tuple[float, Term]] = {
            "turned": (turned_weight, _Turned(SelectedKL(tau, turned_share))),
            "similarity": (similarity_weight, similarity),
        }
        super().__init__(
            student,
            teacher,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            tau=tau,
            terms=terms,
            **options,
        )
        self.head_epochs, self.head_batch = head_epochs, head_batch

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the images, and the same turned by 90, 180 and 270 degrees."""
        return _turned(images)

    def meet(
        self,
        networks: Networks,
        batches: Callable[[], Iterable[Batch]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Let the teacher's head learn.

        Returns:
            ``own_image``: the share of the turned images, in percent, that are told to be of their own image among
            those of a step, in the last epoch.
        """
        if "similarity" not in self.terms or self.head_epochs == 0:
            return {}
        term = self.terms["similarity"]
        assert isinstance(term, _Similarity)
        features = torch.cat([_embeddings(networks, batch.inputs) for batch in batches()])
        return {"own_image": term.train_teacher(features, self.head_epochs, self.head_batch, generator)}


def _turned(images: Tensor) -> list[Tensor]:
    """Return images ``[B, C, S, S]`` as they are and turned by 90, 180 and 270 degrees.

    Raises:
        InputError: they are not square.
    """
    height, width = images.shape[2:]
    require(height == width, f"images of {height}x{width} cannot be turned: crop or resize them to squares")
    return [images.rot90(quarter, (2, 3)) if quarter else images for quarter in range(4)]


def _embeddings(networks: Networks, images: Tensor) -> Tensor:
    """``[B, 4, d]`` of the teacher."""
    found = [networks.teacher(view).embedding for view in _turned(images)]
    return torch.stack([each for each in found if each is not None], dim=1)


class _Turned(Term):
    def __init__(self, loss: SelectedKL) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits of turned images."""
        views = len(step.split(student.logits)) - 1
        rows = len(step.target)
        return self.loss(student.logits[rows:], teacher.logits[rows:], step.target.repeat(views))


class _Similarity(Term):
    def __init__(self, loss: SelectedKL, student: int, teacher: int) -> None:
        super().__init__()
        self.loss = loss
        self.student, self.teacher = (_head(width) for width in (student, teacher))
        self.teacher.requires_grad_(False)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the similarities of turned and upright images."""
        rows = len(step.target)
        own = torch.arange(rows, device=student.logits.device).repeat(len(student.logits) // rows - 1)
        assert student.embedding is not None
        assert teacher.embedding is not None
        with torch.no_grad():
            heard = _similarities(self.teacher(teacher.embedding), rows)
        return self.loss(_similarities(self.student(student.embedding), rows), heard, own)

    @torch.enable_grad()
    def train_teacher(self, features: Tensor, epochs: int, batch: int, generator: torch.Generator) -> float:
        """Train the teacher's head on embeddings ``[N, 4, d]``; return its accuracy in percent in the last epoch."""
        head = self.teacher.requires_grad_(True)
        optimizer = torch.optim.SGD(head.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY)
        right = 0.0
        for epoch in range(epochs):
            for group in optimizer.param_groups:
                group["lr"] = _LR * 0.1 ** sum(epoch >= share * epochs for share in (0.5, 0.75))
            right = 0.0
            for index in torch.randperm(len(features), generator=generator).split(batch):
                rows = features[index.to(features.device)].transpose(0, 1).flatten(0, 1)  # view after view
                own = torch.arange(len(index), device=rows.device).repeat(3)
                scores = _similarities(head(rows), len(index))
                optimizer.zero_grad()
                cross_entropy(scores, own).backward()
                optimizer.step()
                right += (scores.argmax(1) == own).sum().item()
        head.requires_grad_(False)
        return 100 * right / (3 * len(features))


def _similarities(rows: Tensor, images: int) -> Tensor:
    """Return the cosine similarities of the rows after the first ones with these, ``[R - images, images]``."""
    unit = l2_normalize(rows)
    return unit[images:] @ unit[:images].T


def _head(width: int) -> nn.Module:
    return nn.Sequential(Projection(width, width), nn.ReLU(), Projection(width, width))
