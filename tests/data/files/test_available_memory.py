import pytest

from trg_pyg.data.files import _memory


def test_the_machine_is_asked():
    assert _memory.available_memory() > 2**20


@pytest.mark.parametrize(
    ("machine", "container", "available"), [(8, None, 8), (8, 2, 2), (None, 2, 2), (2, 8, 2), (None, None, None)]
)
def test_the_tighter_limit_counts(monkeypatch, machine, container, available):
    monkeypatch.setattr(_memory, "_machine", lambda: machine)
    monkeypatch.setattr(_memory, "_container", lambda: container)
    assert _memory.available_memory() == available
