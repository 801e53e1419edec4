from pathlib import Path

import pytest
import torch

from trg_pyg.data.loading._epochs import LoaderState
from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import save_checkpoint
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.modules import DistillationModule
from trg_pyg.training.optim import build_optimizer, build_schedule
from trg_pyg.training.state import TrainingState
from trg_pyg.training.stream import GlobalStream

BYTES = torch.zeros(4, dtype=torch.uint8)
LOADER: LoaderState = {"images": 10, "batch_size": 2, "batches": 3, "epoch": BYTES, "generator": BYTES}


@pytest.fixture
def make(network, hints):
    def make(seed: int, scale: float = 65536.0, **identity) -> TrainingState:
        module = DistillationModule(network(seed), hints())
        optimizer = build_optimizer(module, TrainConfig())
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(torch.zeros(1))  # the scale exists from its first use on
        return TrainingState(
            identity=identity,
            module=module,
            optimizer=optimizer,
            schedule=build_schedule(optimizer, TrainConfig(), 10),
            scaler=scaler,
            draws=torch.Generator().manual_seed(seed),
            dropout=GlobalStream(seed, torch.device("cpu")),
        )

    return make


def dropped(state: TrainingState) -> torch.Tensor:
    with state.dropout.running():
        return torch.rand(2)


def test_everything_comes_back(make, tmp_path: Path) -> None:
    path, one, two = tmp_path / "checkpoint.pt", make(0, scale=8.0), make(1)
    one.history.append({"epoch": 1, "test/top1": 50.0})
    one.step, one.seconds = 3, 0.5
    one.meter.update({"total": torch.tensor(2.0)}, weight=4)
    one.save(path, LOADER)
    assert two.load(path)["batches"] == 3
    assert torch.equal(dropped(one), dropped(two))
    assert torch.equal(torch.rand(2, generator=one.draws), torch.rand(2, generator=two.draws))
    assert (two.history, two.step, two.seconds, two.scaler.get_scale()) == (one.history, 3, 0.5, 8.0)
    assert two.meter.means() == {"total": 2.0}
    weights = two.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.module.state_dict().items())


def test_another_identity_is_refused_by_name(make, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    make(0, lr=0.1, epochs=3).save(path, LOADER)
    with pytest.raises(InputError, match=r"is of another training: gone is None there and 1 here; lr is 0.1 there and"):
        make(0, lr=0.2, epochs=3, gone=1).load(path)


def test_a_file_of_something_else_is_refused(make, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.zeros(1)})
    with pytest.raises(InputError, match=r"does not fit this student and distiller \('identity'\)"):
        make(0).load(path)
