import pytest
import torch

from trg_pyg.training.stream import GlobalStream

CPU = torch.device("cpu")


def drawn(stream: GlobalStream, count: int = 1) -> list[float]:
    with stream.running():
        return torch.rand(count).tolist()


def test_a_stream_is_that_of_its_seed_whatever_is_drawn_beside_it() -> None:
    torch.manual_seed(7)
    expected = torch.rand(4).tolist()
    one, other = GlobalStream(7, CPU), GlobalStream(8, CPU)
    found = []
    for _ in range(4):
        found += drawn(one)
        drawn(other, 3)
        torch.rand(5)
    assert found == expected


def draw_and_fail(stream: GlobalStream, count: int) -> None:
    with stream.running():
        torch.rand(count)
        raise ValueError("within")


def test_the_global_stream_is_left_alone_also_after_an_exception() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    stream = GlobalStream(7, CPU)
    assert drawn(stream) != expected[:1].tolist()
    with pytest.raises(ValueError, match="within"):
        draw_and_fail(stream, 3)
    assert torch.equal(torch.rand(2), expected)


def test_what_was_drawn_before_an_exception_counts() -> None:
    stream, whole = GlobalStream(7, CPU), drawn(GlobalStream(7, CPU), 3)
    with pytest.raises(ValueError, match="within"):
        draw_and_fail(stream, 2)
    assert drawn(stream) == whole[2:]


def test_a_state_brings_a_stream_back_and_does_not_move_with_it() -> None:
    stream = GlobalStream(7, CPU)
    drawn(stream, 2)
    state = stream.state_dict()
    expected = drawn(stream, 3)
    other = GlobalStream(9, CPU)
    # Saved on a GPU, read where there is none.
    other.load_state_dict({**state, "cuda": torch.zeros(16, dtype=torch.uint8)})
    assert drawn(other, 3) == expected
    assert other.state_dict().keys() == {"cpu"}
