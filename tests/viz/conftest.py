import pytest


@pytest.fixture
def axes():
    """Axes to draw in, of a figure that belongs to no window."""
    return pytest.importorskip("matplotlib.figure").Figure().subplots()
