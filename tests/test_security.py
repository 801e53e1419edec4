"""No file runs code: which calls the source may not have, and files that try."""

import ast
import builtins
import hashlib
import io
import os
import pickle
import re
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from torchvision import datasets

from trg_pyg.cli.run import main
from trg_pyg.data import CIFAR10, CIFAR100, FashionMNIST
from trg_pyg.errors import InputError
from trg_pyg.models import load_weights, resnet8
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]

# Whole names, or beginnings that end in a dot. Whoever refers to one of them can run code of a file, of a text or of
# another machine, or reads from the network.
UNSAFE = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.", "marshal.", "shelve.", "dill.", "cloudpickle."),
    *("joblib.load", "pandas.read_pickle", "torch.jit.load", "torch.package.", "torch.export.load", "torch.hub."),
    *("torch.serialization.add_safe_globals", "torch.serialization.safe_globals"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"),
    *("yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.CLoader"),
    *("importlib.import_module", "importlib.util.spec_from_file_location", "runpy."),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("torch.distributed.broadcast_object_list", "torch.distributed.all_gather_object"),
    *("torch.distributed.gather_object", "torch.distributed.scatter_object_list"),
    *("torch.distributed.recv_object_list", "torch.distributed.send_object_list", "torch.distributed.rpc."),
    *("urllib.request.urlopen", "urllib.request.urlretrieve", "urllib.request.build_opener", "requests.", "httpx."),
    *("ssl._create_unverified_context", "tempfile.mktemp"),
}
# What may be called with the argument that makes it safe, and not be handed on.
IF = {
    "torch.load": ("weights_only", {"True"}),
    "yaml.load": ("Loader", {"yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader", "CSafeLoader"}),
    "yaml.load_all": ("Loader", {"yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader", "CSafeLoader"}),
    "shutil.unpack_archive": ("filter", {"'data'"}),
}
# What may be called unless an argument makes it unsafe; the rest of the call counts as well.
UNLESS = {"numpy.load": ("allow_pickle", {"False"}, 2), "subprocess.": ("shell", {"False"}, 8)}
# Methods of archives, whatever the archive is called. A ZipFile has no filter, so it is refused.
METHODS = {"extractall", "extract"}

# Each with its reason. A dotted path is code that somebody chose on the command line or in a configuration.
ALLOWED = {
    ("trg_pyg/__init__.py", "importlib.import_module"): "the packages of the library",
    ("experiments/faults/run.py", "importlib.import_module"): "the kinds of faults, which lie beside it",
    ("trg_pyg/models/zoo.py", "importlib.import_module"): "networks by dotted path, timm",
    ("trg_pyg/cli/__init__.py", "importlib.import_module"): "the commands beside it, by their files' names",
    ("trg_pyg/config/messages.py", "importlib.import_module"): "classes that jsonargparse has imported already",
    ("experiments/benchmarks/neighbours.py", "importlib.import_module"): "libraries to compare with, by fixed names",
    ("trg_pyg/models/weights.py", "torch.serialization.safe_globals"): "a Namespace and numbers of numpy, data only",
    ("trg_pyg/training/distributed.py", "torch.distributed.broadcast_object_list"): "between processes of one training",
    ("trg_pyg/training/distributed.py", "torch.distributed.all_gather_object"): "between processes of one training",
    ("trg_pyg/models/published.py", "urllib.request.build_opener"): "published teachers, held to a hash",
    ("trg_pyg/use/formats.py", "torch.export.load"): "a file that it wrote a moment before",
    ("experiments/data/cifar_folder.py", "pickle.loads"): "bytes whose MD5 sum is that of CIFAR-100's authors",
}


def imported(nodes: list[ast.AST]) -> dict[str, str]:
    """What names of a file stand for: ``{"np": "numpy", "loads": "pickle.loads"}``."""
    known = {name: name for name in vars(builtins)}
    for node in nodes:
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
            known |= {top: top for each in node.names if not each.asname for top in [each.name.partition(".")[0]]}
        elif isinstance(node, ast.ImportFrom):
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return known


