"""Forms of TRG that a study tries: each changes one thing of the class, whose options it takes beside its own."""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu
from torch_geometric.data import Data

from trg_pyg.distillers.base import Taps, check_networks
from trg_pyg.distillers.rrd import RRD
from trg_pyg.distillers.trg import TRG
from trg_pyg.divergences.info_nce import info_nce_of_cosines
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss
from trg_pyg.losses.contrast import TokenContrast
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.projection import Projection
from trg_pyg.nodes.base import NodePair
from trg_pyg.nodes.derived import Embedded, UnitLength
from trg_pyg.nodes.tokens import Tokens
from trg_pyg.step import Share, Step
from trg_pyg.tokens.normalize import full_precision, l2_normalize


class Faded(TRG):
    """Relations have their whole weight for a share of the training, then half a cosine down to none.

    Args:
        student: as for TRG.
        teacher: the same.
        hold: the share, such as that at which the learning rate drops.
        end: the share from which their weight is 0; ``hold`` itself stops them at once.
        **options: of TRG.
    """

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo | None, *, hold: float = 0.5, end: float = 1.0, **options: Any
    ) -> None:
        super().__init__(student, teacher, **options)
        require(
            0 <= hold <= end <= 1, f"hold={hold}, end={end}: they are shares of the training, 0 <= hold <= end <= 1"
        )
        self.hold, self.end = hold, end

    def _share(self, progress: float) -> float:
        if progress < self.hold:
            return super()._share(progress)
        left = (self.end - progress) / (self.end - self.hold) if progress < self.end else 0.0
        return super()._share(progress) * (1 - math.cos(math.pi * left)) / 2


class NormedContrast(TokenContrast):
    """Projections through a batch norm without scale; the teacher's projection stays as it is drawn.

    With several ``projections`` the student's is their mean, as in projector ensembles (arXiv 2210.15274).
    """

    def __init__(self, student_dim: int, teacher_dim: int, dim: int, projections: int = 1) -> None:
        super().__init__(student_dim, teacher_dim, dim)
        self.project_teacher.requires_grad_(False)
        more = [Projection(student_dim, dim) for _ in range(projections - 1)]
        self.student_heads = nn.ModuleList(
            nn.Sequential(head, nn.BatchNorm1d(dim, affine=False)) for head in (self.project_student, *more)
        )
        self.norm_teacher = nn.BatchNorm1d(dim, affine=False)

    def embed(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors ``[M, d]`` of both."""
        anchor = torch.stack([head(student) for head in self.student_heads]).mean(0)
        return l2_normalize(anchor), l2_normalize(self.norm_teacher(self.project_teacher(teacher)))


class Normed(TRG):
    """L_global by :class:`NormedContrast`.

    Args:
        student: as for TRG.
        teacher: the same.
        projections: of the student, whose mean is taken.
        **options: of TRG.
    """

    by_rows = False  # the statistics are of all tokens

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo | None, *, projections: int = 1, **options: Any
    ) -> None:
        super().__init__(student, teacher, **options)
        assert self.contrast is not None
        require(projections >= 1, f"projections={projections}: at least 1")
        widths = self.tokenize.student_dim, self.tokenize.teacher_dim, self.contrast.project_student.out_features
        self.contrast = NormedContrast(*widths, projections)


class QueuedContrast(TokenContrast):
    """Teacher tokens of earlier batches, as many of each class, are negatives too, under the present projection.

    Attributes:
        tokens: buffer ``[classes, size, D_T]``.
        added: buffer ``[classes]``, int64, how many were put in of each class.
    """

    tokens: Tensor
    added: Tensor

    def __init__(self, student_dim: int, teacher_dim: int, dim: int, classes: int, size: int) -> None:
        super().__init__(student_dim, teacher_dim, dim)
        self.register_buffer("tokens", torch.zeros(classes, size, teacher_dim))
        self.register_buffer("added", torch.zeros(classes, dtype=torch.int64))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        temperature: float = 0.07,
        share: Share | None = None,
        neighbors: Data | None = None,
    ) -> Tensor:
        """Return InfoNCE of the batch's tokens among them and those of the queue."""
        filled = torch.arange(self.tokens.shape[1]) < self.added[:, None]
        anchor = l2_normalize(self.project_student(student))
        among = torch.cat([full_precision(teacher.detach()), self.tokens[filled]])
        return info_nce_of_cosines(anchor, l2_normalize(self.project_teacher(among)), temperature)

    @torch.no_grad()
    def push(self, tokens: Tensor, classes: Tensor) -> None:
        """Put tokens ``[B, D_T]`` of classes ``[B]`` in; each takes the place of the oldest of its class."""
        # Not in place: a step that is left out takes the buffers back as they were.
        self.tokens, self.added = self.tokens.clone(), self.added.clone()
        for token, label in zip(tokens, classes.tolist(), strict=True):
            self.tokens[label, self.added[label] % self.tokens.shape[1]] = token
            self.added[label] += 1


class Queued(TRG):
    """L_global by :class:`QueuedContrast`; of each image one token is kept.

    Args:
        student: as for TRG.
        teacher: the same.
        per_class: tokens that are kept of each class.
        **options: of TRG.
    """

    by_rows = False

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo | None, *, per_class: int = 40, **options: Any
    ) -> None:
        super().__init__(student, teacher, **options)
        assert self.contrast is not None
        widths = self.tokenize.student_dim, self.tokenize.teacher_dim, self.contrast.project_student.out_features
        self.contrast = QueuedContrast(*widths, student.num_classes, per_class)

    def relations(
        self, student: Tensor, teacher: Tensor, progress: float, step: Step | None = None
    ) -> dict[str, tuple[float, Tensor]]:
        """Return the parts, and keep a random token of each image."""
        parts = super().relations(student, teacher, progress, step)
        assert step is not None
        if self.training:
            chosen = torch.randint(teacher.shape[1], (len(teacher),), generator=step.generator)
            tokens = teacher[torch.arange(len(teacher)), chosen]
            cast(QueuedContrast, self.contrast).push(full_precision(tokens), step.target)
        return parts


