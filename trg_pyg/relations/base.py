"""The contract of a relation: what a graph says of how its nodes stand to one another."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from trg_pyg._transfer import can_look
from trg_pyg.errors import InputError, require
from trg_pyg.step import Share
from trg_pyg.tokens.normalize import full_precision

Place = Literal["edges", "triples", "nodes", "vectors"]


class Layout(NamedTuple):
    """What a builder knows of the graphs that it made, for those who cannot look at them without a wait.

    It holds as long as a graph has these very tensors.

    Attributes:
        edge_index: the edges, sorted by target; none joins two graphs.
        batch: number of the graph of each node, in ascending order.
        graphs: number of graphs, all of as many nodes.
        degree: edges into each node that has any, where all these have as many.
    """

    edge_index: Tensor
    batch: Tensor
    graphs: int
    degree: int | None


@dataclass
class PlainGraph:
    """What losses need of PyG's ``Batch`` where there can be none: in code that is being compiled, or of a share.

    Compilers cannot follow PyG's bookkeeping, and the edges of a share are no whole graph. A builder made the edges and
    nobody changes the tensors in place, so that nobody need look whether they are right.
    """

    x: Tensor
    edge_index: Tensor
    batch: Tensor
    layout: Layout
    edge_weight: Tensor | None = None
    image: Tensor | None = None
    # Where other processes have the edges of the same graph into other nodes.
    share: Share | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all graphs together."""
        return self.x.shape[0]


def layout_of(graph: Data | PlainGraph) -> Layout | None:
    """Return what a builder knew of a graph; ``None`` where none made it, or where it was changed since."""
    layout: Layout | None = graph.layout if isinstance(graph, PlainGraph) else getattr(graph, "_layout", None)
    same = (
        layout is not None
        and layout.edge_index is graph.edge_index
        and layout.batch is graph.batch
        and len(layout.batch) == graph.num_nodes
    )
    return layout if same else None


def _trusted(graph: Data | PlainGraph) -> Layout | None:
    """Return what a builder knew of a graph where nobody looks whether it is still so."""
    layout = layout_of(graph)
    return layout if layout and (isinstance(graph, PlainGraph) or not can_look(layout.batch)) else None


def degree_of(graph: Data | PlainGraph) -> int | None:
    """Return how many edges run into each node that has any, one's after another's; ``None`` where it is not known."""
    layout = layout_of(graph)
    return None if layout is None else layout.degree or None


def with_attributes(graph: Data, **changed: Any) -> Data:
    """Return a copy of a graph with other attributes in the place of some."""
    if isinstance(graph, PlainGraph):
        plain: Any = replace(graph, **changed)
        return cast(Data, plain)
    copied = copy.copy(graph)
    for name, value in changed.items():
        copied[name] = value
    return copied


class Relation(nn.Module, ABC):
    """A differentiable function of a graph, the same for student and teacher: what a divergence compares.

    Attributes:
        on: what a value belongs to: an edge, a triple of nodes (an anchor and two of its neighbours), or a node; or an
            edge has a whole vector.
        nonnegative: whether no value is below 0.
        distribution: whether the values of the edges into a node, or along a row, are probabilities that sum to 1.
    """

    on: ClassVar[Place] = "edges"
    nonnegative: bool = False
    distribution: bool = False

    @abstractmethod
    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the values of a graph with ``x`` ``[M, D]`` and ``edge_index`` ``[2, E]``.

        Args:
            graph: the graph.
            block: one of :meth:`blocks`, for its share of the values.
        """

    def blocks(self, graph: Data) -> list[Any]:
        """Return the blocks in which the values fit in memory, ``[None]`` where they fit at once."""
        return [None]


class EdgeRelation(Relation):
    """A relation with one value for each edge, from the features of its two ends alone.

    Such a relation is also what a graph builder takes as its ``weight``.
    """

    @abstractmethod
    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        """Return the value of each edge.

        Args:
            x: node features ``[M, D]``, float32 or float64.
            edge_index: ``[2, E]``.
            num_graphs: number of graphs of equal size that the nodes form, in their order; more than 1 promises that
                no edge joins two of them.

        Returns:
            ``[E]``.
        """

    def forward(self, graph: Data, block: Any = None) -> Tensor:
        """Return the value of each edge, ``[E]``."""
        check_graph(graph)
        return self.between(features_of(graph), graph.edge_index, equal_graphs(graph))


def features_of(graph: Data) -> Tensor:
    """Return the features ``[M, D]`` of a graph's nodes in float32 at least.

    Raises:
        InputError: it has none, or they are no floating-point numbers.
    """
    if graph.x is None:
        raise InputError("the graph has no node features x, which this relation compares")
    return full_precision(graph.x)


def weights_of(graph: Data) -> Tensor | None:
    """Return the weight of each edge ``[E]`` in float32 at least, or ``None``.

    Raises:
        InputError: there is not one for each edge, or they are no floating-point numbers.
    """
    weight = graph.edge_weight
    if weight is None:
        return None
    edges = graph.edge_index.shape[1]
    require(weight.shape == (edges,), f"edge_weight {tuple(weight.shape)} for {edges} edges: give one an edge, [E]")
    return full_precision(weight)


def check_graph(graph: Data, *, edges: bool = True) -> None:
    """Refuse what is no graph.

    Between which nodes edges are is looked at where it costs no wait.

    Args:
        graph: a graph or batch.
        edges: whether it needs edges.

    Raises:
        InputError: it is no ``Data`` and no ``Batch`` of these, such as a list or a ``HeteroData``; it has features
            other than ``[M, D]``, M and D at least 1; no edges or other ones than int64 ``[2, E]``; or an edge of a
            node that there is not.
    """
    check_kind(graph)
    x, edge_index = graph.x, graph.edge_index
    require(
        x is None or (isinstance(x, Tensor) and x.dim() == 2 and x.numel() > 0),
        f"node features of shape {_shape(x)}: give x as [nodes, width], none of them 0",
    )
    if edge_index is None and not edges:
        return
    require(
        isinstance(edge_index, Tensor)
        and edge_index.dim() == 2
        and edge_index.shape[0] == 2
        and edge_index.dtype == torch.int64,
        f"edge_index of shape {_shape(edge_index)} and type {getattr(edge_index, 'dtype', None)}: "
        "give int64 [2, edges]",
    )
    nodes = int(graph.num_nodes)
    require(nodes > 0, "a graph without nodes: give at least 1")
    if edge_index.numel() > 0 and can_look(edge_index) and not isinstance(graph, PlainGraph):
        low, high = (int(bound) for bound in edge_index.aminmax())
        require(
            low >= 0 and high < nodes,
            f"edge_index names node {low if low < 0 else high} of a graph of {nodes} nodes, numbered from 0",
        )


def check_kind(graph: Any) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` for a list of graphs, nodes of several types, and so on."""
    many = isinstance(graph, list | tuple)
    require(
        isinstance(graph, Data | PlainGraph),
        f"a {type(graph).__name__} where one graph is needed: give a PyG Data or Batch"
        + (", such as Batch.from_data_list of the list" if many else ""),
    )


