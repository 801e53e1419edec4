"""Height and width of images: one number where they are the same."""

from typing import Any

# In pixels: the side of squares, or height and width.
Size = int | tuple[int, int]


def sides(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def size_of(height: int, width: int) -> Size:
    """Return a size, one number for a square."""
    return height if height == width else (height, width)


def shown_size(size: Size) -> str:
    """Return a size for a reader, ``24x40``."""
    height, width = sides(size)
    return f"{height}x{width}"


def shown_clip(size: Size, frames: int) -> str:
    """Return a size for a reader, ``8 frames of 24x40``; without frames that of images."""
    return f"{frames} frames of {shown_size(size)}" if frames else shown_size(size)


def read_size(value: Any, least: Size = 1) -> Size:
    """Return a size that was stored as JSON.

    Raises:
        ValueError: it is none, or one of its sides is below that of ``least``.
    """
    both = value if isinstance(value, list) else [value, value]
    if [type(side) for side in both] != [int, int] or any(a < b for a, b in zip(both, sides(least), strict=True)):
        raise ValueError("a value of another kind")
    return size_of(*both)
