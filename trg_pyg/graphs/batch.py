"""The only file that knows how a PyG ``Batch`` is laid out inside.

``Batch.from_data_list`` concatenates B small objects in Python; here the same object is made from whole tensors.
"""

from itertools import accumulate
from typing import cast

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg._transfer import can_look
from trg_pyg.errors import require
from trg_pyg.relations.base import (
    Layout,
    PlainGraph,
    check_kind,
    graph_numbers,
    graph_starts,
    layout_of,
    with_attributes,
)
from trg_pyg.step import Share


def make_batch(
    node_attributes: dict[str, Tensor],
    edge_index: Tensor,
    edge_weight: Tensor | None,
    *,
    num_graphs: int,
    edges_per_graph: list[int],
    degree: int | None = None,
) -> Batch:
    """Make the ``Batch`` that ``Batch.from_data_list`` makes of ``num_graphs`` graphs of equal numbers of nodes.

    Args:
        node_attributes: tensors ``[B * n, ...]``, graph after graph; ``x`` is one of them.
        edge_index: ``[2, E]`` with node numbers of the whole batch, grouped by graph.
        edge_weight: ``[E]``, or ``None`` for a graph without weights.
        num_graphs: B.
        edges_per_graph: number of edges of each graph, B numbers that sum to E.
        degree: edges into each node, where all have as many and the edges are sorted by target.

    Returns:
        A batch of which ``batch[i]``, ``to_data_list()``, ``to``, copies and pickles work.
    """
    if torch.compiler.is_compiling():
        return plain_batch(node_attributes, edge_index, edge_weight, num_graphs=num_graphs, degree=degree)
    x = node_attributes["x"]
    nodes = x.shape[0] // num_graphs
    numbers = _numbers(x, num_graphs)
    batch = Batch(_base_cls=Data)
    for name, value in node_attributes.items():
        batch[name] = value
    starts = torch.arange(0, (num_graphs + 1) * nodes, nodes)
    batch._num_graphs = num_graphs
    batch._slice_dict = dict.fromkeys(node_attributes, starts)
    batch._inc_dict = dict.fromkeys(node_attributes, torch.zeros(num_graphs, dtype=torch.long))
    batch.edge_index = edge_index
    if edge_weight is not None:
        batch.edge_weight = edge_weight
    _write_down(batch, torch.tensor([0, *accumulate(edges_per_graph)]), starts[:-1])
    batch.batch = numbers
    set_layout(batch, Layout(edge_index, numbers, num_graphs, degree))
    batch.ptr = torch.arange(0, (num_graphs + 1) * nodes, nodes, device=x.device)
    return batch


def plain_batch(
    node_attributes: dict[str, Tensor],
    edge_index: Tensor,
    edge_weight: Tensor | None,
    *,
    num_graphs: int,
    degree: int | None = None,
    share: Share | None = None,
) -> Batch:
    """Make a :class:`~trg_pyg.relations.base.PlainGraph` of what :func:`make_batch` takes, and whose share it is."""
    x = node_attributes["x"]
    numbers = _numbers(x, num_graphs)
    layout = Layout(edge_index, numbers, num_graphs, degree)
    return cast(Batch, PlainGraph(x, edge_index, numbers, layout, edge_weight, node_attributes.get("image"), share))


