import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from trained import all_weights

from trg_pyg._discover import subclasses
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers import CRD, KD, TRG, Vanilla
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, build_model
from trg_pyg.tasks import ImageClassification
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.deterministic import deterministic_algorithms, set_cublas_workspace
from trg_pyg.training.loop import fit

CONFIG = TrainConfig(epochs=2, batch_size=8, lr=0.1, schedule="cosine", deterministic=True)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


class Told(Distiller):
    """Cross-entropy; remembers which algorithms were allowed, and fails where it is told to."""

    needs_teacher = False

    def __init__(self, error: Exception | None = None, operation=None) -> None:
        nn.Module.__init__(self)
        self.error, self.operation, self.seen = error, operation, []

    def forward(self, student, teacher, step) -> Losses:
        self.seen.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark))
        if self.error is not None:
            raise self.error
        if self.operation is not None:
            self.operation()
        return self.weigh({"ce": (1.0, F.cross_entropy(student.logits, step.target))})


@pytest.fixture
def as_before(monkeypatch):
    """Settings unlike those of a deterministic training, which have to be there again after it."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    yield
    assert torch.backends.cudnn.benchmark is True
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_algorithms_are_asked_for_and_nothing_is_left_of_it(as_before, network, train_set, test_set):
    distiller = Told()
    fit(network(0), None, distiller, train_set, test_set, CONFIG)
    assert set(distiller.seen) == {(True, False)}
    distiller = Told()
    fit(network(0), None, distiller, train_set, test_set, replace(CONFIG, deterministic=False))
    assert set(distiller.seen) == {(False, True)}


def test_a_training_that_fails_leaves_nothing_of_it_either(as_before, network, train_set, test_set):
    with pytest.raises(RuntimeError, match=r"^something$"):
        fit(network(0), None, Told(RuntimeError("something")), train_set, test_set, CONFIG)


def test_what_the_caller_asked_for_stays():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic_algorithms(True, CPU):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with deterministic_algorithms(False, CPU):
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_operation_that_cannot_be_deterministic_is_named(as_before, network, train_set, test_set):
    def operation() -> None:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))

    message = r"^train\.deterministic: put_ has no deterministic algorithm on cpu; choose .* or leave train\.determ"
    with pytest.raises(InputError, match=message):
        fit(network(0), None, Told(operation=operation), train_set, test_set, CONFIG)
    fit(network(0), None, Told(operation=operation), train_set, test_set, replace(CONFIG, deterministic=False))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("method", [Vanilla, KD, TRG, CRD])
def test_one_seed_gives_one_result_on_a_cpu(network, train_set, test_set, method, deterministic):
    def trained(seed: int) -> dict:
        student, teacher = network(0), network(1)
        torch.manual_seed(0)
        distiller = method(student.describe(6), teacher.describe(6))
        config = replace(CONFIG, deterministic=deterministic)
        fit(
            student,
            teacher,
            distiller,
            train_set,
            test_set,
            config,
            augment=Augment(crop_padding=1, flip=True),
            seed=seed,
        )
        return all_weights(student, distiller)

    one, same, other = trained(3), trained(3), trained(4)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def differing(device: str) -> list[str]:
    """The methods that a training twice gives different weights, in a process that has not used CUDA yet."""
    targets = torch.arange(24) % 3
    noise = torch.Generator().manual_seed(0)
    images = ImageSet(torch.randint(256, (24, 3, 32, 32), dtype=torch.uint8, generator=noise), targets)
    config = TrainConfig(epochs=1, batch_size=12, lr=0.01, milestones=[], deterministic=True)

    def trained(method: type[Distiller]) -> dict:
        torch.manual_seed(0)
        taps = [] if method.taps == "none" else method.taps
        student, teacher = (TappedModel(build_model(name, 3), taps) for name in ("resnet8", "resnet20"))
        distiller = method(student.describe(32), teacher.describe(32))
        fit(student, teacher, distiller, images, images, config, device=device)
        return {name: value.cpu() for name, value in (student.state_dict() | distiller.state_dict()).items()}

    found = []
    for method in subclasses(Distiller):
        if method.__module__.startswith("trg_pyg.") and issubclass(ImageClassification, method.tasks):
            one, same = trained(method), trained(method)
            found += [method.__name__] * any(not torch.equal(value, same[name]) for name, value in one.items())
    return found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_seed_gives_one_result_on_a_gpu():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(differing, "cuda").result() == []


def test_every_method_sees_the_same_images_augmented_alike(network, train_set, test_set):
    def batches(method: type[Distiller], seed: int) -> list[str]:
        student, teacher = network(0), network(1)
        torch.manual_seed(0)
        distiller = method(student.describe(6), teacher.describe(6))
        seen: list[str] = []

        def images(module, args) -> None:
            if module.training:
                assert args[0].dtype == torch.uint8
                seen.append(hashlib.sha256(args[0].contiguous().numpy().tobytes()).hexdigest())

        def index(module, args) -> None:
            step = args[2]
            seen.append(f"{step.index.tolist()} {step.target.tolist()}")

        student.register_forward_pre_hook(images)
        distiller.register_forward_pre_hook(index)
        augment = Augment(crop_padding=2, flip=True)
        fit(student, teacher, distiller, train_set, test_set, CONFIG, augment=augment, seed=seed)
        return seen

    vanilla = batches(Vanilla, 0)
    assert len(vanilla) == len(set(vanilla)) == 2 * 2 * 3  # images and index of 3 steps of 2 epochs, each another one
    assert vanilla == batches(KD, 0) == batches(TRG, 0) == batches(CRD, 0)
    assert not set(vanilla) & set(batches(Vanilla, 1))


def test_cublas_is_told_before_cuda_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(WORKSPACE, raising=False)
    with deterministic_algorithms(False, CUDA):
        assert WORKSPACE not in os.environ
    with deterministic_algorithms(True, CPU):
        assert WORKSPACE not in os.environ
    with deterministic_algorithms(True, CUDA):
        assert os.environ[WORKSPACE] == ":4096:8"
    # It stays: CUDA may have read it.
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with deterministic_algorithms(True, CUDA):
        assert torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv(WORKSPACE)


@pytest.mark.parametrize(
    ("size", "used", "message"),
    [
        (
            None,
            True,
            f"CUDA is in use already, and has read at its start that {WORKSPACE} is not set; set {WORKSPACE}=",
        ),
        (":0:0", False, f"{WORKSPACE}=:0:0 lets cuBLAS be nondeterministic; set {WORKSPACE}=:4096:8 before the start"),
    ],
)
def test_cublas_that_cannot_be_made_deterministic_any_more_is_refused(monkeypatch, size, used, message):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.delenv(WORKSPACE, raising=False)
    if size is not None:
        monkeypatch.setenv(WORKSPACE, size)
    with pytest.raises(InputError, match=message), deterministic_algorithms(True, CUDA):
        raise AssertionError
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.setenv(WORKSPACE, ":16:8")
    set_cublas_workspace()
    assert os.environ[WORKSPACE] == ":16:8"
