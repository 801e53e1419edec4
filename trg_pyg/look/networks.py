"""The networks of a run side by side: its teacher, its student before and after the training, and their tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trg_pyg.batch import Inputs, changed, rows_of
from trg_pyg.config.messages import class_at
from trg_pyg.config.schema import DistillerFactory, NetworkConfig, TeacherConfig
from trg_pyg.config.stored import read_network, read_part
from trg_pyg.distillers.base import Taps
from trg_pyg.distillers.trg import default_token_graphs
from trg_pyg.errors import InputError, require
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.models._probe import Example
from trg_pyg.models.pretrained import is_hub
from trg_pyg.models.taps import NetworkInfo, TappedModel
from trg_pyg.models.weights import load_weights
from trg_pyg.runs import CONFIG, method_of, read_environment
from trg_pyg.study.study import build_network, tapped
from trg_pyg.study.teacher import digest_of
from trg_pyg.tokens.normalize import tell_of_zeros
from trg_pyg.use.load import TrainedNetwork, Which, load, untrained

_IMAGES_AT_ONCE = 256


class Seen(NamedTuple):
    """What a network makes of N images.

    Attributes:
        name: of the network, as a picture shows it.
        features: its last tap, laid out as the tap gives it.
        embedding: what it classifies, ``[N, d]``; ``None`` where none is known.
        is_teacher: whose tokens they are.
    """

    name: str
    features: Tensor
    embedding: Tensor | None
    is_teacher: bool


@dataclass(frozen=True)
class RunNetworks:
    """The networks of a run, tapped as its method looks at them, in evaluation mode on the CPU.

    Attributes:
        trained: what is known of the student and its run.
        after: the student that the run trained.
        before: the same network with the weights that its training began with, which the seed gives; its batch
            normalisation has no statistics yet, and takes those of the images shown, as the training's first step does.
        teacher: ``None`` where the method has none.
        graphs: the token graphs of the method; of a method without, those of TRG by default.
    """

    trained: TrainedNetwork
    after: TappedModel
    before: TappedModel
    teacher: TappedModel | None
    graphs: TokenGraphs

    def names(self) -> dict[str, TappedModel]:
        """Return the networks by the names that pictures show, the teacher first."""
        name = self.trained.name
        return self.teachers() | {
            f"{name} before training": self.before,
            f"{name} after {self.trained.method}": self.after,
        }

    def teachers(self) -> dict[str, TappedModel]:
        """Return the teacher by its name in pictures; nothing where there is none."""
        return {} if self.teacher is None else {f"teacher {self.trained.settings['teacher']['name']}": self.teacher}

    @torch.no_grad()
    def see(self, images: Tensor) -> list[Seen]:
        """Show images, uint8 ``[N, C, H, W]``, or clips to all networks; tokens that are zero vectors are warned of."""
        seen = [look(name, network, images, network is self.teacher) for name, network in self.names().items()]
        for each in seen:
            tell_of_zeros(self.tokens(each), each.name)
        return seen

    def tokens(self, seen: Seen, positions: Tensor | None = None) -> Tensor:
        """Return a network's tokens ``[N, n, D]`` at positions ``[N, n]``, or all of them."""
        tokenize = self.graphs.tokenize
        cut = tokenize.of_teacher if seen.is_teacher else tokenize.of_student
        return cut(seen.features, positions)


