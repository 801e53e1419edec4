"""How many rows of a matrix that never exists as a whole are made at a time."""

from torch import Tensor

# More rows make a processor's matrix product no faster, and push the chunk out of its cache. A GPU wants large chunks.
_MOST_ROWS = {"cpu": 1024}


def chunk_rows(like: Tensor, columns: int, chunk_bytes: int) -> int:
    """Return the number of rows of a chunk, at least 1.

    Args:
        like: a tensor of the matrix's type and device.
        columns: columns of the matrix.
        chunk_bytes: largest chunk, in bytes.
    """
    rows = max(1, chunk_bytes // (columns * like.element_size()))
    return min(rows, _MOST_ROWS.get(like.device.type, rows))
