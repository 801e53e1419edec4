import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trg_pyg.training.stop import StopRequest


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_the_first_signal_is_remembered(name: str) -> None:
    before = signal.getsignal(signal.Signals[name])
    with StopRequest().listening() as stop:
        assert not stop
        os.kill(os.getpid(), signal.Signals[name])
        assert stop
        assert stop.signal == name
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_second_signal_does_what_it_always_does() -> None:
    with StopRequest().listening() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == "SIGTERM"


def test_a_second_signal_ends_a_process_that_hangs() -> None:
    code = (
        "import os, signal, time\n"
        "from trg_pyg.training.stop import StopRequest\n"
        "with StopRequest().listening() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(stop.signal, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "SIGTERM\n"
    assert done.returncode == -signal.SIGTERM


def test_outside_of_the_main_thread_nothing_is_caught() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with StopRequest().listening() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
