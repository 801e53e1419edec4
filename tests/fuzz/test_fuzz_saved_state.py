import copy
import hashlib
import io
import os
import pickle
import tempfile
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import safetensors.torch
import torch
from damage import damaged
from fuzzing import file_of, fuzz, judged
from torch import Tensor, nn

from trg_pyg.models.weights import load_weights
from trg_pyg.training import checkpoint
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"weight": torch.arange(40.0), "epoch": 3, "history": [{"loss": 0.5}], "scheduler": {"last": (1, 2)}}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def torch_file(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def checkpoint_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "checkpoint.pt", STATE)
        return (Path(folder) / "checkpoint.pt").read_bytes()


CHECKPOINT = checkpoint_file()
WEIGHTS = network().state_dict()
OTHER = {name: tensor + 1 for name, tensor in WEIGHTS.items()}


class Runs:
    """Asks whoever unpickles it to call a function."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(marker: Path) -> list[Runs]:
    """Each makes a folder where it gets to run."""
    code = f"import os; os.mkdir({str(marker)!r})"
    return [
        Runs(os.mkdir, (str(marker),)),
        Runs(os.system, (f"mkdir {marker}",)),
        Runs(exec, (code,)),
        Runs(eval, (f"__import__('os').mkdir({str(marker)!r})",)),
        Runs(torch.save, ({}, str(marker))),
        Runs(Path.mkdir, (marker,)),
    ]


def with_hash(body: bytes) -> bytes:
    return checkpoint._MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) if isinstance(b[name], Tensor) else a[name] == b[name] for name in b
    )


@fuzz(12, 700, content=damaged(st.just(CHECKPOINT)))
def test_a_damaged_checkpoint_is_never_taken_for_another_state(content: bytes) -> None:
    with file_of(content, "checkpoint.pt") as file, judged("checkpoints"):
        assert same(load_checkpoint(file), STATE)


@fuzz(12, 500, content=damaged(st.just(CHECKPOINT[checkpoint._HEADER :])))
def test_a_checkpoint_of_anything_under_its_right_hash_is_a_state_or_refused(content: bytes) -> None:
    with file_of(with_hash(content), "checkpoint.pt") as file, judged("checkpoints, right hash"):
        assert isinstance(load_checkpoint(file), dict)


@fuzz(5, 150, content=damaged(st.just(CHECKPOINT)))
def test_where_the_last_checkpoint_is_damaged_the_one_before_is_used(content: bytes) -> None:
    with file_of(content, "checkpoint.pt") as file:
        file.with_name("checkpoint.1.pt").write_bytes(CHECKPOINT)
        with judged("checkpoints, one before"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert same(load_checkpoint(file), STATE)


def distiller(student: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole one, as mdistiller saves it, with a teacher of another shape and a weight of its loss."""
    teacher = nn.Linear(3, 4).state_dict()
    return {f"student.{name}": x for name, x in student.items()} | {
        **{f"teacher.{name}": x for name, x in teacher.items()},
        "loss.weight": torch.ones(2),
    }


originals = st.one_of(
    st.just((".safetensors", safetensors.torch.save(OTHER, {"accuracy": "66.7"}))),
    st.sampled_from(
        [
            (".pth", torch_file(OTHER)),
            (".pth", torch_file({"model": OTHER, "best_acc": torch.tensor(71.5), "opt": Namespace(lr=0.1)})),
            (".pth", torch_file({"state_dict": {f"module.{name}": x for name, x in OTHER.items()}, "accuracy": 7})),
            (".pth", torch_file(OTHER, zipped=False)),
            (".ckpt", torch_file({"state_dict": {f"net.{name}": x for name, x in OTHER.items()}, "loops": {"a": 1}})),
            (".PTH", torch_file({f"module.{name}": x for name, x in OTHER.items()} | {"n_averaged": torch.tensor(2)})),
            (".pth", torch_file({"model": distiller(OTHER), "best_acc": np.float64(71.5), "epoch": np.int64(3)})),
        ]
    ),
)


@st.composite
def weights_files(draw: st.DrawFn) -> tuple[str, bytes]:
    suffix, content = draw(originals)
    other_suffix = draw(st.sampled_from([suffix] * 9 + [".pth", ".safetensors"]))
    return other_suffix, draw(damaged(st.just(content)))


def loaded_or_left_alone(file: Path, kind: str) -> None:
    """Weights are loaded whole, or the network is as it was."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    fits = False
    try:
        with judged(kind):
            load_weights(model, file)
            fits = True
    finally:
        after = model.state_dict()
        assert {name: x.shape for name, x in after.items()} == {name: x.shape for name, x in before.items()}
        assert fits or all(torch.equal(after[name], before[name]) for name in before)


@fuzz(15, 1200, given_file=weights_files())
def test_damaged_weights_are_loaded_whole_or_leave_the_network_as_it_was(given_file: tuple[str, bytes]) -> None:
    suffix, content = given_file
    with file_of(content, f"weights{suffix}") as file:
        loaded_or_left_alone(file, f"weights {suffix}")


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(torch.ones(2))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.sampled_from(["model", "accuracy"])), inner),
    ),
    max_leaves=5,
)


@fuzz(12, 300, content=values, own=st.booleans(), claim=values)
def test_a_pytorch_file_of_anything_is_loaded_whole_or_refused(content: Any, own: bool, claim: Any) -> None:
    if own:
        content = {"model": OTHER | {"0.weight": content}, "accuracy": claim}
    with file_of(torch_file(content), "weights.pth") as file:
        loaded_or_left_alone(file, "weights of other content")


@fuzz(
    15,
    400,
    which=st.integers(0, 5),
    protocol=st.integers(0, 5),
    form=st.sampled_from(["pickle", "zip", "legacy", "model", "beside", "key", "checkpoint", "pickled checkpoint"]),
)
def test_a_file_that_asks_to_run_code_is_refused_and_nothing_runs(which: int, protocol: int, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "ran"
        runs = hostile(marker)[which]
        content = {
            "pickle": lambda: pickle.dumps(runs, protocol),
            "pickled checkpoint": lambda: with_hash(pickle.dumps({"epoch": runs}, protocol)),
            "checkpoint": lambda: with_hash(torch_file({"epoch": runs})),
            "legacy": lambda: torch_file({"model": OTHER, "opt": runs}, zipped=False),
            "zip": lambda: torch_file(runs),
            "model": lambda: torch_file({"model": runs}),
            "beside": lambda: torch_file({"model": OTHER, "opt": Namespace(lr=runs)}),
            "key": lambda: torch_file({"model": OTHER, "accuracy": [runs]}),
        }[form]()
        file = Path(folder) / ("checkpoint.pt" if "checkpoint" in form else "weights.pth")
        file.write_bytes(content)
        loaded = False
        with judged("files that run code"):
            load_checkpoint(file) if "checkpoint" in form else load_weights(network(), file)
            loaded = True
        assert not loaded
        assert not marker.exists()
