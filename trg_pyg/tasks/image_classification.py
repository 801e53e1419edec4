"""Images of one class each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from trg_pyg._transfer import in_double
from trg_pyg.batch import Batch, check_target
from trg_pyg.errors import InputError, require
from trg_pyg.tasks.base import Groups, Task

if TYPE_CHECKING:
    from trg_pyg.models.taps import Outputs
    from trg_pyg.step import Step


# Without it one class that is never hit would make the geometric mean of all 0; the value is the one in use.
_LEAST_RECALL = 1e-3


class ImageClassification(Task):
    """One class an image; in training, mixed or smoothed labels too."""

    score: ClassVar[str] = "top1"

    def check_step(self, outputs: "Outputs", step: "Step") -> None:
        """Refuse labels that are no classes, and shares of other classes."""
        logits, soft = self.rows(outputs, step), step.soft
        check_target(step.target, logits)
        require(
            soft is None or soft.shape[1:] == logits.shape[1:],
            f"soft {None if soft is None else tuple(soft.shape)} for logits {tuple(logits.shape)}: "
            "give a share of each class",
        )

    def supervised(self, outputs: "Outputs", step: "Step") -> dict[str, Tensor]:
        """Return the mean cross-entropy as ``ce``."""
        return {"ce": step.cross_entropy(self.rows(outputs, step))}

    def rows(self, outputs: "Outputs", step: "Step") -> Tensor:
        """Return the logits of each image."""
        return step.labelled(outputs.logits)

    def running(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return ``top1`` in percent; a guess of a mixed image is right by the share of its class."""
        guesses = outputs.logits.argmax(dim=1)
        right = (guesses == batch.target).float() if batch.soft is None else batch.soft.gather(1, guesses[:, None])
        return {"top1": 100 * right.mean()}

    def check_set(self, outputs: "Outputs", targets: Tensor, groups: Groups) -> None:
        """Refuse classes that the network does not have."""
        # Before the loss: on a GPU a target out of range ends the process with an assertion that names nothing.
        classes = outputs.logits.shape[1]
        named = {"the test set": int(targets.max()), **{f"shots[{k!r}]": max(v, default=0) for k, v in groups.items()}}
        for place, highest in named.items():
            if highest >= classes:
                raise InputError(
                    f"class {highest} in {place}: the model has {classes} classes; build it for {highest + 1} or more"
                )

    def measure(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return ``hits``, whether the class is the first guess, and of more than 5 classes the next four; ``loss``."""
        logits = outputs.logits.float()
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = (guesses == batch.target[:, None])[:, : 5 if logits.shape[1] > 5 else 1]
        return {"hits": hits, "loss": F.cross_entropy(logits, batch.target, reduction="none")}

    def metrics(self, measured: Mapping[str, Tensor], targets: Tensor, groups: Groups) -> dict[str, float]:
        """Return the metrics.

        Returns:
            ``top1`` in percent; ``top5`` in percent where there are more than 5 classes; ``loss``, the mean
            cross-entropy in nats; for each group the mean over its classes of the accuracy within the class, in
            percent; and where there are groups ``gmean``, the geometric mean of the accuracies within all classes, at
            least 0.1 percent each. Groups and classes without an image are left out.
        """
        hits = measured["hits"].cpu()
        first = hits[:, 0]
        found = {"top1": _percent(first)}
        if hits.shape[1] > 1:
            found["top5"] = _percent(hits.any(dim=1))
        found["loss"] = in_double(measured["loss"]).mean().item()
        return found | _group_accuracy(first, targets.cpu(), groups)


def _percent(hits: Tensor) -> float:
    return 100 * hits.double().mean().item()


def _group_accuracy(hits: Tensor, targets: Tensor, groups: Groups) -> dict[str, float]:
    classes = 1 + max([int(targets.max()), *(c for group in groups.values() for c in group)])
    count = torch.bincount(targets, minlength=classes)
    accuracy = torch.bincount(targets[hits], minlength=classes).double() / count
    found = {}
    for name, group in groups.items():
        tested = [c for c in group if count[c] > 0]
        if tested:
            found[name] = 100 * accuracy[tested].mean().item()
    if groups:
        found["gmean"] = 100 * accuracy[count > 0].clamp(min=_LEAST_RECALL).log().mean().exp().item()
    return found