def full_name(node: ast.AST, known: dict[str, str]) -> str:
    """The name that an expression refers to, ``?`` where that is not known."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([known.get(node.id, "?") if isinstance(node, ast.Name) else "?", *parts])


def among(name: str, names: set[str] | dict) -> str | None:
    return next((each for each in names if name == each or (each.endswith(".") and name.startswith(each))), None)


def unsafe(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a source that may be unsafe."""
    nodes = list(ast.walk(ast.parse(text)))
    known = imported(nodes)
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
            yield node.lineno, f"{node.module}.*"
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        name, call = full_name(node, known), calls.get(id(node))
        given = {} if call is None else {each.arg: ast.unparse(each.value) for each in call.keywords}
        if among(name, UNSAFE):
            yield node.lineno, name
        elif name in IF:
            argument, values = IF[name]
            if given.get(argument) not in values:
                yield node.lineno, name
        elif (key := among(name, UNLESS)) and call is not None:
            argument, values, most = UNLESS[key]
            # ** may bring anything, and so may positions beyond those that are known to be harmless.
            if given.get(argument, "False") not in values or None in given or len(call.args) > most:
                yield node.lineno, name
        elif isinstance(node, ast.Attribute) and node.attr in METHODS and given.get("filter") != "'data'":
            yield node.lineno, node.attr


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_no_unsafe_call_but_those_that_are_allowed():
    found = {
        (path.relative_to(ROOT).as_posix(), name): line
        for path in sources("trg_pyg", "experiments")
        for line, name in unsafe(path.read_text())
    }
    assert {f"{path}:{line} {name}" for (path, name), line in found.items() if (path, name) not in ALLOWED} == set()
    assert set(ALLOWED) <= set(found), "what is allowed and not there any more has to go from the list"


def test_tests_load_no_more_than_weights_either():
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sources("tests")
        for text in [path.read_text()]
        if re.search("load|unpack|extract|subprocess", text)
        for line, name in unsafe(text)
        if among(name, IF) or among(name, UNLESS) or name in METHODS
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "import torch\ntorch.load(file, weights_only=safe)",
        "import torch as t\nt.load(file)",
        "from torch import load\nload(file)",
        "from torch import load as read\nread(file)",
        "import torch\nread = torch.load",
        "import torch.serialization\ntorch.serialization.safe_globals([Path])",
        "import torch\ntorch.hub.load_state_dict_from_url(url)",
        "from torch import hub\nhub.load('a', 'b')",
        "import torch\ntorch.jit.load(file)",
        "import pickle\npickle.load(file)",
        "def f():\n    from pickle import loads as read\n    return read(text)",
        "import pickle\nclass Mine(pickle.Unpickler): pass",
        "from pickle import *\nload(file)",
        "import dill\ndill.loads(text)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "from yaml import load\nload(text, Loader=loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
        "import numpy as np\nnp.load(file, None, True)",
        "import numpy as np\nnp.load(file, **options)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "from importlib import import_module\nimport_module(name)",
        "import os\nos.system(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "from subprocess import Popen\nPopen(text, shell=shell)",
        "import subprocess\nsubprocess.check_output(text, **options)",
        "import tarfile\ntarfile.open(file).extractall(folder)",
        "archive.extractall(folder, filter='tar')",
        "archive.extract(member)",
        "unpack = archive.extractall",
        "import shutil\nshutil.unpack_archive(file, folder)",
        "from urllib.request import urlopen\nurlopen(url)",
        "import requests\nrequests.get(url)",
        "import torch.distributed as dist\ndist.all_gather_object(values, value)",
        "import tempfile\ntempfile.mktemp()",
    ],
)
def test_an_unsafe_call_is_seen(text):
    assert len(list(unsafe(text))) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(file, map_location='cpu', weights_only=True)",
        "import yaml\nyaml.safe_load(text)\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "import numpy as np\nnp.load(file)\nnp.load(file, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['git'], check=True, shell=False)",
        "archive.extractall(folder, filter='data')",
        "import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass",
        "network.eval()\nimport re\nre.compile(text)\nimport torch\ntorch.compile(network)",
        "from mine import load\nload(file)",
    ],
)
def test_a_safe_call_is_fine(text):
    assert list(unsafe(text)) == []