def _shape(x: Any) -> tuple[int, ...] | None:
    return tuple(x.shape) if isinstance(x, Tensor) else None


def graph_numbers(graph: Data) -> tuple[Tensor | None, int]:
    """Return the number of the graph that each node is of, ``[M]``, and how many graphs there are.

    The vector ``batch`` says it, of a plain ``Data`` as of a ``Batch``, in any order; without one ``ptr`` does. What is
    taken out of a ``Batch`` (``subgraph``) has a vector of its own beside the ``ptr`` of the whole, so the vector
    counts. Its values are looked at where that costs no wait.

    Returns:
        ``None`` and 1 where a ``Data`` has neither: it is a single graph.

    Raises:
        InputError: it is not one whole number a node, at least 0; or a ``Batch`` has neither.
    """
    if layout := _trusted(graph):
        return layout.batch, layout.graphs
    nodes, numbers, known = int(graph.num_nodes), graph.batch, int(getattr(graph, "_num_graphs", 0))
    if numbers is None:
        if "ptr" not in graph:
            require(
                not isinstance(graph, Batch),
                "a Batch without batch and ptr does not say which graph a node is of: make it by Batch.from_data_list",
            )
            return None, 1
        ptr = torch.as_tensor(graph["ptr"])
        require(
            ptr.dim() == 1
            and len(ptr) > 1
            and int(ptr[0]) == 0
            and int(ptr[-1]) == nodes
            and bool((ptr.diff() >= 0).all()),
            f"ptr {ptr.tolist()} of {nodes} nodes: it begins with 0, ends with the number of nodes and never falls",
        )
        sizes = ptr.diff()
        return torch.arange(len(sizes), device=ptr.device).repeat_interleave(sizes), len(sizes)
    whole = isinstance(numbers, Tensor) and not (numbers.is_floating_point() or numbers.is_complex())
    require(
        whole and numbers.shape == (nodes,) and numbers.dtype != torch.bool,
        f"batch of shape {_shape(numbers)} and type {getattr(numbers, 'dtype', type(numbers).__name__)} for {nodes} "
        "nodes: give the number of the graph of each node, int64 [nodes]",
    )
    numbers = numbers.long()
    if nodes == 0 or (known and not can_look(numbers)):
        return numbers, max(known, 1)
    low, high = (int(bound) for bound in numbers.aminmax())
    require(low >= 0, f"batch names graph {low}: graphs are numbered from 0")
    if high >= max(known, nodes):  # numbers of a data set, as large as they may be
        return numbers.unique(return_inverse=True)[1], len(numbers.unique())
    return numbers, max(known, high + 1)


def graph_starts(graph: Data) -> Tensor | None:
    """Return the first node of each graph of a ``Batch`` and the number of nodes, ``[B + 1]``, on the CPU.

    ``None`` for a ``Data``, and where PyG's bookkeeping is not of these nodes or they do not lie graph after graph, as
    in a subgraph. The bookkeeping lies on the CPU, so that asking does not wait for a GPU.
    """
    starts: Tensor | None = getattr(graph, "_slice_dict", {}).get("x")
    if _trusted(graph):
        return starts
    if not isinstance(graph, Batch) or starts is None or int(starts[-1]) != graph.num_nodes:
        return None
    numbers = graph.batch
    if isinstance(numbers, Tensor) and can_look(numbers):
        expected = torch.arange(len(starts) - 1).repeat_interleave(starts.diff())
        if numbers.shape != expected.shape or not bool((numbers == expected).all()):
            return None
    return starts


def equal_graphs(graph: Data) -> int:
    """Return how many graphs of equal size the nodes form, in their order; 1 where it is not known that they are equal.

    Where it costs no wait it is seen that no edge joins two of them.
    """
    if layout := _trusted(graph):
        return layout.graphs
    starts = graph_starts(graph)
    if starts is None or len(starts) < 3:
        return 1
    sizes = starts.diff()
    size = int(sizes[0])
    if size == 0 or not bool((sizes == size).all()):
        return 1
    if can_look(graph.edge_index):
        source, target = graph.edge_index // size
        if not torch.equal(source, target):
            return 1
    return len(sizes)
