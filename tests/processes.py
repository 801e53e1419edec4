"""Processes of their own for tests that need some, all forked from one server, which makes the slow imports once."""

import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from trg_pyg.training.distributed import World

FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["trg_pyg.training", "trg_pyg.distillers"])


def launch(worker: Callable[[World], Any], size: int, folder: Path, group: bool = True) -> list[Any]:
    """Run ``worker`` in ``size`` processes, joined in a group, and return what each gives: tensors and plain values."""
    context = torch.multiprocessing.start_processes(
        _start, (worker, size, str(folder), group), size, join=False, start_method="forkserver"
    )
    deadline = time.monotonic() + 120
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail(f"{worker} hangs in {size} processes")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _start(rank: int, worker: Callable[[World], Any], size: int, folder: str, group: bool) -> None:
    torch.set_num_threads(1)
    if group:
        meeting = f"file://{folder}/meeting"
        torch.distributed.init_process_group("gloo", meeting, timedelta(seconds=30), world_size=size, rank=rank)
    torch.save(worker(World.current() if group else World(rank, size)), f"{folder}/{rank}.pt")
    if group:
        torch.distributed.destroy_process_group()
