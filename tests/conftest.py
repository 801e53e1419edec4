import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from inputs import draw, make_hard
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Refuse, fake_cuda, forbid_looks

from trg_pyg.cli.run import main as run_study

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, for the reason of one_thread

# What a fixture gives is the same for all examples, or a maker of new ones; a busy machine may be slow.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# A change is judged on the same examples every time; elsewhere each run looks for new ones.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tensors here are so small that waking other threads takes longer than the work, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest storage, in elements, of any tensor that an operation returns, backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.untyped_storage().nbytes() // value.element_size())
        return out


def check_close(actual: Tensor, expected: Tensor, inputs: Sequence[Tensor]) -> None:
    """Values to 1e-6 relative, gradients to 1e-5 of the largest entry."""
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-12)
    grads = torch.autograd.grad(actual, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
    wanted = torch.autograd.grad(expected, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
    for grad, want in zip(grads, wanted, strict=True):
        largest = want.abs().max().item() if want.numel() else 0.0
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-5 * largest + 1e-12)


@pytest.fixture
def hard() -> Callable[..., Tensor]:
    return make_hard


@pytest.fixture
def close() -> Callable[[Tensor, Tensor, Sequence[Tensor]], None]:
    return check_close


@pytest.fixture
def largest_tensor() -> type[LargestTensor]:
    return LargestTensor


@pytest.fixture
def tokens() -> Callable[..., Tensor]:
    """Random tokens ``[images, tokens, width]``."""

    def make(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        return draw(seed, *shape).to(dtype)

    return make


def write_images(root: Path, counts: dict[str, dict[str, int]], size: int = 16) -> Path:
    """Write ``{split: {class: images}}``, every class in a colour of its own with some noise."""
    generator = torch.Generator().manual_seed(0)
    for split, classes in counts.items():
        for number, (name, images) in enumerate(classes.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(images):
                pixels = torch.randint(60 * number, 60 * number + 60, (size, size, 3), generator=generator)
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{i}.png")
    return root


@pytest.fixture
def images(tmp_path):
    counts = {"red": 12, "green": 12, "blue": 12}
    return write_images(tmp_path / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})


@pytest.fixture
def small(images, tmp_path):
    """Arguments of a study that takes a few seconds; resnet8 on 16x16 images has a 4x4 grid, hence 16 tokens."""
    return [
        *("--data=ImageFolder", f"--data.root={images}", "--data.size=16"),
        *("--student.name=resnet8", "--teacher.name=resnet8"),
        *("--train.epochs=2", "--train.batch_size=18", "--teacher.train.epochs=1", "--teacher.train.batch_size=18"),
        *("--wandb=disabled", "--device=cpu", f"--output={tmp_path / 'runs'}"),
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of KD with its teacher, two epochs on images of 16x16; many tests read it, none may change it."""
    place = tmp_path_factory.mktemp("finished")
    counts = {"red": 12, "green": 12, "blue": 12}
    images = write_images(place / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})
    given = [
        *("--data=ImageFolder", f"--data.root={images}", "--data.size=16", "--data.crop_share=0.8"),
        *("--data.imbalance=3", "--student.name=resnet8", "--teacher.name=resnet14"),
        *("--train.epochs=2", "--train.batch_size=12", "--teacher.train.epochs=1", "--teacher.train.batch_size=12"),
        *("--wandb=disabled", "--device=cpu", f"--output={place / 'runs'}", "--methods", "KD", "--quiet"),
    ]
    assert run_study(given) == 0
    (folder,) = (place / "runs").glob("ImageFolder-LT3/*/KD-*/seed0")
    return folder


@pytest.fixture
def refuse(monkeypatch) -> Refuse:
    """A context in which what would wait for a GPU is an error."""
    forbid_looks(monkeypatch)
    return Refuse()


@pytest.fixture
def on_fake_cuda(monkeypatch) -> Callable:
    """Call a function as if it were on a GPU; see :func:`waits.fake_cuda`."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor, *args: tensor)
    return fake_cuda