class Layered(TRG):
    """The relations of the last two taps.

    Args:
        student: as for TRG.
        teacher: the same.
        earlier: what the weights of the last tap but one are multiplied by.
        **options: of TRG.
    """

    taps: ClassVar[Taps] = "stages"

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo | None, *, earlier: float = 0.25, **options: Any
    ) -> None:
        super().__init__(student, teacher, **options)
        infos = [replace(info, features=info.features[-2:-1]) for info in (student, check_networks(student, teacher))]
        self.lower, self.earlier = TRG(*infos, **options), earlier

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of both taps; those of the earlier end in -2."""
        parts = super().others(student, teacher, step)
        lower_s, lower_t = (each._replace(features=each.features[-2:-1]) for each in (student, teacher))
        more = self.lower.others(lower_s, lower_t, step)
        return parts | {f"{name}-2": (self.earlier * weight, value) for name, (weight, value) in more.items()}


class JointTokens(Tokens):
    """The tokens of all images of a batch as the nodes of one graph."""

    per_image = False

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, B * n, D_S]`` and ``[1, B * n, D_T]``."""
        s, t = super().forward(student, teacher, step)
        return NodePair(s.flatten(0, 1)[None], t.flatten(0, 1)[None])


class Remembered(TRG):
    """Whole images too, or some tokens of each, among those of the last batches, by the term of RRD.

    Args:
        student: as for TRG.
        teacher: the same.
        images: weight of that term of images.
        tokens: of tokens, four of each image.
        **options: of TRG.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        images: float = 4.0,
        tokens: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        self.among_images = RRD(student, teacher, weight=images) if images else None
        self.among_tokens = RRD(student, teacher, weight=tokens) if tokens else None
        if self.among_tokens is not None:
            nodes = JointTokens(student, check_networks(student, teacher), tokens_per_image=4)
            term = cast(Any, self.among_tokens.terms["queue"])
            term.images = UnitLength(Embedded(nodes, term.images.student_dim, learn_teacher=False))

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of TRG, ``queue`` of images and ``tokens`` of tokens."""
        parts = super().others(student, teacher, step)
        if self.among_images is not None:
            parts |= self.among_images.others(student, teacher, step)
        if self.among_tokens is not None:
            parts["tokens"] = self.among_tokens.others(student, teacher, step)["queue"]
        return parts


