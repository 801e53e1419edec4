"""The only file that knows how a PyG ``Batch`` is laid out inside.

``Batch.from_data_list`` concatenates B small objects in Python; here the same object is made from whole tensors.
"""

import copy
from itertools import accumulate

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

EDGE_ATTRIBUTES = ("edge_index", "edge_weight")


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


def set_edges(batch: Batch, edge_index: Tensor, edge_weight: Tensor | None, edges_per_graph: list[int]) -> None:
    """Replace the edges of a batch in place, its bookkeeping included, so that ``batch[i]`` stays right."""
    edge_starts = torch.tensor([0, *accumulate(edges_per_graph)])
    node_starts = batch._slice_dict["x"][:-1]
    # The dictionaries may be shared with the batch that this one was copied from.
    batch._slice_dict, batch._inc_dict = dict(batch._slice_dict), dict(batch._inc_dict)
    for name, value in zip(EDGE_ATTRIBUTES, (edge_index, edge_weight), strict=True):
        if value is None:
            batch.pop(name, None)
            batch._slice_dict.pop(name, None)
            batch._inc_dict.pop(name, None)
            continue
        batch[name] = value
        batch._slice_dict[name] = edge_starts
        batch._inc_dict[name] = node_starts if name == "edge_index" else torch.zeros_like(node_starts)


def graph_sizes(data: Data) -> list[int]:
    """Numbers of nodes of the graphs in ``data``; one number for a plain ``Data``."""
    if isinstance(data, Batch):
        return torch.as_tensor(data.ptr).diff().tolist()
    return [int(data.num_nodes)]


def join_graphs(batch: Batch) -> Batch:
    """Make one graph of all nodes of a batch, without edges; node attribute ``image`` keeps the old graph numbers."""
    names = [name for name in batch.node_attrs() if name not in ("batch", "ptr", "image")]
    return Batch.from_data_list([Data(**{name: batch[name] for name in names}, image=batch.batch)])


def detach_graph(graph: Data) -> Data:
    """Return a copy of a graph whose node features and edge weights carry no gradient."""
    detached = copy.copy(graph)
    detached.x = graph.x.detach()
    if graph.edge_weight is not None:
        detached.edge_weight = graph.edge_weight.detach()
    return detached
