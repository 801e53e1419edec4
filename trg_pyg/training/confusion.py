"""Which classes are taken for which."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trg_pyg._transfer import in_double
from trg_pyg.errors import require


def confusion_matrix(targets: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count how often each class is taken for each.

    Args:
        targets: class of each image, integers [N], in [0, C).
        predicted: the class that it is taken for, integers [N], in [0, C).
        num_classes: C.

    Returns:
        int64 [C, C]: row i has the images of class i, column j those taken for class j.

    Raises:
        InputError: the lengths differ, or a class is outside [0, C).
    """
    require(
        targets.dim() == 1 and targets.shape == predicted.shape,
        f"targets {list(targets.shape)} and predicted {list(predicted.shape)}: give one class of each an image",
    )
    for name, classes in (("targets", targets), ("predicted", predicted)):
        outside = classes[(classes < 0) | (classes >= num_classes)]
        require(len(outside) == 0, f"{name} holds class {outside[:1].tolist()} but there are {num_classes} classes")
    pairs = targets.long() * num_classes + predicted.long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Return the accuracy within each class, in percent.

    Args:
        confusion: int64 [C, C], see :func:`confusion_matrix`.

    Returns:
        float64 [C]; NaN for a class without an image.
    """
    confusion = in_double(confusion)
    return 100 * confusion.diagonal() / confusion.sum(1)


def among(confusion: Tensor, classes: Sequence[int], predicted: Sequence[int] | None = None) -> Tensor:
    """Return what images of some classes are taken for, in percent of each class: some classes, or another.

    Args:
        confusion: int64 [C, C], see :func:`confusion_matrix`.
        classes: R classes, whose images are looked at.
        predicted: K different classes that they are taken for; ``None`` for ``classes``.

    Returns:
        float64 [R, K + 1]; the last column has the images that are taken for a class which is not among the K, rows sum
        to 100. A row is NaN where the class has no image.
    """
    rows = in_double(confusion[list(classes)])
    inner = rows[:, list(classes if predicted is None else predicted)]
    other = rows.sum(1, keepdim=True) - inner.sum(1, keepdim=True)
    return 100 * torch.cat([inner, other], dim=1) / rows.sum(1, keepdim=True)
