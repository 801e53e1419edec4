"""The processes that train one network together, and what passes between them."""

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parallel import DistributedDataParallel

from trg_pyg.errors import InputError, require

# What a loss sees of a batch that several processes share: all of it, or the process's own share.
LossScope = Literal["global", "local"]


@dataclass(frozen=True)
class World:
    """The processes of a training, one of which runs this code; ``World()`` is a process that trains alone.

    A batch is shared out in order: process r has the r-th of ``size`` contiguous shares, whose sizes differ by at most
    one, the larger ones first. The number of images of the whole batch is therefore all that a process has to know.
    Where there is one process only, nothing here calls ``torch.distributed``.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """Return the world of the process group that is initialised, or a single process where none is."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports, for all of them."""
        return self.rank == 0

    def part(self, count: int) -> list[int]:
        """Return how many of ``count`` things each process has; 0 for the last ones where there are too few."""
        least, more = divmod(count, self.size)
        return [least + (rank < more) for rank in range(self.size)]

    def share(self, values: Tensor) -> Tensor:
        """Return this process's share of ``values`` ``[count, ...]``, such as the positions of a batch's images."""
        return values if self.size == 1 else values.tensor_split(self.size)[self.rank]

    def gather(self, tensor: Tensor, sizes: Sequence[int], *, alike: bool = True) -> Tensor:
        r"""Put the processes' shares together, in the order of their ranks, on every process.

        The gradient is made for ``DistributedDataParallel``, which takes the mean of the processes' gradients, and for
        a loss L that **every process computes alike from the gathered tensor**. The gradient of the loss L by
        this process's own rows is then complete where it stands: it is sliced out and multiplied by the number of
        processes P, and nothing is sent. Behind the gather every process has the gradient of L, whose mean is that
        gradient. Before it, process r has P times what its own rows add to it, and
        :math:`\frac{1}{P} \sum_r P \, \nabla_r = \sum_r \nabla_r` is the gradient of L again.

        Where instead L is the mean of what the processes compute, each something else, the gradients that all of them
        have of this process's rows are sent here and summed.

        Args:
            tensor: this process's share, ``[sizes[rank], ...]``, of any type.
            sizes: rows of each process's share, as :meth:`part` gives them; the same on every process.
            alike: whether every process computes the same loss from what is gathered.

        Returns:
            ``[sum(sizes), ...]``.

        Raises:
            InputError: the share does not have the rows that ``sizes`` says.
        """
        if self.size == 1:
            return tensor
        require(
            len(sizes) == self.size and len(tensor) == sizes[self.rank],
            f"process {self.rank} of {self.size} has a share of {len(tensor)} where the shares are {list(sizes)}: "
            "share a batch out with World.share",
        )
        gathered: Tensor = _Gather.apply(tensor, tuple(sizes), self.rank, alike)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in float64 and without gradient; of one process as it is."""
        if self.size == 1:
            return tensor
        total = tensor.detach().to(torch.float64, copy=True)
        distributed.all_reduce(total)
        return total

    def broadcast_object(self, value: Any) -> Any:
        """Return what the main process gives, on every process; ``value`` of the others is not looked at."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]

    def gather_objects(self, value: Any) -> list[Any]:
        """Return what each process gives, in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process run the block before the others, which then find its files; an error frees them too."""
        if not self.is_main:
            self.barrier()
        try:
            yield
        finally:
            if self.is_main:
                self.barrier()

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


SINGLE_PROCESS = World()


@contextmanager
def process_group(device_name: str, timeout: timedelta | None = None) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, for as long as the context lasts.

    Without ``torchrun``, or with one process of it, nothing is initialised. An exception leaves the context at once: it
    does not wait for the other processes, which ``torchrun`` ends.

    Args:
        device_name: ``"auto"``, ``"cuda"`` or ``"cpu"``; NCCL carries what passes between GPUs, Gloo the rest.
        timeout: how long a process waits for the others before it gives up; None for PyTorch's own.

    Yields:
        The world that this process is in.

    Raises:
        InputError: the environment is only a part of torchrun's, or as :func:`process_device`.
    """
    launch = _launch()
    if launch is None:
        yield World()
        return
    device = process_device(device_name)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        rank=launch.rank,
        world_size=launch.size,
        timeout=timeout,
        device_id=device if on_gpu else None,
    )
    try:
        yield World.current()
    except BaseException:
        # NCCL would first finish the work under way, which the other processes may never join.
        (distributed.distributed_c10d._abort_process_group if on_gpu else distributed.destroy_process_group)()
        raise
    distributed.destroy_process_group()


def process_device(name: str) -> torch.device:
    """Return the device on which this process runs.

    Args:
        name: ``"auto"`` takes a GPU if there is one. Of several processes, ``"cuda"`` gives each the GPU of its number
            on this machine.

    Raises:
        InputError: there is no such device, or of several processes: fewer GPUs than processes on this machine, one GPU
            named for all, or a device that they cannot share a batch on.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name}: there is no such device; choose auto, cpu or cuda") from error
    launch = _launch()
    if launch is None or device.type == "cpu":
        return device
    require(
        device.type == "cuda" and device.index is None,
        f"device={name} for {launch.size} processes: choose cuda, which gives each process its own GPU, or cpu",
    )
    found = torch.cuda.device_count()
    require(
        launch.local_rank < found,
        f"process {launch.local_rank} of this machine has no GPU, there are {found}: start at most as many processes "
        "(torchrun --nproc-per-node), or choose device=cpu",
    )
    return torch.device("cuda", launch.local_rank)


