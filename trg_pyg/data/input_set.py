"""Items in memory that are no images, such as texts."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg.batch import Inputs, changed
from trg_pyg.data._views import chosen
from trg_pyg.tasks.base import Task


@dataclass(frozen=True, eq=False)
class InputSet:
    """What networks are given of each item, and the items' labels; a subclass says what is learnt of them.

    Attributes:
        inputs: a tensor ``[N, ...]``, or several by the names that the networks give them.
        targets: the labels ``[N, ...]``, of classes int64 ``[N]``, values in [0, C).
        digest: hash of all of it.
        places: of a part of a data set: the position of each item in the whole, int64 ``[N]`` on the CPU.
        task: what is learnt of them.
    """

    task: ClassVar[Task]

    inputs: Inputs
    targets: Tensor
    digest: str | None = None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def example(self) -> Inputs:
        """An item to describe a network with, ``[1, ...]``."""
        example: Inputs = changed(self.inputs, lambda each: each[:1])
        return example

    def read(self, index: Tensor) -> Inputs:
        """Return the items at positions int64 [b]."""
        items: Inputs = changed(self.inputs, lambda each: each.index_select(0, index))
        return items

    def to(self, device: torch.device | str) -> "InputSet":
        """Return the set on ``device``; what is already there is not copied."""
        return replace(self, inputs=changed(self.inputs, lambda each: each.to(device)), targets=self.targets.to(device))

    def select(self, index: Tensor) -> "InputSet":
        """Return the items at ``index`` (int64 [M] positions or bool [N]) as a set of their own."""
        return replace(
            self,
            inputs=changed(self.inputs, lambda each: each[index]),
            targets=self.targets[index],
            digest=None,
            places=chosen(self.places, index),
        )
