import pytest

from trg_pyg.data import worker_lost

KILLED = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
BUS_ERROR = RuntimeError(
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit."
)
OF_THE_PROGRAM = OSError("Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):")


def test_a_worker_that_was_killed_is_news_of_memory():
    assert str(worker_lost(KILLED)) == (
        "a process that decodes images is lost, most often for lack of memory (DataLoader worker (pid 7) is killed by "
        "signal: Killed); set data.workers lower (0 decodes in the training process), or free memory, and resume from "
        "the last checkpoint"
    )


def test_a_bus_error_is_news_of_shared_memory():
    message = str(worker_lost(BUS_ERROR))
    assert "(DataLoader worker (pid 7) is killed by signal: Bus error); set data.workers or data.prefetch" in message
    assert "/dev/shm larger" in message


def test_the_thread_of_pinned_memory_ends_with_the_worker_that_it_reads_from():
    assert "(Pin memory thread exited unexpectedly)" in str(
        worker_lost(RuntimeError("Pin memory thread exited unexpectedly"))
    )


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_connection_that_breaks_is_such_news_only_where_batches_are_read(error):
    assert worker_lost(error) is None
    reason = str(error) or "EOFError"
    assert f"({reason})" in str(worker_lost(error, while_reading=True))


@pytest.mark.parametrize("error", [OF_THE_PROGRAM, RuntimeError("CUDA out of memory"), ValueError("a bug")])
def test_other_errors_are_no_such_news(error):
    assert worker_lost(error, while_reading=True) is None
