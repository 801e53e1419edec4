import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import launch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.data.base import ImageSet
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.training.distributed import (
    World,
    average_buffers,
    process_device,
    process_group,
    sync_batchnorm,
    wrap,
)
from trg_pyg.training.meter import Meter
from trg_pyg.training.metrics import evaluate

LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Colours(nn.Module):
    """A network whose logits are not exact: each image's mean colours, through a layer of 7 classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(12, 50), nn.ReLU(), nn.Linear(50, 7))
        self.looks = 0

    def forward(self, images: Tensor) -> Outputs:
        self.looks += len(images)
        return Outputs(self.layers(images.flatten(1).float() / 255), ())


def pictures(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    return ImageSet(
        torch.randint(0, 256, (count, 3, 2, 2), generator=generator).to(torch.uint8),
        torch.randint(0, 7, (count,), generator=generator),
    )


SHOTS = {"many": [0, 1, 2], "few": [5, 6]}
# Images and batch size: uneven batches, an uneven number of batches, fewer batches than processes, one image.
TEST_SETS = [(50, 8), (33, 8), (20, 4), (7, 16), (1, 4)]
SHARES = [[2, 1, 3], [3, 0, 0], [2, 2, 2]]


def message(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def three(world: World) -> dict[str, Any]:
    """What three processes send one another."""
    found: dict[str, Any] = {"world": [world.rank, world.size, world.is_main]}
    found["share"] = world.share(torch.arange(7))
    found["sum"] = world.sum(torch.tensor([1, 2**40 + world.rank]))
    # The largest float32 that is not lost beside 1 in float64, but is in float32.
    found["float sum"] = world.sum(torch.tensor(2.0**30 if world.is_main else 1.0))
    found["object"] = world.broadcast_object({"path": "main"} if world.is_main else None)
    world.barrier()
    for sizes in SHARES:
        first, rows = sum(sizes[: world.rank]), sizes[world.rank]
        whole = torch.arange(2.0 * sum(sizes)).view(-1, 2)
        for dtype in (torch.float32, torch.int64, torch.bool, torch.bfloat16):
            own = whole[first : first + rows].to(dtype)
            found[f"{sizes} {dtype}"] = [world.gather(own, sizes), whole.to(dtype)]
        own = whole[first : first + rows].clone().requires_grad_()
        (world.gather(own, sizes).square() * torch.tensor([1.0, 10.0])).sum().backward()
        found[f"{sizes} gradient"] = [own.grad, 3 * 2 * own.detach() * torch.tensor([1.0, 10.0])]
        own.grad = None
        ((world.rank + 1) * world.gather(own, sizes, alike=False).square()).sum().backward()
        found[f"{sizes} sum"] = [own.grad, (1 + 2 + 3) * 2 * own.detach()]
    found["refused"] = message(lambda: world.gather(torch.zeros(5, 1), [1, 2, 3]))

    meter = Meter()
    meter.update({"ce": torch.tensor(float(world.rank)), "kd": torch.tensor(0.1)}, weight=4 - world.rank)
    meter.update({"ce": torch.tensor(10.0), "kd": torch.tensor(0.1)}, weight=2)
    found["meter"] = [meter.means(world), meter.means()]

    layers = nn.ModuleDict({"norm": nn.BatchNorm1d(2), "instance": nn.InstanceNorm1d(2, track_running_stats=True)})
    layers["no statistics"] = nn.BatchNorm1d(2, track_running_stats=False)
    layers["norm"].running_mean.copy_(torch.tensor([1.0, 0.1]) * torch.tensor([world.rank, 1.0]))
    layers["instance"].running_var.fill_(3.0 * world.rank)
    layers["norm"].num_batches_tracked.fill_(5)
    layers["other"] = nn.Module()
    layers["other"].register_buffer("bank", torch.full((2,), float(world.rank)))
    average_buffers(layers, world)
    found["buffers"] = dict(layers.state_dict())

    for images, batch in TEST_SETS:
        model = Colours()
        found[f"metrics {images}"] = evaluate(model, pictures(images), batch, SHOTS, world=world)
        found[f"looks {images}"] = model.looks
    found["wrong class"] = message(lambda: evaluate(Colours(), pictures(3), 4, {"few": [9]}, world=world))
    found["wrong batch"] = message(lambda: evaluate(Colours(), pictures(3), 0, world=world))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    return launch(three, 3, tmp_path_factory.mktemp("three"))


def test_processes_know_one_another(found) -> None:
    assert [each["world"] for each in found] == [[0, 3, True], [1, 3, False], [2, 3, False]]
    assert [each["object"] for each in found] == [{"path": "main"}] * 3


def test_a_share_is_contiguous(found) -> None:
    assert [each["share"].tolist() for each in found] == [[0, 1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_process_knows_all_sizes_from_the_count(count, size) -> None:
    worlds = [World(rank, size) for rank in range(size)]
    expected = [len(part) for part in torch.arange(count).tensor_split(size)]
    assert all(world.part(count) == expected for world in worlds)
    assert torch.cat([world.share(torch.arange(count)) for world in worlds]).tolist() == list(range(count))


def test_sums_are_exact(found) -> None:
    for each in found:
        assert each["sum"].dtype == each["float sum"].dtype == torch.float64
        assert each["sum"].tolist() == [3, 3 * 2**40 + 3]
        assert each["float sum"] == 2**30 + 2


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "bfloat16"])
@pytest.mark.parametrize("sizes", SHARES, ids=str)
def test_shares_of_unequal_sizes_are_put_together(found, sizes, dtype) -> None:
    for each in found:
        gathered, whole = each[f"{sizes} torch.{dtype}"]
        assert gathered.dtype == whole.dtype
        assert torch.equal(gathered, whole)


@pytest.mark.parametrize("sizes", SHARES, ids=str)
def test_the_gradient_of_the_own_rows_is_scaled_for_a_mean_over_processes(found, sizes) -> None:
    for each, rows in zip(found, sizes, strict=True):
        gradient, expected = each[f"{sizes} gradient"]
        assert gradient.shape == (rows, 2)
        assert torch.equal(gradient, expected)


@pytest.mark.parametrize("sizes", SHARES, ids=str)
def test_where_processes_compute_different_losses_all_their_gradients_come_back(found, sizes) -> None:
    for each in found:
        assert torch.equal(*each[f"{sizes} sum"])


def test_a_share_of_another_size_is_refused_before_anything_is_sent(found) -> None:
    assert "process 1 of 3 has a share of 5 where the shares are [1, 2, 3]" in found[1]["refused"]


def test_means_are_over_the_images_of_all_processes(found) -> None:
    for rank, each in enumerate(found):
        together, own = each["meter"]
        assert together == pytest.approx({"ce": (0 * 4 + 1 * 3 + 2 * 2 + 3 * 20) / 15, "kd": 0.1})
        assert own == pytest.approx({"ce": (rank * (4 - rank) + 20) / (6 - rank), "kd": 0.1})


def test_running_statistics_are_averaged_and_nothing_else(found) -> None:
    for rank, each in enumerate(found):
        buffers = each["buffers"]
        # What is equal on all processes stays as it is to the bit, though 0.1 + 0.1 + 0.1 is not 3 * 0.1 in float32.
        assert torch.equal(buffers["norm.running_mean"], torch.tensor([1.0, 0.1]))
        assert torch.equal(buffers["instance.running_var"], torch.tensor([3.0, 3.0]))
        assert buffers["norm.num_batches_tracked"] == 5
        assert torch.equal(buffers["other.bank"], torch.full((2,), float(rank)))


@pytest.mark.parametrize(("images", "batch"), TEST_SETS)
def test_metrics_are_those_of_one_process_to_the_bit(found, images, batch) -> None:
    expected = evaluate(Colours(), pictures(images), batch, SHOTS)
    assert {"top1", "top5", "loss"} <= expected.keys()
    assert [each[f"metrics {images}"] for each in found] == [expected] * 3


def test_the_test_set_is_shared_out_in_whole_batches(found) -> None:
    assert [each["looks 50"] for each in found] == [24, 16, 10]
    assert [each["looks 33"] for each in found] == [16, 16, 1]
    # Who has no image looks at one batch, to know the classes.
    assert [each["looks 1"] for each in found] == [1, 1, 1]


def test_all_processes_refuse_alike(found) -> None:
    assert len({each["wrong class"] for each in found}) == 1
    assert "class 9 in shots['few']" in found[2]["wrong class"]
    assert "batch_size 0 is below 1" in found[0]["wrong batch"]


def test_a_single_process_is_left_alone() -> None:
    world, tensor, module = World(), torch.ones(3, requires_grad=True), nn.BatchNorm1d(2)
    assert World.current() == world == World(0, 1)
    assert world.is_main
    assert world.gather(tensor, [3]) is world.share(tensor) is world.sum(tensor) is world.broadcast_object(tensor)
    assert tensor is world.sum(tensor)
    assert wrap(module, world) is module
    world.barrier()
    average_buffers(module, world)
    assert torch.equal(module.running_var, torch.ones(2))


@pytest.fixture
def environment(monkeypatch) -> Callable[..., None]:
    """Sets what torchrun sets."""

    def put(**variables: str) -> None:
        for name in LAUNCH:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}


@pytest.mark.parametrize("variables", [{}, {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}], ids=str)
def test_without_other_processes_nothing_is_initialised(environment, variables) -> None:
    environment(**variables)
    with process_group("auto") as world:
        assert world == World()
        assert not torch.distributed.is_initialized()
        assert process_device("cpu") == torch.device("cpu")
        assert process_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 and no RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start with torchrun"),
        ({**TORCHRUN, "RANK": "one"}, "RANK=one, LOCAL_RANK=1, WORLD_SIZE=8: these are whole numbers"),
    ],
    ids=str,
)
def test_a_part_of_an_environment_is_refused(environment, variables, text) -> None:
    environment(**variables)
    with pytest.raises(InputError, match=text), process_group("cpu"):
        pass


@pytest.mark.parametrize(
    ("gpus", "name", "expected"),
    [
        (4, "auto", "cuda:1"),
        (4, "cuda", "cuda:1"),
        (4, "cpu", "cpu"),
        (0, "auto", "cpu"),
        (4, "cuda:0", "device=cuda:0 for 8 processes: choose cuda, which gives each process its own GPU, or cpu"),
        (4, "mps", "device=mps for 8 processes"),
        (1, "cuda", "process 1 of this machine has no GPU, there are 1: start at most as many processes"),
        (4, "abacus", "device=abacus: there is no such device; choose auto, cpu or cuda"),
    ],
)
def test_each_process_has_its_own_device(environment, monkeypatch, gpus, name, expected) -> None:
    environment(**TORCHRUN)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if " " in expected:
        with pytest.raises(InputError, match=expected):
            process_device(name)
    else:
        assert process_device(name) == torch.device(expected)


def test_synchronised_batch_norm_keeps_weights_and_taps() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4, affine=False))
    tapped = TappedModel(model, ["1"], None)
    before = {name: value.data_ptr() for name, value in tapped.state_dict().items()}
    sync_batchnorm(tapped, torch.device("cuda"))
    assert [type(layer) for layer in model] == [nn.Conv2d, nn.SyncBatchNorm, nn.ReLU, nn.SyncBatchNorm]
    assert {name: value.data_ptr() for name, value in tapped.state_dict().items()} == before
    images = torch.rand(2, 3, 8, 8)
    tapped.eval()
    # In eval mode it is a batch norm on any device, and the tap is still read.
    expected = F.batch_norm(model[0](images), torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(tapped(images).features[0], expected)


def test_synchronised_batch_norm_is_refused_where_it_cannot_be() -> None:
    class WithReLU(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    with pytest.raises(InputError, match="on cpu: PyTorch has it for CUDA only; train on GPUs, or leave it off"):
        sync_batchnorm(nn.BatchNorm2d(3), torch.device("cpu"))
    module = nn.Sequential(nn.BatchNorm2d(3), WithReLU(3))
    with pytest.raises(InputError, match="in place of WithReLU: what they do besides would be lost"):
        sync_batchnorm(module, torch.device("cuda"))
    assert type(module[0]) is nn.BatchNorm2d


SCRIPT = """
import sys
from datetime import timedelta
import torch
from trg_pyg.training.distributed import World, process_group
with process_group("cpu", timedelta(seconds=30)) as world:
    total = world.sum(torch.tensor(float(world.rank + 1)))
    with open(f"{sys.argv[1]}/{world.rank}", "w") as file:
        file.write(f"{world.size} {total.item()}")
assert not torch.distributed.is_initialized()
assert World.current() == World()
"""


def test_the_processes_of_torchrun_meet_and_part(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCH}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2 3.0", "2 3.0"]


def give_up(world: World, port: int) -> dict[str, Any]:
    """The main process raises while the other one waits for it."""
    places = {"RANK": world.rank, "LOCAL_RANK": world.rank, "WORLD_SIZE": world.size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="localhost")
    started, error = time.monotonic(), ""
    try:
        with process_group("cpu", timedelta(seconds=60)) as world:
            if world.is_main:
                raise ValueError("main gives up")
            world.barrier()
    except (ValueError, RuntimeError) as raised:
        error = type(raised).__name__
    seconds = time.monotonic() - started
    return {"error": error, "seconds": seconds, "initialised": torch.distributed.is_initialized()}


def test_an_exception_leaves_the_group_without_a_wait(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    main, other = launch(partial(give_up, port=port), 2, tmp_path, group=False)
    assert (main["error"], other["error"]) == ("ValueError", "RuntimeError")
    assert (main["initialised"], other["initialised"]) == (False, False)
    assert max(main["seconds"], other["seconds"]) < 30
