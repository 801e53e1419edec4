"""Signals that ask a training to stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a person, a batch system and Slurm (``--signal=USR1@120``) send. Windows lacks the last one.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class TrainingStopped(Exception):
    """A training stopped because it was asked to, after a step, with everything saved; the message says where."""


class StopRequest:
    """Whether this process was asked to stop, by SIGTERM, SIGINT or SIGUSR1.

    Attributes:
        signal: the name of the first signal since :meth:`listening` began; ``None`` as long as there is none.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Remember the first signal; a second one does what signals do without this, and so do all afterwards.

        Outside of the main thread, where signals cannot be caught, nothing is done.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def restore() -> None:
            for number, handler in before.items():
                # None stands for a handler that was not installed from Python.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

        def catch(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                self.signal = signal.Signals(number).name
                return
            restore()
            os.kill(os.getpid(), number)

        try:
            for number in _SIGNALS:
                signal.signal(number, catch)
            yield self
        finally:
            restore()