class Trap:
    """What a pickle can do: it makes a folder when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """Where a trap leaves its mark; that it does so when it is read carelessly is seen afterwards."""
    place = tmp_path / "marker"
    yield place
    assert not place.exists()
    pickle.loads(pickle.dumps(Trap(place)))
    assert place.exists()


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt", "pth.tar", "safetensors", ""])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_weights_that_would_run_code_are_refused(tmp_path, marker, suffix, form):
    file = tmp_path / f"net.{suffix}"
    content = {"state_dict": resnet8().state_dict(), "more": Trap(marker)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match=f"weights {re.escape(str(file))}: "):
        load_weights(resnet8(), file)


def checkpoint(file: Path, body: bytes) -> None:
    """A file that states the hash of its content, as whoever can write a file can write its hash."""
    file.write_bytes(b"trg_pyg checkpoint sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, marker, form):
    file, buffer = tmp_path / "checkpoint.pt", io.BytesIO()
    if form == "pickle":
        buffer.write(pickle.dumps({"history": Trap(marker)}))
    else:
        torch.save({"history": Trap(marker)}, buffer, _use_new_zipfile_serialization=form == "zip")
    checkpoint(file, buffer.getvalue())
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read"):
        load_checkpoint(file)
    # Otherwise the hash might be what was refused.
    buffer = io.BytesIO()
    torch.save({"history": []}, buffer)
    checkpoint(file, buffer.getvalue())
    assert load_checkpoint(file) == {"history": []}


STUDY = ["--methods=Vanilla", "--student.name=resnet8", "--wandb=disabled", "--device=cpu", "--quiet"]


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_a_study_refuses_weights_that_would_run_code(tmp_path, marker, network, capsys):
    torch.save({"model": Trap(marker)}, tmp_path / "net.pth")
    arguments = [*STUDY, "--methods=KD", f"--{network}.weights={tmp_path / 'net.pth'}", f"--output={tmp_path / 'runs'}"]
    assert main(arguments) == 2
    assert "refused, since it asks to run" in capsys.readouterr().err


def test_a_study_resumes_from_no_checkpoint_that_would_run_code(tmp_path, marker, capsys):
    arguments = [*STUDY, "--train.epochs=1", "--data.imbalance=100", f"--output={tmp_path / 'runs'}"]
    assert main(arguments) == 0
    (file,) = tmp_path.glob("runs/*/*/*/seed0/checkpoint.pt")
    save_checkpoint(file, {"identity": Trap(marker)})
    (file.parent / "metrics.jsonl").write_text("")  # of a run that is finished no checkpoint is read
    assert main([*arguments, "--resume"]) == 2
    assert "can be read" in capsys.readouterr().err


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir ['{}']", "!!python/object/new:os.mkdir ['{}']"])
def test_a_configuration_holds_no_objects(tmp_path, marker, tag, capsys):
    (tmp_path / "config.yaml").write_text(f"student: {{name: {tag.format(marker)}}}\n")
    assert main([f"--config={tmp_path / 'config.yaml'}"]) == 2
    (tmp_path / "other.yaml").write_text(f"student:\n  args: {tag.format(marker)}\n")
    assert main([f"--config={tmp_path / 'other.yaml'}"]) == 2
    bait = tag.format(marker.with_name("bait"))
    yaml.unsafe_load(bait)
    assert marker.with_name("bait").exists()


@pytest.fixture
def served(tmp_path):
    """The address of a folder on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


MD5 = r"[0-9a-f]{32}"


@pytest.mark.parametrize("dataset", [datasets.CIFAR10, datasets.CIFAR100])
def test_every_pickle_that_torchvision_reads_has_a_hash(dataset):
    hashes = [md5 for _, md5 in dataset.train_list + dataset.test_list] + [dataset.meta["md5"], dataset.tgz_md5]
    assert all(re.fullmatch(MD5, md5) for md5 in hashes)
    assert dataset.url.startswith("https://")


def test_every_file_of_fashion_mnist_has_a_hash():
    assert all(re.fullmatch(MD5, md5) for _, md5 in datasets.FashionMNIST.resources)


def member(name: str, content: bytes = b"", **attributes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, io.BytesIO(content)


@pytest.mark.parametrize("data", [CIFAR10, CIFAR100], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("there", ["archive", "address"])
def test_an_archive_of_another_hash_is_not_unpacked(tmp_path, marker, served, monkeypatch, data, there):
    """Whatever it holds: what leads out of the folder, links, devices, pickles that run code."""
    dataset = getattr(datasets, data.__name__)
    folder, root = dataset.base_folder, tmp_path / "in" / "data"
    root.mkdir(parents=True)
    archive = (root if there == "archive" else served[0]) / dataset.filename
    members = [
        member("../outside", b"text"),
        member(str(tmp_path / "absolute"), b"text"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="../../outside"),
        member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        *(member(f"{folder}/{name}", pickle.dumps(Trap(marker))) for name, _ in dataset.train_list),
    ]
    with tarfile.open(archive, "w:gz") as written:
        for info, content in members:
            written.addfile(info, content)
    # An archive that is there and not the right one is downloaded again.
    monkeypatch.setattr(dataset, "url", f"{served[1]}/{dataset.filename if there == 'address' else 'nothing'}")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"{data.__name__} cannot be read from .*; check the network or put"):
        data(root=str(root)).load()
    left = set(tmp_path.rglob("*")) - before
    assert left <= {root / dataset.filename}  # never read, and replaced by the next download


def test_images_of_another_hash_are_not_unpacked(tmp_path, served, monkeypatch):
    source, address = served
    for name, _ in datasets.FashionMNIST.resources:
        (source / name).write_bytes(b"something else")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}/"])
    with pytest.raises(InputError, match="FashionMNIST cannot be read"):
        FashionMNIST(root=str(tmp_path / "data")).load()
    assert {path.suffix for path in (tmp_path / "data").rglob("*") if path.is_file()} <= {".gz"}
