import os
import signal
import threading
import time
from pathlib import Path

import pytest
from processes import FRESH

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
    here = signal.signal(signal.SIGINT, signal.default_int_handler)  # not what a shell, or another test, has left
    try:
        with StopRequest().listening() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            assert stop.signal == "SIGTERM"
    finally:
        signal.signal(signal.SIGINT, here)


def hang(seen: Path) -> None:
    with StopRequest().listening() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        seen.write_text(str(stop.signal))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def test_a_second_signal_ends_a_process_that_hangs(tmp_path: Path) -> None:
    process = FRESH.Process(target=hang, args=(tmp_path / "seen",))
    process.start()
    process.join(50)
    assert (tmp_path / "seen").read_text() == "SIGTERM"
    assert process.exitcode == -signal.SIGTERM


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
