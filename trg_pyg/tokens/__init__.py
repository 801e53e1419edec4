"""Tokens: patches of feature maps and of transformers' sequences, the same ones of both networks."""

from trg_pyg.tokens.maps import as_map, common_grid, plane_of, pool_to_grid, shown_grid
from trg_pyg.tokens.normalize import check_type, full_precision, l2_normalize, tell_of_zeros
from trg_pyg.tokens.patch import check_patch, patchify, sample_positions, sample_present, take_tokens
from trg_pyg.tokens.tokenizer import Tokenizer

__all__ = [
    "Tokenizer",
    "as_map",
    "check_patch",
    "check_type",
    "common_grid",
    "full_precision",
    "l2_normalize",
    "patchify",
    "plane_of",
    "pool_to_grid",
    "sample_positions",
    "sample_present",
    "shown_grid",
    "take_tokens",
    "tell_of_zeros",
]