def _numbers(x: Tensor, num_graphs: int) -> Tensor:
    return torch.arange(num_graphs, device=x.device).repeat_interleave(len(x) // num_graphs, output_size=len(x))


def set_edges(
    data: Data, edge_index: Tensor, edge_weight: Tensor | None, edges_per_graph: list[int] | None = None
) -> None:
    """Replace the edges of a graph or batch in place, its bookkeeping included, so that ``batch[i]`` stays right.

    Other attributes of the old edges go with them.

    Args:
        data: the graph or batch.
        edge_index: ``[2, E]``, grouped by graph.
        edge_weight: ``[E]``, or ``None`` to leave no weights.
        edges_per_graph: number of edges of each graph of a batch; ``None`` where they are as many as before.

    A batch whose bookkeeping is not of its nodes loses it, see :func:`forget_parts`.
    """
    if isinstance(data, PlainGraph):
        data.edge_index, data.edge_weight = edge_index, edge_weight
        return
    # By name: PyG guesses from sizes whose attribute a tensor is, and takes one label for that of a single edge.
    old = {name for name in data.to_dict() if name.startswith("edge_") and name != "edge_index"}
    for name in old:
        del data[name]
    data.edge_index = edge_index
    if edge_weight is not None:
        data.edge_weight = edge_weight
    if not isinstance(data, Batch):
        return
    starts = graph_starts(data)
    edge_starts = None if starts is None else data._slice_dict.get("edge_index")
    if starts is not None and edges_per_graph is not None:
        edge_starts = torch.tensor([0, *accumulate(edges_per_graph)])
    trusted = layout_of(data) is not None and not can_look(edge_index)
    if starts is None or edge_starts is None or not (trusted or int(edge_starts[-1]) == edge_index.shape[1]):
        forget_parts(data)
        return
    # The dictionaries may be shared with the batch that this one was copied from.
    data._slice_dict = {name: value for name, value in data._slice_dict.items() if name not in old}
    data._inc_dict = {name: value for name, value in data._inc_dict.items() if name not in old}
    _write_down(data, edge_starts, starts[:-1])


def set_layout(data: Data, layout: Layout) -> None:
    """Say what is known of the edges that a graph is going to have."""
    if isinstance(data, PlainGraph):
        data.layout = layout
    else:
        data._layout = layout


def _write_down(batch: Batch, edge_starts: Tensor, node_starts: Tensor) -> None:
    """Enter the first edges and nodes of the graphs in PyG's bookkeeping."""
    batch._slice_dict["edge_index"], batch._inc_dict["edge_index"] = edge_starts, node_starts
    if "edge_weight" in batch:
        batch._slice_dict["edge_weight"], batch._inc_dict["edge_weight"] = edge_starts, torch.zeros_like(node_starts)


def graph_sizes(data: Data) -> list[int]:
    """Numbers of nodes of the graphs in ``data``, as :func:`~trg_pyg.relations.base.graph_numbers` counts them."""
    numbers, graphs = graph_numbers(data)
    return [int(data.num_nodes)] if numbers is None else torch.bincount(numbers, minlength=graphs).tolist()


def join_graphs(data: Data) -> Data:
    """Make one graph of all nodes of a batch, without edges; node attribute ``image`` keeps the old graph numbers.

    What the batch holds for each of its graphs, such as labels, stays as it is.

    Args:
        data: a ``Batch``, or a ``Data`` whose vector ``batch`` says which graph a node is of.
    """
    numbers, _ = graph_numbers(data)
    kept = {name: value for name, value in data.to_dict().items() if not name.startswith("edge_")}
    for name in ("batch", "ptr", "image"):
        kept.pop(name, None)
    joined = Data(**kept, image=numbers if data.batch is None else data.batch.long())
    return Batch.from_data_list([joined]) if isinstance(data, Batch) else joined


def forget_parts(batch: Batch) -> None:
    """Drop PyG's bookkeeping of a batch that is not of its nodes, in place: of a subgraph, or of nodes in any order.

    ``batch[i]`` would cut out wrong nodes; without it PyG says that the graphs cannot be taken apart. The vector
    ``batch`` stays, and ``ptr`` becomes that of the nodes, or goes where they do not lie graph after graph.
    """
    for name in ("_slice_dict", "_inc_dict"):
        if hasattr(batch, name):
            delattr(batch, name)
    if batch.batch is None or "ptr" not in batch:
        return
    if bool((batch.batch.diff() >= 0).all()):
        sizes = torch.tensor([0, *graph_sizes(batch)])
        batch.ptr = sizes.cumsum(0).to(batch.batch.device)
    else:
        del batch["ptr"]


def node_batch(tokens: Tensor) -> Batch:
    """Return the tokens ``[B, N, D]`` of B images as a batch of B graphs without edges."""
    images, _, width = tokens.shape
    edge_index = torch.empty(2, 0, dtype=torch.long, device=tokens.device)
    nodes = {"x": tokens.reshape(-1, width)}
    return make_batch(nodes, edge_index, None, num_graphs=images, edges_per_graph=[0] * images)


def replace_nodes(graph: Data, x: Tensor) -> Data:
    """Return a copy of a graph with other node features on the same edges; weights go, since they were of the old ones.

    Args:
        graph: a graph of M nodes.
        x: ``[M, D]``.

    Raises:
        InputError: there are more or fewer than M rows.
    """
    check_kind(graph)
    require(
        x.shape[0] == graph.num_nodes,
        f"{x.shape[0]} tokens for a graph of {graph.num_nodes} nodes: both networks need the same tokens",
    )
    replaced = with_attributes(graph, x=x)
    set_edges(replaced, graph.edge_index, None)
    return replaced


def with_features(graph: Data, x: Tensor) -> Data:
    """Return a copy of a graph, weights included, with other features of its nodes.

    Args:
        graph: a graph of M nodes.
        x: ``[..., D]``, M vectors in the order of the nodes.
    """
    return with_attributes(graph, x=x.reshape(-1, x.shape[-1]))


def detach_graph(graph: Data) -> Data:
    """Return a copy of a graph whose node features and edge weights carry no gradient."""
    present = {name: value for name in ("x", "edge_weight") if (value := getattr(graph, name)) is not None}
    return with_attributes(graph, **{name: value.detach() for name, value in present.items()})