def wrap(module: nn.Module, world: World) -> nn.Module:
    """Return ``module`` so that its gradients are the mean over all processes; for a single process, itself.

    Every parameter must take part in every step. Weights become those of the main process; buffers, such as the memory
    banks that ``Distiller.bind`` makes, must be equal already.

    Args:
        module: what trains, on its device.
        world: the processes.
    """
    if world.size == 1:
        return module
    # Buffers are not sent before each step: what the losses keep is equal everywhere, see average_buffers for the rest.
    # PyTorch 2.14 has given the option a new name and warns of the old one.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True}
    return DistributedDataParallel(module, **options)


def average_buffers(module: nn.Module, world: World) -> None:
    """Give the running statistics of the normalisation layers of ``module`` their mean over all processes, in place.

    Each process has seen its own shares; call this before the network is evaluated or saved. Buffers of other layers
    are left alone: memory banks and the like belong to losses that see the whole batch, so they are equal on every
    process already, and large. Statistics that are equal (a batch norm in such a loss) stay as they are to the bit: the
    sum is taken in float64, where it is exact. The integer count of batches is equal everywhere.

    Args:
        module: the same network on every process.
        world: the processes.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _NormBase)]
    buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False) if buffer.is_floating_point()]
    if world.size == 1 or not buffers:
        return
    sums = world.sum(torch.cat([buffer.double().flatten() for buffer in buffers]))
    with torch.no_grad():
        for buffer, total in zip(buffers, sums.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_((total / world.size).view_as(buffer))


def sync_batchnorm(module: nn.Module, device: torch.device) -> None:
    """Let every batch norm of ``module`` see the batches of all processes, in place.

    Give it the student alone: a batch norm in a loss of global scope sees the whole batch already.

    Args:
        module: the network.
        device: where it runs.

    Raises:
        InputError: the device is no GPU, or a batch norm is of a class of its own.
    """
    require(
        device.type == "cuda",
        f"synchronised batch norm on {device.type}: PyTorch has it for CUDA only; train on GPUs, or leave it off "
        "(running statistics are averaged over processes anyway)",
    )
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    own = sorted({type(layer).__name__ for layer in layers if type(layer) not in plain})
    require(not own, f"synchronised batch norm in place of {', '.join(own)}: what they do besides would be lost")
    for layer in layers:
        # In place: torch's conversion makes new layers, without the hooks that read taps, and the optimiser's
        # parameters would have to be found again.
        layer.__class__ = nn.SyncBatchNorm
        cast(nn.SyncBatchNorm, layer).process_group = None


class _Launch(NamedTuple):
    rank: int
    local_rank: int
    size: int


def _launch() -> _Launch | None:
    """What torchrun says of this process; None where it is the only one."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    missing = [name for name in (*names, "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    require(
        not missing,
        f"the environment has WORLD_SIZE={os.environ['WORLD_SIZE']} and no {', '.join(missing)}: start with torchrun, "
        "or unset WORLD_SIZE",
    )
    try:
        return _Launch(*(int(os.environ[name]) for name in names))
    except ValueError as error:
        given = ", ".join(f"{name}={os.environ[name]}" for name in names)
        raise InputError(f"the environment has {given}: these are whole numbers; start with torchrun") from error


class _Gather(torch.autograd.Function):
    """All-gather along the first dimension, see :meth:`World.gather`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, sizes: tuple[int, ...], rank: int, alike: bool) -> Tensor:
        ctx.sizes, ctx.rank, ctx.alike = sizes, rank, alike
        most = max(sizes)
        received = tensor.new_empty(len(sizes) * most, *tensor.shape[1:])
        _all_gather(received, _padded(tensor, most))
        if min(sizes) == most:
            return received
        return torch.cat([rows[:size] for rows, size in zip(received.split(most), sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        shares = grad.split(ctx.sizes)
        if ctx.alike:
            return shares[ctx.rank] * len(shares), None, None, None
        most = max(ctx.sizes)
        sent = grad if min(ctx.sizes) == most else torch.cat([_padded(share, most) for share in shares])
        own = grad.new_empty(most, *grad.shape[1:])
        _reduce_scatter(own, sent.contiguous())
        return own[: ctx.sizes[ctx.rank]], None, None, None


def _padded(rows: Tensor, count: int) -> Tensor:
    """Return that many rows, those that are missing zeros: collectives want as many of every process."""
    if len(rows) == count:
        return rows.contiguous()
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


# PyTorch 2.14 has given these new names and warns of the old ones.
def _all_gather(received: Tensor, own: Tensor) -> None:
    (getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor)(received, own)


def _reduce_scatter(own: Tensor, sent: Tensor) -> None:
    (getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor)(own, sent)
