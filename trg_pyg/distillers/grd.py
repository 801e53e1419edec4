"""Graph relation distillation."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.queue import VectorQueue
from trg_pyg.errors import InputError, require
from trg_pyg.losses.affinity import AffinityLoss, pixel_embedding
from trg_pyg.losses.instance_graphs import (
    WINDOW,
    bank_edge_error,
    bank_pixel_error,
    edge_error,
    instance_means,
    node_error,
    window_means,
)
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.models.unet import PIXEL_EMBEDDING
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.instance_segmentation import InstanceSegmentation


class GRD(TermDistiller):
    r"""Affinities of pixels and graphs of instances, within images and across (arXiv 2401.06370).

    .. math:: L = L_{labels} + 10 L_{pixels} + 0.1 L_{nodes} + 0.1 L_{edges} + L_{bank\,edges} + 24 L_{bank\,pixels}

    * pixels: the pixels' affinities, :class:`~trg_pyg.losses.affinity.AffinityLoss`; alone it is affinity distillation.
    * nodes, edges: an instance is the mean of its pixels' embeddings, background is none; how far they are from the
      teacher's, and the cosines of all pairs in an image, :func:`~trg_pyg.losses.instance_graphs.edge_error`.
    * bank_edges, bank_pixels: cosines to instances, and products with windows of 7 x 7 pixels, of other training
      images. Those are the teacher's on both sides; the latest ``bank`` images are kept, the batch's among them, and
      ``drawn`` of them taken in each step.

    The weights are the authors'. Their code sums the last part over the images of a batch and of the bank; here it is a
    mean, and 24 keeps its strength at their 2 and 12 images. An image without an instance has graph terms of 0; where
    their code leaves images of one label out, one instance without background has its node here.

    Args:
        student: the student's logits, with an embedding of each pixel.
        teacher: the teacher's.
        pixel_weight: weight of pixels.
        node_weight: weight of nodes.
        edge_weight: weight of edges.
        bank_edge_weight: weight of bank_edges.
        bank_pixel_weight: weight of bank_pixels.
        bank: images that are kept, a batch or more.
        drawn: of these, that a step compares with, or as many as there are.
        **options: ce_weight, of the losses of the labels, and kd_weight, tau and standardize of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, ``drawn`` is not from 1 to ``bank``, or the networks
            do not answer for as many pixels and classes; in a step, the batch has more images than the bank, or an
            instance a higher number than any that was bound.
    """

    taps: ClassVar[Taps] = "none"
    tasks: ClassVar[tuple[type[Task], ...]] = (InstanceSegmentation,)

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        pixel_weight: float = 10.0,
        node_weight: float = 0.1,
        edge_weight: float = 0.1,
        bank_edge_weight: float = 1.0,
        bank_pixel_weight: float = 24.0,
        bank: int = 32,
        drawn: int = 12,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        check_weights(
            pixel_weight=pixel_weight,
            node_weight=node_weight,
            edge_weight=edge_weight,
            bank_edge_weight=bank_edge_weight,
            bank_pixel_weight=bank_pixel_weight,
        )
        require(1 <= drawn <= bank, f"drawn={drawn}: a step compares with 1 to bank={bank} images")
        pixels = check_networks(student, teacher).pixels
        require(
            len(student.pixels) == 2 and student.pixels == pixels,
            f"GRD compares embeddings of pixels: the student has {student.pixels or 'none'}, the teacher "
            f"{pixels or 'none'}; choose networks such as unet",
        )
        self.weights = {
            "pixels": pixel_weight,
            "nodes": node_weight,
            "edges": edge_weight,
            "bank_edges": bank_edge_weight,
            "bank_pixels": bank_pixel_weight,
        }
        self.size, self.drawn = bank, drawn
        self.windows = -(-pixels[0] // WINDOW) * -(-pixels[1] // WINDOW)
        self.affinity = AffinityLoss()
        self.most = 1
        self.bank: VectorQueue | None = None

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the bank, with places for as many instances as an image has at the most."""
        super().bind(targets, generator)
        self.most = max(int(targets.max()), 1)
        if self.weights["bank_edges"] or self.weights["bank_pixels"]:
            width = self.most * (PIXEL_EMBEDDING + 1) + self.windows * PIXEL_EMBEDDING
            self.bank = VectorQueue(self.size, width)

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of each part whose weight is not 0."""
        banked = bool(self.weights["bank_edges"] or self.weights["bank_pixels"])
        if banked and self.bank is None:
            raise InputError("GRD has no bank of images yet: call bind with the label maps of the training set")
        of_student, of_teacher = (pixel_embedding(step.labelled(each.logits)) for each in (student, teacher))
        of_teacher = of_teacher.detach()
        means, there = instance_means(of_teacher, step.target, self.most)
        windows = window_means(of_teacher)
        kept = None
        if self.bank is not None:
            rows = torch.cat([means.flatten(1), there.to(means.dtype), windows.flatten(1)], dim=1)
            vectors, filled = self.bank.push(rows)
            order = to_device(torch.randperm(self.size, generator=step.generator), vectors.device)
            # At random, those that have an image before those that have none yet.
            places = order[(~filled[order]).int().argsort(stable=True)[: self.drawn]]
            kept = vectors[places], filled[places]
        parts = self.compare(of_student, of_teacher, step.target, means, there, windows, kept)
        return {name: (self.weights[name], value) for name, value in parts.items()}

    def compare(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        means: Tensor,
        there: Tensor,
        windows: Tensor,
        kept: tuple[Tensor, Tensor] | None,
    ) -> dict[str, Tensor]:
        """Return each part whose weight is not 0.

        Args:
            student: embeddings ``[B, D, H, W]``.
            teacher: the same.
            labels: ``[B, H, W]``.
            means: the teacher's instances ``[B, L, D]``.
            there: which there are, ``[B, L]``.
            windows: of the teacher, ``[B, P, D]``.
            kept: rows of the bank, and which of them are filled.
        """
        weights, parts = self.weights, {}
        with torch.autocast(student.device.type, enabled=False):
            if weights["pixels"]:
                parts["pixels"] = self.affinity(student, teacher)
            if weights["nodes"] or weights["edges"] or weights["bank_edges"]:
                own, _ = instance_means(student, labels, self.most)
                if weights["nodes"]:
                    parts["nodes"] = node_error(own, means, there)
                if weights["edges"]:
                    parts["edges"] = edge_error(own, means, there)
                if weights["bank_edges"] and kept is not None:
                    instances, present, _ = self._of(kept[0])
                    parts["bank_edges"] = bank_edge_error(own, means, there, instances, present > 0, kept[1])
            if weights["bank_pixels"] and kept is not None:
                parts["bank_pixels"] = bank_pixel_error(window_means(student), windows, self._of(kept[0])[2], kept[1])
        return parts

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return instances, which there are, and windows, of rows of the bank."""
        sizes = [self.most * PIXEL_EMBEDDING, self.most, self.windows * PIXEL_EMBEDDING]
        means, there, windows = rows.split(sizes, dim=1)
        return means.unflatten(1, (self.most, -1)), there, windows.unflatten(1, (self.windows, -1))
