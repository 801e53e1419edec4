"""One vector for each image of the training set."""

import torch
from torch import Tensor, nn

from trg_pyg._transfer import can_look
from trg_pyg.errors import require
from trg_pyg.tokens.normalize import l2_normalize


class MemoryBank(nn.Module):
    r"""Moving averages of unit-length vectors, one for each image of the training set (as in arXiv 1805.01978).

    .. math:: v_i \leftarrow \mathrm{normalise}\big(m \, v_i + (1 - m) \, x_i\big)

    Until its first update a vector is random, uniform in :math:`(-s, s)` along each axis with
    :math:`s = 1 / \sqrt{d / 3}`, so that its squared length is 1 on average.

    A vector that is not finite never enters the bank: its row stays as it is. What a training step that is not taken
    has written is undone as a whole by :meth:`restore`, its finite rows included, so that the step leaves no trace.

    Args:
        items: images of the training set, N.
        dim: width of a vector, d.
        momentum: m, in [0, 1).
        generator: CPU generator of the first vectors; without one they are the same for every bank. The global
            generator is not used.

    Attributes:
        vectors: buffer ``[N, d]``.

    Raises:
        InputError: a size is not positive, or the momentum is not in [0, 1).
    """

    vectors: Tensor

    def __init__(self, items: int, dim: int, momentum: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        require(items >= 1 and dim >= 1, f"memory bank of {items} vectors of width {dim}: both must be at least 1")
        require(0 <= momentum < 1, f"momentum={momentum}: choose at least 0 and less than 1")
        self.momentum = momentum
        scale = (dim / 3) ** -0.5
        drawn = torch.rand(items, dim, generator=torch.Generator() if generator is None else generator)
        self.register_buffer("vectors", scale * (2 * drawn - 1))
        # None until somebody asks for what is overwritten: a loop without a guard would collect it for ever.
        self._overwritten: list[tuple[Tensor, Tensor]] | None = None

    def rows(self, index: Tensor) -> Tensor:
        """Return a copy ``[n, d]`` of the vectors at the positions ``index`` ``[n]``; no gradient reaches the bank.

        Raises:
            InputError: a position is not in the bank. It is looked at where that costs no wait.
        """
        self._check(index)
        return self.vectors[index]

    @torch.no_grad()
    def update(self, index: Tensor, vectors: Tensor) -> None:
        """Move the vectors at ``index`` ``[n]`` towards ``vectors`` ``[n, d]``.

        Of an image that occurs twice in a batch, the first counts. A row that would not be finite stays as it is.

        Raises:
            InputError: a position is not in the bank (see :meth:`rows`), or there is not one vector a position.
        """
        self._check(index)
        require(
            vectors.shape == (len(index), self.vectors.shape[1]),
            f"{len(index)} positions, vectors {tuple(vectors.shape)}: give one of width {self.vectors.shape[1]} each",
        )
        # Several writes to one row end in any order on a GPU; they all write the same.
        first = (index.unsqueeze(1) == index).int().argmax(1)
        with torch.autocast(vectors.device.type, enabled=False):
            old, new = self.vectors[index], vectors[first].to(self.vectors.dtype)
            moved = l2_normalize(self.momentum * old + (1 - self.momentum) * new)
            # Chosen on the device: nobody waits for the answer. A row of NaN would stay one for ever.
            self.vectors[index] = torch.where(moved.isfinite().all(dim=1, keepdim=True), moved, old)
        if self._overwritten is not None:
            self._overwritten.append((index, old))

    def keep(self) -> None:
        """From now on keep what :meth:`update` overwrites, for :meth:`restore`; what was kept before is forgotten."""
        self._overwritten = []

    @torch.no_grad()
    def restore(self) -> None:
        """Undo every :meth:`update` since :meth:`keep`, to the bit."""
        for index, old in reversed(self._overwritten or []):
            self.vectors[index] = old
        self._overwritten = []

    def _check(self, index: Tensor) -> None:
        require(
            index.dim() == 1 and index.dtype == torch.int64,
            f"positions {tuple(index.shape)} of type {index.dtype}: give them as int64 [n]",
        )
        if len(index) == 0 or not can_look(index):
            return
        low, high, items = int(index.min()), int(index.max()), len(self.vectors)
        require(
            low >= 0 and high < items,
            f"position {low if low < 0 else high} in a memory bank of {items} images: "
            "make the bank for the training set that the positions are of",
        )
