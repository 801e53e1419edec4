"""Where in a map the objects and the attention are, and errors that are weighted by both."""

import math

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.losses.base import check_maps
from trg_pyg.tokens.normalize import full_precision

_TEMPERATURE = 0.5


def attention_masks(features: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return how much each cell and each channel of a map is attended to, of mean 1 each (FGD, arXiv 2111.11837).

    .. math:: A^s = HW\, \mathrm{softmax}\big(\tfrac{1}{C} \sum_c |F| / \tau\big) \qquad
        A^c = C\, \mathrm{softmax}\big(\tfrac{1}{HW} \sum_{xy} |F| / \tau\big) \qquad \tau = 0.5

    Args:
        features: ``[B, C, H, W]``.

    Returns:
        ``[B, 1, H, W]`` and ``[B, C, 1, 1]``, float32 at least.
    """
    size = full_precision(features).abs()
    cells = (size.mean(1) / _TEMPERATURE).flatten(1).softmax(1).view(len(size), 1, *size.shape[2:])
    channels = (size.mean((2, 3)) / _TEMPERATURE).softmax(1)[:, :, None, None]
    return cells * math.prod(size.shape[2:]), channels * size.shape[1]


def box_masks(boxes: Tensor, there: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    r"""Return how much each cell of a grid weighs as part of an object and as background (FGD, arXiv 2111.11837).

    A box covers the cells that it touches. A cell of objects weighs 1 over the cells of the smallest box that covers
    it; cells that no box covers share a weight of 1.

    Args:
        boxes: left, top, right and bottom as shares of the sides, ``[B, M, 4]``.
        there: which of them count, bool ``[B, M]``.
        grid: H and W.

    Returns:
        Two of ``[B, 1, H, W]``, in the type of the boxes.

    Raises:
        InputError: the two are no boxes of as many images.
    """
    require(
        boxes.dim() == 3 and boxes.shape[2] == 4 and there.shape == boxes.shape[:2],
        f"boxes {tuple(boxes.shape)}, and which count {tuple(there.shape)}: give [images, n, 4] and [images, n]",
    )
    left, top, right, bottom = boxes.unsqueeze(3).unbind(2)
    rows, columns = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) for side in grid)
    high = (rows + 1 > top * grid[0]) & (rows < bottom * grid[0])
    wide = (columns + 1 > left * grid[1]) & (columns < right * grid[1])
    inside = high.unsqueeze(3) & wide.unsqueeze(2) & there[:, :, None, None]
    cells = inside.sum((2, 3), keepdim=True).clamp(min=1)
    objects = (inside / cells.to(boxes.dtype)).amax(1, keepdim=True)
    background = (objects == 0).to(boxes.dtype)
    return objects, background / background.sum((2, 3), keepdim=True).clamp(min=1)


def focal_errors(student: Tensor, teacher: Tensor, boxes: Tensor, there: Tensor) -> dict[str, Tensor]:
    r"""Return how far a map is from the teacher's in objects and background, and in attention (FGD, arXiv 2111.11837).

    .. math:: \frac{1}{B} \sum M A^s_T A^c_T (F_S - F_T)^2 \qquad
        \frac{1}{B} \big\|A^s_S - A^s_T\big\|_1 \qquad \frac{1}{B} \big\|A^c_S - A^c_T\big\|_1

    with M the mask of the objects or that of the background, :func:`box_masks`, and A of :func:`attention_masks`.

    Args:
        student: ``[B, C, H, W]``.
        teacher: the same; detached.
        boxes: ``[B, M, 4]``.
        there: which of them count, bool ``[B, M]``.

    Returns:
        Scalars ``objects``, ``background``, ``cells`` and ``channels``, float32 at least.

    Raises:
        InputError: the maps are of other sizes, or there are not as many images with boxes.
    """
    check_maps(student, teacher)
    require(
        student.shape == teacher.shape,
        f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)}: give both of one size",
    )
    student, teacher = full_precision(student), full_precision(teacher.detach())
    height, width = teacher.shape[2:]
    objects, background = (mask.to(teacher.dtype) for mask in box_masks(boxes, there, (height, width)))
    (cells_s, channels_s), (cells, channels) = attention_masks(student), attention_masks(teacher)
    error = cells * channels * (student - teacher).square()
    images = len(student)
    return {
        "objects": (objects * error).sum() / images,
        "background": (background * error).sum() / images,
        "cells": (cells_s - cells).abs().sum() / images,
        "channels": (channels_s - channels).abs().sum() / images,
    }