class Pruned(TRG):
    """L_local on some of the teacher's edges.

    Args:
        student: as for TRG.
        teacher: the same.
        keep: edges that run both ways, or between images that the teacher does not give different classes, each with
            at least ``sure``.
        sure: probability from which the teacher is sure of a class.
        **options: of TRG.
    """

    by_rows = False

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        keep: Literal["mutual", "agreeing"] = "mutual",
        sure: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        check_choice("keep", keep, ("mutual", "agreeing"))
        self.keep, self.sure = keep, sure
        self._class: Tensor | None = None

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts; of each image the class is noted that the teacher is sure of, or -1."""
        most, label = full_precision(teacher.logits).softmax(1).max(1)
        self._class = label.masked_fill(most < self.sure, -1)
        return super().others(student, teacher, step)

    def _joint_graphs(self, student: Tensor, teacher: Tensor, share: Share | None) -> tuple[Data, Data]:
        graphs = super()._joint_graphs(student, teacher, share)
        source, target = edges = graphs[1].edge_index
        if self.keep == "mutual":
            nodes = graphs[1].num_nodes
            kept = torch.isin(source * nodes + target, target * nodes + source)
        else:
            assert self._class is not None
            one, other = (self._class[ends // teacher.shape[1]] for ends in (source, target))
            kept = (one == other) | (one < 0) | (other < 0)
        edges = edges[:, kept]
        s, t = (Data(x=graph.x, edge_index=edges, edge_weight=graph.edge_weight[kept]) for graph in graphs)
        return s, t


class OneSidedLoss(DistillationLoss):
    r"""What the student has too far apart or too near is put right, and nothing else.

    With cosines :math:`c`, the teacher's edges :math:`E` and the median :math:`m` of all the teacher's cosines,

    .. math:: L = \frac{1}{|E|} \sum_{E} \big(c^T_{ij} - c^S_{ij}\big)_+
        + \frac{1}{|\bar E|} \sum_{\bar E} \big(c^S_{ij} - \max(c^T_{ij}, m)\big)_+

    where the second sum is over all other pairs of two tokens, of the same image where the edges are within images.

    Args:
        images: whether the edges are within images.
    """

    def __init__(self, images: bool) -> None:
        super().__init__()
        self.images = images

    def forward(self, student: Data, teacher: Data, *_: Any) -> Tensor:
        """Return the loss, 0 where the tokens' cosines are equal."""
        cos_s, cos_t = (unit @ unit.T for unit in (l2_normalize(full_precision(each.x)) for each in (student, teacher)))
        source, target = teacher.edge_index
        edges = torch.zeros_like(cos_t, dtype=torch.bool).index_put((source, target), torch.tensor(True))
        pairs = ~torch.eye(len(cos_t), dtype=torch.bool)
        if self.images:
            pairs &= teacher.batch[:, None] == teacher.batch
        others = pairs & ~edges
        median = cos_t[pairs].median()
        far = relu(cos_t - cos_s)[edges].mean()
        near = relu(cos_s - cos_t.clamp_min(median))[others]
        return far + near.sum() / max(len(near), 1)


class OneSided(TRG):
    """L_inner and L_local by :class:`OneSidedLoss`."""

    by_rows = False

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None, **options: Any) -> None:
        super().__init__(student, teacher, **options)
        self.inner, self.local = cast(Any, OneSidedLoss(True)), cast(Any, OneSidedLoss(False))