@torch.no_grad()
def look(name: str, network: TappedModel, images: Inputs, is_teacher: bool = False) -> Seen:
    """Show images, uint8 ``[N, C, H, W]``, or other inputs to a network, some at a time."""
    rows = torch.arange(rows_of(images))
    # Parts of one size: statistics of a part that is left over would be others.
    parts = rows.chunk(-(-len(rows) // _IMAGES_AT_ONCE))
    outputs = [network(changed(images, lambda each: each[part])) for part in parts]  # noqa: B023 - called at once
    features = torch.cat([each.features[-1] for each in outputs]) if outputs[0].features else torch.empty(0)
    embeddings = [each.embedding for each in outputs if each.embedding is not None]
    return Seen(name, features, torch.cat(embeddings) if embeddings else None, is_teacher)


def load_run_networks(path: str | Path, which: Which = "last", teacher: Path | None = None) -> RunNetworks:
    """Load the networks of a run.

    The teacher's weights are read from where the run has found them, and have to be the same still; no teacher is
    trained here.

    Args:
        path: folder of the run, as for :func:`~trg_pyg.use.load.load`.
        which: weights of the student.
        teacher: file of the teacher's weights, where they lie elsewhere now.

    Raises:
        InputError: as :func:`~trg_pyg.use.load.load`; the network is of no run; the teacher's weights are gone or have
            changed; a network has no feature map.
    """
    trained = load(path, which, taps="last", kinds=("images", "texts", "clips", "pixels"))
    settings, facts, place = trained.settings, trained.facts, trained.folder / CONFIG
    name, distiller = method_of(settings)
    build = read_part(DistillerFactory, "distiller", distiller, place)
    method = class_at(distiller["class_path"])
    taps: Taps = "last" if method.taps == "none" else method.taps
    student = read_network(NetworkConfig, "student", settings["student"], place)
    after = tapped(trained.network, student, taps).eval()
    before = build_network(student, facts, settings["seeds"][0], taps).eval().requires_grad_(False)
    info = _described(after, student.name, facts.example)
    before.describe(facts.example)
    use_batch_statistics(before)
    if not method.needs_teacher:
        require(teacher is None, f"--teacher {teacher}: {name} has no teacher; leave it out")
        graphs = build(info, None).token_graphs or default_token_graphs(info.features[-1], info.features[-1])
        return RunNetworks(trained, after, before, None, graphs)
    config = read_network(TeacherConfig, "teacher", settings["teacher"], place)
    network = tapped(_load_teacher(trained, config, teacher), config, taps).eval().requires_grad_(False)
    info_t = _described(network, config.name, facts.example)
    graphs = build(info, info_t).token_graphs or default_token_graphs(info.features[-1], info_t.features[-1])
    return RunNetworks(trained, after, before, network, graphs)


def use_batch_statistics(network: nn.Module) -> None:
    """Let batch normalisation that has seen no image take the statistics of what it is shown, in evaluation mode too.

    Those that it begins with, mean 0 and variance 1, let the activations of a deep network without training die away
    layer by layer. Layers with statistics of their own, as of weights that were loaded, keep them.
    """
    for module in network.modules():
        if not isinstance(module, _BatchNorm) or module.running_mean is None or module.running_var is None:
            continue
        if not module.running_mean.any() and (module.running_var == 1).all():
            module.momentum = 0.0  # so that looking changes nothing
            module.register_forward_pre_hook(_take_batch_statistics)
            module.register_forward_hook(_back_to_evaluation)


def _take_batch_statistics(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    # A single value a channel has no variance.
    module.training = args[0].numel() > args[0].shape[1]


def _back_to_evaluation(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    module.training = False


def _described(network: TappedModel, name: str, example: Example) -> NetworkInfo:
    info = network.describe(example)
    require(len(info.features) > 0, f"{name}: taps is empty, so there are no tokens; the run has to name a module")
    return info


def _load_teacher(trained: TrainedNetwork, config: TeacherConfig, given: Path | None) -> TappedModel:
    origin, sha256 = _provenance(trained.folder)
    if config.trained and (config.weights is None or is_hub(config.weights)):
        require(given is None, f"--teacher {given}: the run's teacher is {origin}, which needs no file; leave it out")
        network = build_network(config, trained.facts, config.seed)
        found = digest_of(network.model)
        require(found == sha256, f"teacher {origin}: other weights ({found[:8]}) than the run had ({sha256[:8]})")
        return network
    file = _found(origin, trained.folder) if given is None else given
    network = build_network(untrained(config), trained.facts, config.seed)
    loaded = load_weights(network.model, file)
    require(
        loaded.sha256 == sha256,
        f"teacher {file}: sha256 {loaded.sha256[:8]}..., the run's teacher had {sha256[:8]}...; name its file "
        "with --teacher",
    )
    return network


def _provenance(folder: Path) -> tuple[str, str]:
    known = read_environment(folder).get("teacher") or {}
    try:
        return str(known["weights"]), str(known["sha256"])
    except (TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{folder / 'environment.json'} does not say which teacher the run had ({reason}); the folder is damaged"
        ) from error


def _found(origin: str, folder: Path) -> Path:
    """Return the file of a teacher; of one that was trained or fetched for the run, also where the runs were moved."""
    file = Path(origin)
    # runs/<data>/<pair>/<method>/<seed>
    above = folder.resolve().parents[3:]
    if not file.is_file() and "teachers" in file.parts and above:
        below = file.parts[len(file.parts) - file.parts[::-1].index("teachers") :]
        moved = above[0].joinpath("teachers", *below)
        file = moved if moved.is_file() else file
    require(file.is_file(), f"teacher {origin}: no such file from here; name it with --teacher")
    return file
