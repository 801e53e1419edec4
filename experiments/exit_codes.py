"""How a command ends."""

import sys
from collections.abc import Callable

from trg_pyg.data.lost_worker import worker_lost
from trg_pyg.errors import InputError
from trg_pyg.training.loop import TrainingDiverged, TrainingStopped

# That of sysexits.h for what works when it is tried again.
STOPPED = 75


def exit_code_of(work: Callable[[], None], command: str) -> int:
    """Do the work of a command and return its exit code, after one line on standard error where it is not 0.

    0: finished; 1: a training diverged; 2: the input is at fault, or a process that decodes images was killed; 75:
    stopped by a signal, saved, ready to be resumed.

    Args:
        work: what it does.
        command: its name, which begins the line.
    """
    try:
        work()
    except InputError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 2
    except TrainingStopped as error:
        print(f"{command}: {error}", file=sys.stderr)
        return STOPPED
    except TrainingDiverged as error:
        print(f"{command}: stopped: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # PyTorch raises the news of a killed worker wherever the program happens to be.
        lost = worker_lost(error)
        if lost is None:
            raise
        print(f"{command}: error: {lost}", file=sys.stderr)
        return 2
    return 0
