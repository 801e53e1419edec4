"""Message passing, readout and projections."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.nn.attention_fusion import AttentionFusion
from trg_pyg.nn.blocks import add_rows, chunk_rows, edge_blocks, is_dense, one_operation, pair_index
from trg_pyg.nn.conv_norm import ConvNorm
from trg_pyg.nn.global_context import GlobalContext
from trg_pyg.nn.gnn import Propagation, Readout, TokenGNN
from trg_pyg.nn.neighbour_sum import neighbour_sum
from trg_pyg.nn.projection import Projection

__all__ = [
    "AttentionFusion",
    "ConvNorm",
    "GlobalContext",
    "Projection",
    "Propagation",
    "Readout",
    "TokenGNN",
    "add_rows",
    "chunk_rows",
    "edge_blocks",
    "is_dense",
    "neighbour_sum",
    "one_operation",
    "pair_index",
]
