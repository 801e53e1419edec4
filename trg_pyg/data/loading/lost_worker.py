"""What to say of a process that decodes images and is gone."""

from trg_pyg.errors import InputError

# How PyTorch begins what it says of a worker that was killed or ended by itself, and of the thread that reads from it.
_DEAD = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")
# A worker's own error, which comes with the text of its traceback, is one of the program.
_RAISED = "in DataLoader worker process"


class WorkerLost(InputError):
    """A process that decodes images was killed, for lack of memory most often, or could not be started."""


def worker_lost(error: BaseException, while_reading: bool = False) -> WorkerLost | None:
    """Return what to say of an error if it is the news of a lost worker, else None.

    PyTorch raises this news as a RuntimeError wherever the main thread happens to be when a worker ends.

    Args:
        error: what was raised.
        while_reading: it was raised where batches are taken from the workers. There, a connection that breaks is the
            same news.
    """
    text = " ".join(str(error).split())
    dead = isinstance(error, RuntimeError) and text.startswith(_DEAD)
    broken = while_reading and isinstance(error, OSError | EOFError) and _RAISED not in text
    if not dead and not broken:
        return None
    remedy = "set data.workers lower (0 decodes in the training process), or free memory"
    if "Bus error" in text:
        remedy = "set data.workers or data.prefetch lower, or make /dev/shm larger"
    reason = text.partition(". ")[0].rstrip(". ") or type(error).__name__
    return WorkerLost(
        f"a process that decodes images is lost, most often for lack of memory ({reason}); {remedy}, and resume from "
        "the last checkpoint"
    )
