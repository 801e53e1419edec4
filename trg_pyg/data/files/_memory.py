"""How much memory is left."""

import os
from pathlib import Path


def available_memory() -> int | None:
    """Return the bytes that can still be used before the machine or its container runs short, None if unknown."""
    limits = [_machine(), _container()]
    return min((limit for limit in limits if limit is not None), default=None)


def _machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _container() -> int | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # ValueError: the file says "max"
        return None
