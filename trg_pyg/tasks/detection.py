"""Images with boxes round the objects in them."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from trg_pyg._transfer import in_double
from trg_pyg.batch import Batch
from trg_pyg.errors import InputError, require
from trg_pyg.tasks.base import Groups, Task

if TYPE_CHECKING:
    from trg_pyg.models.taps import Outputs
    from trg_pyg.step import Step

# What a box has: left, top, right and bottom as shares of the image's sides, its class, and whether it is passed over.
BOX_NUMBERS = 6
# Boxes of an image that are scored, those of the highest scores.
MOST_FOUND = 100
# COCO calls boxes small below 32 and large from 96 pixels on: of an image of this side, a sixth and half of it.
_SIDE = 192
_SCORES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


class Detection(Task):
    """Boxes, float32 ``[B, M, 6]``: a row has left, top, right and bottom of a box, its class, and 0.

    Coordinates are shares of the image's sides, in [0, 1]. A class of -1 is no box: images have different numbers of
    boxes, and the largest is M. A last number of 1 is a box that is passed over: it is not learnt, and what is found
    there is neither right nor wrong, as of a crowd.

    A network answers for each anchor, see :class:`~trg_pyg.models.retinanet.RetinaNet`. Losses and the choice of boxes
    are torchvision's of RetinaNet (Lin et al., arXiv 1708.02002); they ask a GPU for sizes in every step.
    """

    score: ClassVar[str] = "ap"
    answers_for: ClassVar[Literal["", "pixel", "anchor"]] = "anchor"

    def width(self, classes: int) -> int:
        """Return the logits of the classes and the numbers of the anchor."""
        from trg_pyg.models.retinanet import ANCHOR_NUMBERS

        return classes + ANCHOR_NUMBERS

    def check_step(self, outputs: "Outputs", step: "Step") -> None:
        """Refuse labels that are no boxes of the images, and those that are mixed or smoothed."""
        _check(outputs.logits, step.target)
        changed = "mixed images" if step.soft is not None else step.alters_labels
        require(not changed, f"{changed}: labels of boxes are learnt as they are; leave it out")

    def supervised(self, outputs: "Outputs", step: "Step") -> dict[str, Tensor]:
        """Return ``classification``, the focal loss of all anchors, and ``box``, the error of those that have a box.

        Both are sums over anchors, divided by the number of those that have a box, means over images, of weight 1.
        """
        return _losses(step.labelled(outputs.logits), step.target)

    def rows(self, outputs: "Outputs", step: "Step") -> Tensor:
        """Refuse: each class of an anchor is told from background on its own, and no softmax has a meaning."""
        raise InputError(
            "logits of a detector are compared with background one by one, and logit distillation takes their softmax: "
            "set kd_weight to 0, or leave the method out"
        )

    def running(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return nothing: to choose boxes costs more than a step."""
        return {}

    def check_set(self, outputs: "Outputs", targets: Tensor, groups: Groups) -> None:
        """Refuse labels that are no boxes of the images, and images that have none at all."""
        _check(outputs.logits, targets[: len(outputs.logits)])
        require(bool(counted_boxes(targets).any()), "the images to evaluate on have no box at all: choose others")

    def measure(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each image, and ``found``, see :func:`boxes_of`."""
        logits = outputs.logits.float()
        each = (_losses(*pair) for pair in zip(logits.split(1), batch.target.split(1), strict=True))
        loss = torch.stack([parts["classification"] + parts["box"] for parts in each])
        return {"loss": loss, "found": boxes_of(logits)}

    def metrics(self, measured: Mapping[str, Tensor], targets: Tensor, groups: Groups) -> dict[str, float]:
        """Return the metrics of all images together, those of COCO by ``faster_coco_eval``, in percent.

        Returns:
            ``ap``, the mean average precision over classes and overlaps of 0.5, 0.55 to 0.95; ``ap50`` and ``ap75``,
            those of one overlap; ``ap_small``, ``ap_medium`` and ``ap_large``, of boxes whose side (the root of the
            area) is below a sixth of the image's, in between, and from half of it on, where there are any; ``loss``.
        """
        found = average_precision(measured["found"].cpu(), targets.cpu())
        return {**found, "loss": in_double(measured["loss"]).mean().item()}


@torch.no_grad()
def boxes_of(logits: Tensor) -> Tensor:
    """Return the boxes that a network finds, float32 ``[B, 100, 6]``: its four numbers, class and score, best first.

    As torchvision chooses them: of the anchors with a score above 0.05 the best 1,000 of a pyramid, without those that
    overlap a better one of their class by more than half. A class of -1 is no box.

    Args:
        logits: ``[B, C + 8, A]`` of :class:`~trg_pyg.models.retinanet.RetinaNet`.
    """
    scores, differences, anchors = _parts(logits)
    answers = {"cls_logits": [scores], "bbox_regression": [differences]}
    found = logits.new_zeros(len(logits), MOST_FOUND, BOX_NUMBERS, dtype=torch.float32)
    found[..., 4] = -1
    # A unit square is the whole image.
    chosen = _rules().postprocess_detections(answers, [[each] for each in anchors], [(1, 1)] * len(logits))
    for row, each in zip(found, chosen, strict=True):
        numbers = [each["boxes"], each["labels"].unsqueeze(1), each["scores"].unsqueeze(1)]
        row[: len(each["boxes"])] = torch.cat(numbers, dim=1)
    return found


def average_precision(found: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the scores of :meth:`Detection.metrics` but for the loss; those of sizes that no box has are left out.

    Args:
        found: of :func:`boxes_of`.
        targets: boxes, see :class:`Detection`.

    Raises:
        InputError: the package that computes them is not installed.
    """
    check_scorer()
    from faster_coco_eval import COCO, COCOeval_faster  # an extra

    truth = [
        each | {"id": number, "area": each["bbox"][2] * each["bbox"][3], "iscrowd": int(each.pop("last"))}
        for number, each in enumerate(_boxes(targets), start=1)
    ]
    classes = {each["category_id"] for each in truth}
    results = [each | {"score": each.pop("last")} for each in _boxes(found) if each["category_id"] in classes]
    images = [{"id": image, "height": _SIDE, "width": _SIDE} for image in range(len(targets))]
    known = COCO({"images": images, "annotations": truth, "categories": [{"id": each} for each in classes]})
    score = COCOeval_faster(known, known.loadRes(results), "bbox")
    score.evaluate()
    score.accumulate()
    score.summarize()
    return {name: 100 * float(value) for name, value in zip(_SCORES, score.stats, strict=False) if value >= 0}


def check_scorer() -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless the package is installed that scores boxes."""
    require(
        find_spec("faster_coco_eval") is not None,
        "scores of boxes need faster-coco-eval; run: pip install 'trg_pyg[detection]'",
    )


def _boxes(rows: Tensor) -> list[dict[str, Any]]:
    """Return the boxes that there are as COCO has them, left, top, width and height, with their last number."""
    there = (rows[..., 4] >= 0).nonzero()
    found = []
    for image, numbers in zip(there[:, 0].tolist(), rows[there[:, 0], there[:, 1]].tolist(), strict=True):
        left, top, right, bottom = (_SIDE * each for each in numbers[:4])
        box = [left, top, right - left, bottom - top]
        found.append({"image_id": image, "category_id": int(numbers[4]), "bbox": box, "last": numbers[5]})
    return found


def counted_boxes(targets: Tensor) -> Tensor:
    """Return which boxes are learnt, and count, bool ``[B, M]``."""
    return (targets[..., 4] >= 0) & (targets[..., 5] == 0)


def _parts(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores ``[B, A, C]``, differences and anchors ``[B, A, 4]``."""
    scores, differences, anchors = logits.float().mT.split([logits.shape[1] - 8, 4, 4], dim=2)
    return scores, differences, anchors


def _losses(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    scores, differences, anchors = _parts(logits)
    counted = [boxes[there] for boxes, there in zip(targets, counted_boxes(targets), strict=True)]
    told = [{"boxes": boxes[:, :4], "labels": boxes[:, 4].long()} for boxes in counted]
    answers = {"cls_logits": scores, "bbox_regression": differences}
    losses = _rules().compute_loss(told, answers, list(anchors.detach()))
    return {"classification": losses["classification"], "box": losses["bbox_regression"]}


@cache
def _rules() -> Any:
    """Return torchvision's RetinaNet for its losses and its choice of boxes alone: they use none of its layers."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNet

    backbone = nn.Module()
    backbone.out_channels = 1  # type: ignore[assignment]
    return RetinaNet(backbone, 1, anchor_generator=AnchorGenerator(((1,),), ((1.0,),)), detections_per_img=MOST_FOUND)


def _check(logits: Tensor, boxes: Tensor) -> None:
    require(
        boxes.dtype == torch.float32 and logits.dim() == 3 and boxes.shape[::2] == (len(logits), BOX_NUMBERS),
        f"boxes {tuple(boxes.shape)} of type {boxes.dtype} for logits {tuple(logits.shape)}: give [images, boxes, "
        f"{BOX_NUMBERS}], float32",
    )
