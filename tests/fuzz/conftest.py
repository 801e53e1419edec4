import warnings
from collections.abc import Iterator

import fuzzing
import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Pillow, PyTorch and jsonargparse warn of much that is odd; here everything is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if fuzzing.TALLY:
        terminalreporter.section("inputs of the fuzz tests")
        for line in fuzzing.table():
            terminalreporter.write_line(line)
