"""The only file that knows how a PyG ``Batch`` is laid out inside.

``Batch.from_data_list`` concatenates B small objects in Python; here the same object is made from whole tensors.
"""

import copy
from itertools import accumulate

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg.errors import require


def make_batch(
    node_attributes: dict[str, Tensor],
    edge_index: Tensor,
    edge_weight: Tensor | None,
    *,
    num_graphs: int,
    edges_per_graph: list[int],
) -> Batch:
    """Make the ``Batch`` that ``Batch.from_data_list`` makes of ``num_graphs`` graphs of equal numbers of nodes.

    Args:
        node_attributes: tensors ``[B * n, ...]``, graph after graph; ``x`` is one of them.
        edge_index: ``[2, E]`` with node numbers of the whole batch, grouped by graph.
        edge_weight: ``[E]``, or ``None`` for a graph without weights.
        num_graphs: B.
        edges_per_graph: number of edges of each graph, B numbers that sum to E.

    Returns:
        A batch of which ``batch[i]``, ``to_data_list()``, ``to``, copies and pickles work.
    """
    x = node_attributes["x"]
    nodes = x.shape[0] // num_graphs
    batch = Batch(_base_cls=Data)
    for name, value in node_attributes.items():
        batch[name] = value
    starts = torch.arange(0, (num_graphs + 1) * nodes, nodes)
    batch._num_graphs = num_graphs
    batch._slice_dict = dict.fromkeys(node_attributes, starts)
    batch._inc_dict = dict.fromkeys(node_attributes, torch.zeros(num_graphs, dtype=torch.long))
    set_edges(batch, edge_index, edge_weight, edges_per_graph)
    batch.batch = torch.arange(num_graphs, device=x.device).repeat_interleave(nodes, output_size=num_graphs * nodes)
    batch.ptr = torch.arange(0, (num_graphs + 1) * nodes, nodes, device=x.device)
    return batch


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
    """
    # By name: PyG guesses from sizes whose attribute a tensor is, and takes one label for that of a single edge.
    old = {name for name in data.to_dict() if name.startswith("edge_") and name != "edge_index"}
    for name in old:
        del data[name]
    data.edge_index = edge_index
    if edge_weight is not None:
        data.edge_weight = edge_weight
    if not isinstance(data, Batch):
        return
    node_starts = data._slice_dict["x"][:-1]
    edge_starts = (
        data._slice_dict["edge_index"] if edges_per_graph is None else torch.tensor([0, *accumulate(edges_per_graph)])
    )
    # The dictionaries may be shared with the batch that this one was copied from.
    data._slice_dict = {name: value for name, value in data._slice_dict.items() if name not in old}
    data._inc_dict = {name: value for name, value in data._inc_dict.items() if name not in old}
    data._slice_dict["edge_index"], data._inc_dict["edge_index"] = edge_starts, node_starts
    if edge_weight is not None:
        data._slice_dict["edge_weight"], data._inc_dict["edge_weight"] = edge_starts, torch.zeros_like(node_starts)


def graph_sizes(data: Data) -> list[int]:
    """Numbers of nodes of the graphs in ``data``; one number for a plain ``Data``."""
    if isinstance(data, Batch):
        return torch.as_tensor(data.ptr).diff().tolist()
    return [int(data.num_nodes)]


def join_graphs(batch: Batch) -> Batch:
    """Make one graph of all nodes of a batch, without edges; node attribute ``image`` keeps the old graph numbers.

    What the batch holds for each of its graphs, such as labels, stays as it is.
    """
    kept = {name: value for name, value in batch.to_dict().items() if not name.startswith("edge_")}
    for name in ("batch", "ptr", "image"):
        kept.pop(name, None)
    return Batch.from_data_list([Data(**kept, image=batch.batch)])


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
    require(
        x.shape[0] == graph.num_nodes,
        f"{x.shape[0]} tokens for a graph of {graph.num_nodes} nodes: both networks need the same tokens",
    )
    replaced = copy.copy(graph)
    replaced.x = x
    set_edges(replaced, graph.edge_index, None)
    return replaced


def with_features(graph: Data, x: Tensor) -> Data:
    """Return a copy of a graph, weights included, with other features of its nodes.

    Args:
        graph: a graph of M nodes.
        x: ``[..., D]``, M vectors in the order of the nodes.
    """
    changed = copy.copy(graph)
    changed.x = x.reshape(-1, x.shape[-1])
    return changed


def detach_graph(graph: Data) -> Data:
    """Return a copy of a graph whose node features and edge weights carry no gradient."""
    detached = copy.copy(graph)
    if graph.x is not None:
        detached.x = graph.x.detach()
    if graph.edge_weight is not None:
        detached.edge_weight = graph.edge_weight.detach()
    return detached