class WhitenedGram(DistillationLoss):
    r"""Difference of the cosines of an image's tokens, relative to the teacher's.

    .. math:: L = \frac{1}{n^2} \big\lVert A^{-1/2} (C_S - C_T) A^{-1/2} \big\rVert_F^2, \qquad A = C_T + \varepsilon I

    with the ``[n, n]`` cosines C of an image, mean over images. Directions in which the teacher's tokens hardly differ
    weigh as much as the first.

    Args:
        eps: what is added to the teacher's cosines, > 0.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        check_positive("eps", eps)
        self.eps = eps

    def forward(self, student: Data, teacher: Data, *_: Any) -> Tensor:
        """Return the loss of two batches of images with as many tokens each."""
        images = int(teacher.num_graphs)
        units = (l2_normalize(full_precision(each.x)).unflatten(0, (images, -1)) for each in (student, teacher))
        cos_s, cos_t = (unit @ unit.mT for unit in units)
        # Of L L' = A, the norm of L^-1 D L'^-1 is that of the symmetric root.
        root = torch.linalg.cholesky(cos_t + self.eps * torch.eye(cos_t.shape[-1]))
        half = torch.linalg.solve_triangular(root, cos_s - cos_t, upper=False)
        return torch.linalg.solve_triangular(root, half.mT, upper=False).square().mean()


class Whitened(TRG):
    """L_inner by :class:`WhitenedGram`.

    Args:
        student: as for TRG.
        teacher: the same.
        eps: of the loss.
        **options: of TRG.
    """

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None, *, eps: float = 0.1, **options: Any) -> None:
        super().__init__(student, teacher, **options)
        self.inner = cast(Any, WhitenedGram(eps))


class Weighed(TRG):
    """L_local and L_global with the entropy of the teacher's classes as the weight of an image's tokens, mean 1."""

    by_rows = False

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None, **options: Any) -> None:
        super().__init__(student, teacher, **options)
        self._weight: Tensor | None = None

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts; of each image the weight is noted."""
        log_p = full_precision(teacher.logits).log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        self._weight = entropy / entropy.mean()
        return super().others(student, teacher, step)

    def compare(
        self, student: Tensor, teacher: Tensor, temperature: float, step: Step | None = None
    ) -> dict[str, Tensor]:
        """Return the parts."""
        assert self.contrast is not None
        assert self._weight is not None
        parts = super().compare(student, teacher, temperature, step)
        weight = self._weight.repeat_interleave(student.shape[1])
        placed_s, placed_t = (l2_normalize(x) if self.normalize else x for x in (student, teacher))
        graph_s, graph_t = self._joint_graphs(placed_s, placed_t, None)
        p, q = (self.among_neighbors.log_probability(graph) for graph in (graph_t, graph_s))
        parts["local"] = (p.exp() * (p - q) * weight[graph_t.edge_index[1]]).sum() / len(weight)
        anchor, positive = self.contrast.embed(student.flatten(0, 1), teacher.flatten(0, 1))
        chosen = (anchor @ positive.T / temperature).log_softmax(1).diagonal()
        parts["global"] = -(weight * chosen).mean()
        return parts


class TokenMimicry(DistillationLoss):
    """One minus the cosine of each projected student token and its teacher token: no token is compared with others."""

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.project_student = Projection(student_dim, teacher_dim)

    def forward(self, student: Tensor, teacher: Tensor, *_: Any) -> Tensor:
        """Return the mean over tokens ``[M, D_S]`` and ``[M, D_T]``."""
        anchor = l2_normalize(self.project_student(student))
        return 1 - (anchor * l2_normalize(teacher.detach())).sum(1).mean()


class Mimicry(TRG):
    """The control of L_global: the same tokens by :class:`TokenMimicry`, without relations."""

    by_rows = False

    def __init__(
        self, student: NetworkInfo, teacher: NetworkInfo | None, *, gamma: float = 2.0, **options: Any
    ) -> None:
        super().__init__(student, teacher, alpha=0.0, beta=0.0, gamma=gamma, delta=0.0, **options)
        self.contrast = cast(Any, TokenMimicry(self.tokenize.student_dim, self.tokenize.teacher_dim))


class Semantic(TRG):
    """Tokens are what each network's own classifier says of them: scores of the classes at each place."""

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None, **options: Any) -> None:
        infos = []
        for info in (student, check_networks(student, teacher)):
            last = replace(info.features[-1], channels=info.num_classes)
            infos.append(replace(info, features=(*info.features[:-1], last)))
        super().__init__(*infos, **options)
        # What comes in is of the widths that the networks have.
        self._described = {"student": student, "teacher": teacher}

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of the scores."""
        networks = step.need_networks("Semantic")
        said = []
        for owner, outputs in (("student", student), ("teacher", teacher)):
            layer: Any = networks.classifier(cast(Any, owner))
            last = full_precision(outputs.features[-1])
            scores = linear(last.movedim(1, -1), layer.weight, layer.bias).movedim(-1, 1)
            said.append(outputs._replace(features=(*outputs.features[:-1], scores)))
        said_s, said_t = said
        return super().others(said_s, said_t, step)
