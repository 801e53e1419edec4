"""The contract of a graph builder."""

from abc import abstractmethod
from collections import defaultdict
from typing import ClassVar, Literal, overload

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from trg_pyg.errors import require
from trg_pyg.graphs.batch import (
    forget_parts,
    join_graphs,
    make_batch,
    plain_batch,
    replace_nodes,
    set_edges,
    set_layout,
)
from trg_pyg.relations.base import (
    EdgeRelation,
    check_kind,
    equal_graphs,
    graph_numbers,
    layout_of,
    with_attributes,
)
from trg_pyg.step import Share
from trg_pyg.tokens.normalize import full_precision, l2_normalize

Scope = Literal["image", "batch"]


class GraphBuilder(BaseTransform):
    """Tokens of a batch of images to a PyG ``Batch`` with edges and weights.

    A builder says in :meth:`connect` which nodes are joined, or in :meth:`connect_labelled` if that depends on the
    classes of the images; this class does the rest. Called on tokens
    ``[B, N, D]`` it returns a ``Batch``; called on a PyG ``Data`` or ``Batch`` that carries ``x`` it works as any
    transform of PyG and replaces the edges. The vector ``batch``, of a plain ``Data`` too, says which graph a node is
    of: each is joined as if it were alone, whatever their sizes and the order of their nodes.

    Edges are sorted by target, hence grouped by image where the nodes are. Indices carry no gradient; weights are a
    differentiable function of the tokens. Edges run from ``edge_index[0]`` to ``edge_index[1]``, PyG's source to
    target.

    Args:
        weight: relation of the two ends of an edge; ``None`` builds a graph without ``edge_weight``.
        normalize: scale tokens to unit length before distances and weights (``x`` itself is kept as given).
            Distances of raw features underflow in a Gaussian kernel.
        scope: ``"image"`` makes one graph of each image. ``"batch"`` makes one graph of all tokens of the batch, so
            that like patterns of different images are joined: a ``Batch`` of one graph whose node attribute
            ``image`` says which image a token is of.

    Attributes:
        regular: whether as many edges run into every node of a graph.

    Raises:
        InputError: an option or the input is impossible; the message says which.
    """

    regular: ClassVar[bool] = False

    def __init__(self, weight: EdgeRelation | None, *, normalize: bool = True, scope: Scope = "image") -> None:
        require(scope in ("image", "batch"), f"scope={scope}: choose image or batch")
        self.weight, self.normalize, self.scope = weight, normalize, scope

    @abstractmethod
    def connect(self, x: Tensor) -> Tensor:
        """Join the nodes of B graphs of N nodes each.

        Args:
            x: ``[B, N, D]``, without gradient, normalised if the builder normalises.

        Returns:
            ``edge_index`` ``[2, E]`` sorted by target; node i of graph b has the number ``b * N + i``.
        """

    def connect_labelled(self, x: Tensor, labels: Tensor) -> Tensor:
        """Join the nodes knowing their classes, which most builders do not look at.

        Args:
            x: as for :meth:`connect`.
            labels: class of each node, ``[B, N]``, int64.
        """
        return self.connect(x)

    def connect_share(self, x: Tensor, share: Share, every: bool) -> Tensor:
        """Join the nodes of one graph to those of a process's own images; builders that need not look at others do so.

        Args:
            x: ``[1, N, D]``, as for :meth:`connect`.
            share: whose images, of those that the nodes are of.
            every: return all edges, alike on every process, and share out the work alone.
        """
        edge_index, own = self.connect(x), share.rows(x.shape[1])
        return edge_index if every else edge_index[:, (edge_index[1] >= own.start) & (edge_index[1] < own.stop)]

    @overload
    def __call__(
        self, data: Tensor, labels: Tensor | None = None, *, share: Share | None = None, every: bool = False
    ) -> Batch: ...

    @overload
    def __call__(self, data: Data, labels: None = None) -> Data: ...

    def __call__(
        self, data: Tensor | Data, labels: Tensor | None = None, *, share: Share | None = None, every: bool = False
    ) -> Batch | Data:
        """Build the graph of tokens ``[B, N, D]``, or rebuild the edges of a copy of a ``Data`` or ``Batch``.

        Args:
            data: tokens, or a graph with ``x``; the classes of its nodes are its attribute ``y``, ``[M]``, or those of
                the graphs of a batch, ``[B]``.
            labels: classes of the tokens, ``[B, N]``, int64.
            share: of tokens that form one graph: make only the edges to those of a process's own images, which are
                the rows of a loss that several processes share out. Edges must not depend on labels then,
                and it is a :class:`~trg_pyg.relations.base.PlainGraph`.
            every: with ``share``, make all edges all the same, but let each process look for its own ones alone.
        """
        if isinstance(data, Tensor):
            graph = self._plain(data, labels, share=share, every=every)
            # The edges of a share are no whole graph, and compilers cannot follow PyG's objects.
            return graph if share is not None or torch.compiler.is_compiling() else self._as_batch(graph)
        require(labels is None, "labels beside a graph: give the class of each node as the graph's attribute y")
        return self.forward(with_attributes(data))

    def _plain(
        self, tokens: Tensor, labels: Tensor | None = None, *, share: Share | None = None, every: bool = False
    ) -> Batch:
        """Build the graph that a call builds, as a :class:`~trg_pyg.relations.base.PlainGraph`."""
        require(
            tokens.dim() == 3 and tokens.numel() > 0 and tokens.is_floating_point(),
            f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}: "
            "a builder takes floating-point tokens [images, tokens, width], none of them 0",
        )
        require(
            labels is None or labels.shape == tokens.shape[:2],
            f"labels of shape {None if labels is None else tuple(labels.shape)} for tokens {tuple(tokens.shape)}: "
            "give the class of each token, [images, tokens]",
        )
        images, per_image, width = tokens.shape
        nodes = {"x": tokens.reshape(-1, width)}
        graphs = tokens
        if self.scope == "batch":
            nodes["image"] = torch.arange(images, device=tokens.device).repeat_interleave(per_image)
            graphs = tokens.reshape(1, -1, width)
        features = self._features(nodes["x"])
        placed = features.detach().view_as(graphs)
        if share is None:
            edge_index = self._connect(placed, labels)
        else:
            require(len(graphs) == 1, f"{len(graphs)} graphs of a share: choose scope=batch, or give no share")
            edge_index = self.connect_share(placed, share, every)
        return plain_batch(
            nodes,
            edge_index,
            self._weigh(features, edge_index, graphs.shape[0]),
            num_graphs=graphs.shape[0],
            degree=self._degree(graphs.shape[1]),
            share=None if every else share,
        )

    def _as_batch(self, graph: Batch) -> Batch:
        graphs, edge_index = graph.layout.graphs, graph.edge_index
        counts = self._edges_per_graph(edge_index, graphs, graph.num_nodes // graphs)
        return make_batch(
            {"x": graph.x} | ({} if graph.image is None else {"image": graph.image}),
            edge_index,
            graph.edge_weight,
            num_graphs=graphs,
            edges_per_graph=counts,
            degree=graph.layout.degree,
        )

    def forward(self, data: Data) -> Data:
        """Set the edges of ``data``, in place."""
        check_kind(data)
        x = data.x
        require(
            isinstance(x, Tensor) and x.dim() == 2 and x.is_floating_point() and x.numel() > 0,
            f"{data}: a builder needs floating-point node features x of shape [nodes, width], none of them 0",
        )
        features, layout = self._features(x), layout_of(data)
        if layout is not None and self.scope == "image":
            equal, size = layout.graphs, len(x) // layout.graphs
            edge_index = self._connect(features.detach().view(equal, size, -1), _node_labels(data, layout.batch, equal))
            edges_per_graph = self._edges_per_graph(edge_index, equal, size)
            set_layout(data, layout._replace(edge_index=edge_index, degree=self._degree(size)))
        else:
            data, edge_index, edges_per_graph, equal = self._connect_any(data, features)
        edge_weight = self._weigh(features, edge_index, equal)
        set_edges(data, edge_index, edge_weight, edges_per_graph)
        return data

    def reweight(self, graph: Data, tokens: Tensor) -> Data:
        """Score other tokens on the edges of a graph, as when a student is measured on its teacher's graph.

        Args:
            graph: a graph that this builder made.
            tokens: ``[B, N, D']`` or ``[M, D']``, as many nodes as the graph has.

        Returns:
            A copy of ``graph`` with these tokens as ``x`` and their weights; ``edge_index`` is the same tensor.

        Raises:
            InputError: the graph has other numbers of nodes, or the tokens are none.
        """
        require(
            tokens.dim() >= 2 and tokens.numel() > 0 and tokens.is_floating_point(),
            f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}: "
            "give floating-point tokens [images, tokens, width] or [nodes, width], none of them 0",
        )
        scored = replace_nodes(graph, tokens.reshape(-1, tokens.shape[-1]))
        weight = self._weigh(self._features(scored.x), graph.edge_index, equal_graphs(graph))
        set_edges(scored, graph.edge_index, weight)
        return scored

    def fitted(self, nodes: int) -> list[str]:
        """Say what of the options a graph of that many nodes cannot have, and what it has instead."""
        return []

    def num_edges(self, nodes: int) -> int | None:
        """Return the edges of a graph of that many nodes; ``None`` where they depend on what the nodes are."""
        return None

    def _features(self, x: Tensor) -> Tensor:
        return l2_normalize(x) if self.normalize else full_precision(x)

    def _connect(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.connect(x) if labels is None else self.connect_labelled(x, labels.reshape(x.shape[:2]))

    def _weigh(self, features: Tensor, edge_index: Tensor, num_graphs: int) -> Tensor | None:
        return None if self.weight is None else self.weight.between(features, edge_index, num_graphs)

    def _degree(self, nodes: int) -> int | None:
        edges = self.num_edges(nodes)
        return edges // nodes if self.regular and edges is not None else None

    def _edges_per_graph(self, edge_index: Tensor, graphs: int, nodes: int) -> list[int]:
        """Count the edges of each graph: where their number is fixed, without a wait for the device."""
        fixed = self.num_edges(nodes)
        if fixed is not None:
            return [fixed] * graphs
        return torch.bincount(edge_index[1] // nodes, minlength=graphs).tolist()

    def _connect_any(self, data: Data, features: Tensor) -> tuple[Data, Tensor, list[int], int]:
        """Connect graphs of any sizes, whose nodes come in any order; the fourth result is how many are equal."""
        numbers, graphs = graph_numbers(data)
        labels = _node_labels(data, numbers, graphs)
        if self.scope == "batch" and numbers is not None:
            data, numbers = join_graphs(data), None
        sizes = [len(features)] if numbers is None else torch.bincount(numbers, minlength=graphs).tolist()
        if numbers is None or bool((numbers.diff() >= 0).all()):
            edge_index, edges_per_graph = self._connect_ragged(features.detach(), sizes, labels)
            equal = len(sizes) if len(set(sizes)) == 1 else 1
        else:
            # Graph after graph for the search, then back to the nodes' own order.
            order, equal = numbers.argsort(stable=True), 1
            labels = None if labels is None else labels[order]
            edge_index, edges_per_graph = self._connect_ragged(features.detach()[order], sizes, labels)
            edge_index = order[edge_index]
            edge_index = edge_index[:, edge_index[1].argsort(stable=True)]
            if isinstance(data, Batch):
                forget_parts(data)
        return data, edge_index, edges_per_graph, equal

    def _connect_ragged(self, x: Tensor, sizes: list[int], labels: Tensor | None) -> tuple[Tensor, list[int]]:
        """Connect graphs of unequal sizes: all graphs of one size at a time, then back in their order."""
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + size)
        of_size: dict[int, list[int]] = defaultdict(list)
        for number, size in enumerate(sizes):
            of_size[size].append(number)
        edges: list[Tensor] = [torch.empty(2, 0, dtype=torch.long, device=x.device)] * len(sizes)
        of_size.pop(0, None)
        for size, numbers in of_size.items():
            nodes = torch.cat([torch.arange(starts[g], starts[g] + size, device=x.device) for g in numbers])
            stacked = x[nodes].view(len(numbers), size, -1)
            edge_index = self._connect(stacked, None if labels is None else labels[nodes])
            counts = self._edges_per_graph(edge_index, len(numbers), size)
            for place, (g, part) in enumerate(zip(numbers, edge_index.split(counts, dim=1), strict=True)):
                edges[g] = part + (starts[g] - place * size)
        return torch.cat(edges, dim=1), [part.shape[1] for part in edges]

    def __repr__(self) -> str:
        shown = ((name, value) for name, value in vars(self).items() if not isinstance(value, Tensor))
        options = ", ".join(f"{name}={value}" for name, value in shown if name != "weight")
        weight = type(self.weight).__name__ if self.weight else None
        return f"{type(self).__name__}(weight={weight}, {options})"


def _node_labels(data: Data, numbers: Tensor | None, graphs: int) -> Tensor | None:
    """Return the class of each node, if each node or each graph of the batch says it."""
    y = getattr(data, "y", None)
    if not isinstance(y, Tensor) or y.dim() != 1:
        return None
    if len(y) == data.num_nodes:
        return y
    return y[numbers] if numbers is not None and len(y) == graphs else None
