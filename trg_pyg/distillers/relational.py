"""Every relational method: nodes x edges x relation x divergence."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg.distillers.base import GraphSize, graph_size
from trg_pyg.distillers.terms import Term
from trg_pyg.divergences.bank_info_nce import BankInfoNCE
from trg_pyg.divergences.base import Divergence
from trg_pyg.divergences.info_nce import InfoNCE
from trg_pyg.divergences.kl import KL
from trg_pyg.divergences.pointwise import PointwiseDivergence
from trg_pyg.errors import InputError, check_choice, require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.batch import replace_nodes
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.graphs.layers import LayerGraph
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.models.taps import Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.tokens import Tokens
from trg_pyg.relations.angle import Angle
from trg_pyg.relations.base import EdgeRelation, Relation, with_attributes
from trg_pyg.relations.carried import GivenWeight, NodeFeatures
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.relations.scaled import Scaled
from trg_pyg.relations.softmax import Softmax
from trg_pyg.step import Share, Step


class Relational(Term):
    """What the student's nodes say of one another against what the teacher's say.

    Args:
        nodes: what the graphs are made of.
        edges: graph builder: which nodes are joined.
        relation: what a graph says of its nodes; a pair gives student and teacher one each, for relations that learn.
        divergence: compares what the two graphs say.
        on: ``"teacher"``: both networks on the edges that the builder finds for the teacher. ``"own"``: each on its
            own, for divergences that can compare different graphs.
        edge_nodes: nodes from which edges are found, where they are not those that are compared. Tokens sampled of
            both are the same ones.

    Raises:
        InputError: the pieces do not go together; the message says why.
    """

    def __init__(
        self,
        nodes: Nodes,
        edges: GraphBuilder,
        relation: Relation | tuple[Relation, Relation],
        divergence: Divergence,
        *,
        on: Literal["teacher", "own"] = "teacher",
        edge_nodes: Nodes | None = None,
    ) -> None:
        super().__init__()
        check_choice("on", on, ("teacher", "own"))
        # Nodes detach the teacher; what they learn of it afterwards needs its gradient.
        self.loss = RelationalLoss(relation, divergence, detach=nodes.frozen_teacher)
        relations = relation if isinstance(relation, tuple) else (relation, relation)
        weights = any(isinstance(module, GivenWeight) for one in relations for module in one.modules())
        require(
            not weights or edges.weight is not None,
            f"the relation reads edge weights and {type(edges).__name__} makes none: give it a weight, such as "
            "Gaussian()",
        )
        require(
            edges.weight is None or not any(True for _ in edges.weight.parameters()),
            f"{type(edges.weight).__name__} learns, but as the weight of {type(edges).__name__} it would never change: "
            "give it as the relation",
        )
        require(
            not weights or edges.weight is None or edges.weight.nonnegative or not _scaled_to_sum(relations),
            f"{type(edges.weight).__name__} gives weights below 0, and their shares of a sum are no probabilities: "
            "choose another weight, or Softmax instead of Scaled",
        )
        require(
            not weights or edge_nodes is None,
            "the relation reads edge weights, which would be those of edge_nodes: choose a relation of the nodes",
        )
        require(
            on == "teacher" or not self.loss.same_edges,
            f"{type(divergence).__name__} compares values on the same edges, but on=own gives each network its own: "
            "a neighbour that only one of them has would have nothing to compare with; choose on=teacher",
        )
        require(
            edge_nodes is None or edge_nodes.per_image == nodes.per_image,
            f"edges between {type(edge_nodes).__name__}, relations of {type(nodes).__name__}: "
            "one are the tokens of an image, the other the images of a batch",
        )
        require(
            edge_nodes is None or set(edge_nodes.parameters()) <= set(nodes.parameters()),
            f"edges carry no gradient, so what {type(edge_nodes).__name__} learn as edge_nodes would never change: "
            "find edges from the nodes that they embed",
        )
        require(
            nodes.student_dim == nodes.teacher_dim or not all(type(one) is NodeFeatures for one in relations),
            f"{type(nodes).__name__} of width {nodes.student_dim} and {nodes.teacher_dim} are compared directly: "
            "bring them to one width with Embedded",
        )
        require(
            edges.scope == "image" or nodes.per_image,
            f"{type(nodes).__name__} are one graph a batch already: leave the builder's scope at image",
        )
        require(
            not isinstance(edges, LayerGraph) or edges.layers == nodes.layers,
            f"LayerGraph of {getattr(edges, 'layers', 0)} layers on {type(nodes).__name__}, which have {nodes.layers}: "
            "give both the same number",
        )
        if isinstance(divergence, BankInfoNCE):
            require(
                not nodes.per_image and nodes.layers == 1,
                f"BankInfoNCE of {type(nodes).__name__}: a memory bank has one vector an image; compare nodes of which "
                "there is one an image, such as Instances",
            )
        if nodes.num_tokens is not None and edges.scope == "image":
            # A builder that needs other numbers of nodes says so here and not in the first step.
            edges(torch.ones(1, nodes.num_tokens, 1), torch.zeros(1, nodes.num_tokens, dtype=torch.long))
        self.nodes, self.edges, self.edge_nodes, self.on = nodes, edges, edge_nodes, on

    @property
    def by_rows(self) -> bool:
        """Whether it reads ``step.share``: given the images of a share, it compares those with all of the batch.

        It can where images are nodes and each has as many values, which depend on its own edges, or on a size that
        processes find together. Edges of classes need the labels of all, and memory banks all images.
        """
        relations, divergence = (self.loss.relation_student, self.loss.relation_teacher), self.loss.divergence
        if self.nodes.per_image or self.one_class or not all(map(_of_rows, (*relations, *self._weights()))):
            return False
        if self.nodes.layers > 1:
            return isinstance(self.edges, LayerGraph) and isinstance(divergence, PointwiseDivergence)
        regular = self.edges.regular and self.edges.num_edges(64) is not None
        if relations[0].on == "nodes":
            return isinstance(divergence, PointwiseDivergence | InfoNCE) and isinstance(self.edges, CompleteGraph)
        return isinstance(divergence, PointwiseDivergence | KL) and regular

    @property
    def _among_images(self) -> bool:
        """Whether an image's values are of other images too."""
        return self.nodes.layers == 1 and self.loss.relation_student.on != "nodes"

    def _weights(self) -> list[Relation]:
        return [] if self.edges.weight is None else [self.edges.weight]

    @property
    def one_class(self) -> bool:  # type: ignore[override]
        """Whether its edges depend on the classes of the images."""
        return type(self.edges).connect_labelled is not GraphBuilder.connect_labelled

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Let the divergence see the training set's labels, for its memory banks."""
        self.loss.divergence.bind(targets, generator)

    @property
    def num_tokens(self) -> int | None:
        """Tokens of an image, where its nodes are tokens."""
        return self.nodes.num_tokens

    def graph_size(self, images: int) -> GraphSize | None:
        """Return the size of the graph of a batch; ``None`` where the nodes do not say how many an image has."""
        if not self.nodes.per_image:
            return graph_size(self.edges, 1, self.nodes.layers * images)
        return None if self.nodes.num_tokens is None else graph_size(self.edges, images, self.nodes.num_tokens)

    @property
    def token_graphs(self) -> TokenGraphs | None:
        """Its graphs, where the nodes that edges join are tokens as they are cut and their content says which."""
        nodes = self.edge_nodes or self.nodes
        return TokenGraphs.of(nodes.tokenize, self.edges) if isinstance(nodes, Tokens) else None

    def fitted(self, images: int) -> list[str]:
        """Say how many tokens and neighbours there are, where they are fewer than was asked for."""
        tokens = [line for nodes in self.modules() if isinstance(nodes, Tokens) for line in nodes.tokenize.fitted()]
        size = self.graph_size(images)
        return tokens + ([] if size is None else self.edges.fitted(size.nodes // size.graphs))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the divergence of the batch's graphs."""
        require(
            step.share is None or self.by_rows,
            "a share of a batch, of whose rows this composition has none: leave by_rows of the method at False",
        )
        seen = None
        if self.edge_nodes is not None:
            # Tokens that are sampled are the same ones where both draw the same random numbers.
            again = replace(step, generator=step.generator.clone_state())
            seen = self.edge_nodes(student, teacher, again)
        nodes = self.nodes(student, teacher, step)
        return self.compare(nodes, seen or nodes, step)

    def compare(self, nodes: NodePair, seen: NodePair, step: Step) -> Tensor:
        """Return the divergence of nodes that are joined as others are."""
        share = step.share
        if share is not None and self._among_images:
            same = seen is nodes
            nodes = _gathered(nodes, share)
            seen = nodes if same else _gathered(seen, share)
        (nodes_s, nodes_t), (seen_s, seen_t) = nodes, seen
        if seen_t.shape[:2] != nodes_t.shape[:2]:
            raise InputError(f"edges between {tuple(seen_t.shape[:2])} nodes, relations of {tuple(nodes_t.shape[:2])}")
        classes = step.classes if self.one_class else None
        labels = None if classes is None else self.nodes.labels(classes, nodes_t.shape[1])
        of = share if self._among_images else None
        graph_t = self.edges(seen_t, labels, share=of)
        if self.on == "own":
            graph_s = self.edges(seen_s, labels, share=of)
        else:
            graph_s = graph_t if self.edges.weight is None else self.edges.reweight(graph_t, seen_s)
        if self.edge_nodes is not None or graph_s is graph_t:
            graph_s, graph_t = _with(graph_s, nodes_s), _with(graph_t, nodes_t)
        if share is not None and self.nodes.layers > 1:
            # Edges join nodes of one image, but a size may be that of the edges of all.
            graph_s, graph_t = (with_attributes(graph, share=share) for graph in (graph_s, graph_t))
            step = replace(step, share=None)
        return self.loss(graph_s, graph_t, step)


def _scaled_to_sum(relations: tuple[Relation, Relation]) -> bool:
    return any(isinstance(relation, Scaled) and relation.distribution for relation in relations)


def _of_rows(relation: Relation) -> bool:
    """Whether the values of an image's edges are known where these are."""
    if isinstance(relation, Softmax):
        return relation.support == "neighbors" and _of_rows(relation.of)
    if isinstance(relation, Scaled):
        return _of_rows(relation.of)
    if isinstance(relation, Gaussian):
        return relation.sigma != "auto"
    return isinstance(relation, EdgeRelation | GivenWeight | NodeFeatures | Angle)


def _gathered(nodes: NodePair, share: Share) -> NodePair:
    return NodePair(*(share.gather(each[0])[None] for each in nodes))


def _with(graph: Batch, nodes: Tensor) -> Batch:
    return replace_nodes(graph, nodes.flatten(0, 1))
