"""Token-level Relationship Graph distillation."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, cast

from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg.distillers.base import GraphSize, check_networks, check_weights, graph_size
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.base import Reduction
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.graphs.base import Scope
from trg_pyg.graphs.batch import node_batch, replace_nodes, with_features
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.losses.contextual import ContextualLoss
from trg_pyg.losses.contrast import TokenContrast
from trg_pyg.losses.graph_match import GraphMatch
from trg_pyg.losses.local import LocalStructureLoss
from trg_pyg.losses.temperature import Curve, TemperatureSchedule
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.relations.base import with_attributes
from trg_pyg.relations.carried import GivenWeight
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.relations.softmax import Softmax
from trg_pyg.step import Share, Step
from trg_pyg.tasks.base import Task
from trg_pyg.tokens.normalize import l2_normalize
from trg_pyg.tokens.tokenizer import Tokenizer


class TRG(TermDistiller):
    r"""Knowledge distillation via token-level relationship graphs (arXiv 2306.12442), preset ``trg``.

    .. math:: L = L_{CE} + \lambda L_{KD} + \alpha L_{inner} + \beta L_{local} + \gamma L_{global} + \delta L_{graph}

    The last tap of each network is cut in tokens at the same places; a part whose weight is 0 is not computed.
    :math:`L_{graph}` is ours; :class:`~trg_pyg.distillers.trg_paper.TRGPaper` is the paper's own objective.

    Args:
        student: the student's classes and tapped features.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: lambda, weight of logit distillation.
        tau: temperature of the logits.
        standardize: z-score the logits for logit distillation, see TermDistiller.
        decoupled: beta of decoupled logit distillation, see TermDistiller; 0 is the plain one.
        alpha: weight of L_inner, contextual similarity within an image.
        beta: weight of L_local, neighbours of each token in the graph.
        gamma: weight of L_global, contrast of tokens across the batch.
        delta: weight of L_graph, matching of whole images after message passing (ours).
        warmup: share of the training in which alpha, beta, gamma and delta grow linearly from 0 (ours).
        cooldown: share of the training, at its end, in which they fall linearly to 0 (ours).
        patch: edge of a token, in cells of the feature grid common to both networks.
        tokens_per_image: tokens sampled of each image in each step, or all where it has fewer; null for all.
        k: neighbours of a token in the graph, or all other tokens where they are fewer.
        sigma: scale of the Gaussian edge weights, or auto (mean squared length of the graph's edges).
        normalize: unit-length tokens before distances (ours; raw features underflow in the kernel).
        symmetric: undirected graphs (ours).
        scope: graph of L_local: all tokens of the batch (paper), or each image's own.
        local_support: softmax over all nodes (paper), or over a node's neighbours.
        local_edges: each network on its own edges (paper), or both on the teacher's.
        local_direction: KL(T || S) for teacher, KL(S || T) for student (as the paper prints it).
        local_temperature: divides edge weights before the softmax (1 in the paper).
        inner_structure: contextual similarity over an image's graph, or over all its tokens (dense; paper).
        inner_temperature: of the cosines of L_inner; null takes dot products over the root of the width (paper).
        reduction: mean over tokens, or sum (paper), of L_local and L_global.
        tau_start: temperature of L_global at the start of training; the paper starts high and lowers it, which our
            ablation (experiments/studies) found far worse than a constant 0.07 in short trainings.
        tau_end: the same at the end.
        tau_curve: from start to end as cosine or linear; constant stays at the start.
        softness: share of L_global's target that goes from a token's own to its neighbours in the graph of L_local, by
            the teacher's distribution over them, see TokenContrast (ours); needs scope batch.
        projection_dim: width in which L_global and L_graph compare.
        hops: rounds of message passing of L_graph.
        propagation: message passing without parameters (free), or a small learnable network (gnn).
        readout: from tokens to one vector an image: mean, max or sum.
        graph_temperature: temperature of L_graph.

    Parts that compare the tokens of an image (inner and graph, and local where its scope is the image) are left out
    where an image has a single token; :meth:`fitted` says so.

    Raises:
        InputError: an option is impossible, or images of a single token leave nothing of what is asked for; the message
            names it.
    """

    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    symbols: ClassVar[Mapping[str, str]] = {"inner": "alpha", "local": "beta", "global": "gamma", "graph": "delta"}

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 1.0,
        kd_weight: float = 1.0,
        tau: float = 4.0,
        standardize: bool = False,
        decoupled: float = 0.0,
        alpha: float = 32.0,
        beta: float = 4.0,
        gamma: float = 8.0,
        delta: float = 0.4,
        warmup: float = 0.0,
        cooldown: float = 0.0,
        patch: int = 1,
        tokens_per_image: int | None = 16,
        k: int = 8,
        sigma: float | Literal["auto"] = 1.0,
        normalize: bool = True,
        symmetric: bool = False,
        scope: Scope = "batch",
        local_support: Literal["all", "neighbors"] = "neighbors",
        local_edges: Literal["own", "teacher"] = "teacher",
        local_direction: Literal["teacher", "student"] = "teacher",
        local_temperature: float = 0.1,
        inner_structure: Literal["dense", "graph"] = "graph",
        inner_temperature: float | None = None,
        reduction: Reduction = "mean",
        tau_start: float = 0.07,
        tau_end: float = 0.07,
        tau_curve: Curve = "constant",
        softness: float = 0.0,
        projection_dim: int = 128,
        hops: int = 1,
        propagation: Literal["free", "gnn"] = "free",
        readout: Literal["mean", "max", "sum"] = "mean",
        graph_temperature: float = 0.1,
    ) -> None:
        # Its terms share samples and graphs, so they are computed together and not one by one.
        super().__init__(
            student,
            teacher,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            tau=tau,
            standardize=standardize,
            decoupled=decoupled,
        )
        teacher = check_networks(student, teacher)
        check_weights(alpha=alpha, beta=beta, gamma=gamma, delta=delta)
        check_choice("local_edges", local_edges, ("own", "teacher"))
        check_choice("local_support", local_support, ("all", "neighbors"))
        check_choice("local_direction", local_direction, ("teacher", "student"))
        check_choice("inner_structure", inner_structure, ("dense", "graph"))
        for name, share in (("warmup", warmup), ("cooldown", cooldown)):
            require(0 <= share <= 1, f"{name}={share}: it is a share of the training, from 0 to 1")
        if inner_temperature is not None:
            check_positive("inner_temperature", inner_temperature)
        check_positive("local_temperature", local_temperature)
        check_positive("graph_temperature", graph_temperature)
        require(
            local_support == "all" or local_edges == "teacher",
            "local_support=neighbors with local_edges=own: a neighbour that only the teacher has would have "
            "probability 0 for the student and an infinite divergence; choose local_edges=teacher or local_support=all",
        )
        require(
            softness == 0 or scope == "batch",
            f"softness={softness} with scope={scope}: L_global is about tokens of all images; choose scope=batch",
        )
        self.weights = {"alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta}
        self.warmup, self.cooldown = warmup, cooldown
        self.local_edges, self.over_all = local_edges, local_support == "all"
        self.tokenize = Tokenizer(
            student.features[-1], teacher.features[-1], patch=patch, tokens_per_image=tokens_per_image
        )
        kernel = Gaussian(sigma)
        self.normalize = normalize
        # Tokens are normalised once, for all graphs.
        self.joint_graph = KNNGraph(k, kernel, normalize=False, scope=scope, symmetric=symmetric, at_most=True)
        self.image_graph = KNNGraph(k, kernel, normalize=False, scope="image", symmetric=symmetric, at_most=True)
        self.inner_on_graph = inner_structure == "graph"
        self.left_out = self._leave_out(scope) if self.num_tokens == 1 else []
        # A joint graph takes its neighbours from all images, and needs a second token.
        self.min_images = 2 if (self.weights["beta"] or softness) and self.num_tokens == 1 else 1
        widths = self.tokenize.student_dim, self.tokenize.teacher_dim
        self.inner = ContextualLoss(inner_structure, inner_temperature)
        self.local = LocalStructureLoss(local_support, local_direction, local_temperature, reduction)
        self.contrast_temperature = TemperatureSchedule(tau_start, tau_end, tau_curve)
        # Projections exist only where they train: a parameter without gradient is an error under DDP.
        self.contrast = TokenContrast(*widths, projection_dim, reduction, softness=softness) if gamma else None
        self.softness = softness if gamma else 0.0
        self.among_neighbors = Softmax(GivenWeight(), local_temperature)
        self.match = (
            GraphMatch(*widths, projection_dim, hops, propagation, readout, graph_temperature)
            if self.weights["delta"]
            else None
        )

    def _leave_out(self, scope: Scope) -> list[str]:
        """Put the weights of what compares the tokens of an image to 0, and return the names of those parts."""
        within = {"alpha": "inner", "delta": "graph"} | ({"beta": "local"} if scope == "image" else {})
        found = [part for name, part in within.items() if self.weights[name]]
        self.weights |= dict.fromkeys(within, 0.0)
        require(
            not found or any(self.weights.values()),
            f"{' and '.join(found)} of images of 1 token (patch {self.tokenize.patch} on the "
            f"{'x'.join(map(str, self.tokenize.grid))} grid): nothing is left to compare; tap a larger map "
            "(student.taps, teacher.taps), lower patch, raise tokens_per_image, or compare tokens of different images "
            "(beta, gamma)",
        )
        return found

    @property
    def num_tokens(self) -> int:
        """Tokens that are taken of an image."""
        return self.tokenize.num_tokens

    def graph_sizes(self, images: int) -> dict[str, GraphSize]:
        """Return the sizes of the graphs of L_local, L_inner and L_graph, those whose weights are positive."""
        alpha, beta, _, delta = self.weights.values()
        sizes: dict[str, GraphSize] = {}
        if beta or self.softness:
            sizes["local"] = graph_size(self.joint_graph, images, self.num_tokens)
        if alpha:
            builder = self.image_graph if self.inner_on_graph else self.inner.all_tokens
            sizes["inner"] = graph_size(builder, images, self.num_tokens)
        if delta:
            sizes["graph"] = graph_size(self.image_graph, images, self.num_tokens)
        return sizes

    @property
    def token_graphs(self) -> TokenGraphs:
        """The graph of L_local, of tokens as they are cut; with all weights 0 too."""
        edges = copy.copy(self.joint_graph)
        edges.normalize = self.normalize
        return TokenGraphs(self.tokenize, edges, self.inner_on_graph)

    def fitted(self, images: int) -> list[str]:
        """Say how many tokens and neighbours there are, where fewer than asked for, and which parts are left out."""
        alpha, beta, _, delta = self.weights.values()
        lines = self.tokenize.fitted()
        if beta or self.softness:
            lines += self.joint_graph.fitted(self.num_tokens * (images if self.joint_graph.scope == "batch" else 1))
        if delta or (alpha and self.inner_on_graph):
            lines += self.image_graph.fitted(self.num_tokens)
        if self.left_out:
            lines.append(f"without {' and '.join(self.left_out)}: an image has 1 token")
        return list(dict.fromkeys(lines))

    @property
    def by_rows(self) -> bool:  # type: ignore[override]
        """Whether processes can share out its rows: each image has as many, of a scale that all know, and no sums."""
        graph = self.joint_graph
        summed = graph.scope == "image" and self.local.divergence.reduction == "sum"
        return not (graph.symmetric or summed or cast(Gaussian, graph.weight).sigma == "auto")

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return ``{name: (weight, loss)}`` of the relational parts whose weights are positive."""
        tapped = student.features[-1], teacher.features[-1].detach()
        tokens = self.tokenize(*tapped, step.generator, step.share, step.mask)
        return self.relations(*tokens, step.progress, step)

    def _share(self, progress: float) -> float:
        """Return how much of the relational weights applies, 0 to 1."""
        grown = min(progress / self.warmup, 1.0) if self.warmup else 1.0
        left = min((1 - progress) / self.cooldown, 1.0) if self.cooldown else 1.0
        return grown * left

    def relations(
        self, student: Tensor, teacher: Tensor, progress: float, step: Step | None = None
    ) -> dict[str, tuple[float, Tensor]]:
        """Return ``{name: (weight, loss)}`` of the relational parts.

        Args:
            student: ``[B, n, D_S]``.
            teacher: ``[B, n, D_T]``, without gradient.
            progress: position in the training, 0 to 1.
            step: needed where these are the tokens of a share.
        """
        share = self._share(progress)
        shared = step if step is not None and step.share is not None else None
        values = self.compare(student, teacher, self.contrast_temperature(progress), shared)
        return {name: (share * self.weights[self.symbols[name]], value) for name, value in values.items()}

    def compare(
        self, student: Tensor, teacher: Tensor, temperature: float, step: Step | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of the relational parts whose weights are positive, by name.

        Args:
            student: ``[B, n, D_S]``.
            teacher: ``[B, n, D_T]``, without gradient.
            temperature: of L_global.
            step: of a share, whose tokens these are.
        """
        alpha, beta, _, delta = self.weights.values()
        among = None if step is None else step.share
        parts: dict[str, Tensor] = {}
        placed_s, placed_t = (l2_normalize(x) if self.normalize else x for x in (student, teacher))
        image_t: Batch | None = None
        if delta or (alpha and self.inner_on_graph):
            image_t = with_features(self.image_graph(placed_t), teacher)
        if alpha:
            # L_inner compares dot products, on the teacher's edges if on any; edge weights are not part of it.
            inner_t = image_t if self.inner_on_graph else node_batch(teacher)
            parts["inner"] = self.inner(replace_nodes(inner_t, student.flatten(0, 1)), inner_t)
        joint = self._joint_graphs(placed_s, placed_t, among) if beta or self.softness else None
        if beta and joint is not None:
            parts["local"] = self.local(*joint, None if self.joint_graph.scope == "image" else step)
        if self.contrast is not None:
            neighbors = self._distribution(joint[1]) if self.softness and joint is not None else None
            parts["global"] = self.contrast(student.flatten(0, 1), teacher.flatten(0, 1), temperature, among, neighbors)
        if self.match is not None:
            parts["graph"] = self.match(with_features(self.image_graph(placed_s), student), image_t, among)
        return parts

    def _joint_graphs(self, student: Tensor, teacher: Tensor, share: Share | None) -> tuple[Data, Data]:
        graph, own = self.joint_graph, self.local_edges == "own"
        if graph.scope == "image":
            share = None
        if share is not None:
            student, teacher = share.gather(student), share.gather(teacher)
        # The paper's softmax is over what leaves a node, whichever process found it.
        every = self.over_all
        joint_t = graph(teacher, share=share, every=every)
        joint_s = graph(student, share=share, every=every) if own else graph.reweight(joint_t, student)
        return joint_s, joint_t

    def _distribution(self, graph: Data) -> Data:
        return with_attributes(graph, edge_weight=self.among_neighbors(graph).detach())


def default_token_graphs(student: FeatureInfo, teacher: FeatureInfo) -> TokenGraphs:
    """Return the token graphs of a TRG without options, for methods that have none of their own.

    Args:
        student: the student's last tap.
        teacher: the teacher's.
    """
    # Without the parts whose projections would be drawn at random.
    trg = TRG(*(NetworkInfo(1, (tap,)) for tap in (student, teacher)), gamma=0, delta=0)
    return replace(trg.token_graphs, of_method=False)
