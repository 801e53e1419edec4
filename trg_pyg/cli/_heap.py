"""Memory of tensors on a CPU that is kept, where the C library would give it back."""

import ctypes
import platform

# Parameters of mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST = 32 * 2**20  # that glibc takes for the last of them


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for what comes next, and return whether it does; other C libraries are left alone.

    A training step frees its activations and takes as many again. By default glibc gives large ones back to the system
    each time, which then has to fill their pages with zeros anew.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The trim threshold is an int in bytes: what is free at the end of the heap stays, whatever it is.
    settings = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 8 * _LARGEST))
    done = [mallopt(name, value) for name, value in settings]
    return all(done)
