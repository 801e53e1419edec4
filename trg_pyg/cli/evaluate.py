"""Accuracy, loss and calibration of trained networks, also on corrupted images and under attack."""

import json
import shlex
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trg_pyg._files import check_writable, write_text
from trg_pyg._program import program
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.config.messages import one_line
from trg_pyg.config.schema import NetworkConfig
from trg_pyg.config.strict import Parser
from trg_pyg.data.base import Data
from trg_pyg.data.corruption import CORRUPTIONS, SEVERITIES, Corruption
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError, check_channels, check_choice, require
from trg_pyg.models.attack import Attack
from trg_pyg.models.weights import load_weights
from trg_pyg.study.folder import environment
from trg_pyg.study.study import build_network, pick_device
from trg_pyg.use.evaluate import (
    Evaluation,
    Images,
    Split,
    check_fits,
    evaluate_on,
    evaluation_tables,
    read_images_of,
)
from trg_pyg.use.load import KINDS, TrainedNetwork, Which, load

_DESCRIPTION = """\
Evaluate trained networks and print a table, a row each: runs on the data that they were trained on, or any of them on
other data with the same classes (--data), on corrupted images (--corruptions), and under attack (--attack).

top-1, top-5 and ECE in percent, loss in nats. ECE is the expected calibration error over 15 bins. many, medium, few:
mean accuracy of the classes with more than 100, 20 to 100, and fewer than 20 training images of long-tailed data.
corrupted: mean top-1 over the chosen kinds and severities; the definitions are those of CIFAR-10-C (up to 64x64) and
ImageNet-C, the noise is drawn anew: near the published files, and not to be compared with a published mCE.
robust: top-1 under PGD (Madry et al.) of --attack steps, of each image the worst that was found, itself included; the
starts follow from --seed.
"""


@dataclass(frozen=True)
class _Chosen:
    """A command line that was read.

    Attributes:
        checkpoints: runs, exported folders, and weights files in them.
        weights: files of weights of no run, all of one network.
        which: weights of a run's folder.
        split: ``None`` for the images that a run is evaluated on.
        data: in place of those of the runs.
        student: network of ``weights``.
        corruptions: kinds and severities.
        attack: how hard they are tried; ``None`` for not.
        batch_size: images a forward pass.
        device: by name.
        output: file for all figures.
        own_code: whether exported networks may be imported by a dotted path.
        command: what was typed.
    """

    checkpoints: list[str]
    weights: list[Path]
    which: Which
    split: Split | None
    data: Data | None
    student: NetworkConfig
    corruptions: list[Corruption]
    attack: Attack | None
    batch_size: int
    device: str
    output: Path | None
    own_code: bool
    command: str


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate what a command line names and return the exit code: 0, or 2 where the input is at fault."""

    def work() -> None:
        chosen = _read(sys.argv[1:] if argv is None else list(argv))
        evaluations = list(_evaluated(chosen))
        print(evaluation_tables(evaluations))
        if chosen.output is not None:
            write_text(chosen.output, json.dumps(_content(evaluations, chosen), indent=2) + "\n")

    return exit_code_of(work, "evaluate")


def _evaluated(chosen: _Chosen) -> Iterator[Evaluation]:
    device = pick_device(chosen.device)
    known: dict[str, Images] = {}

    def images_of(data: Data, key: str, facts: DataFacts | None = None) -> Images:
        vocabulary = None if facts is None else facts.vocabulary
        key += "" if vocabulary is None else str(hash(vocabulary))
        if key not in known:
            known.clear()  # one set at a time, since it may be large
            known[key] = read_images_of(data, chosen.split, vocabulary)
        return known[key]

    # All are loaded and looked at before the first is evaluated, so that a wrong one costs no time.
    trained = [load(path, chosen.which, chosen.own_code, kinds=KINDS) for path in chosen.checkpoints]
    if chosen.data is None:
        wanted = [(each, each.data, json.dumps(each.settings["data"])) for each in trained]
    else:
        trained += [_of_no_run(file, chosen.student, images_of(chosen.data, "")) for file in chosen.weights]
        wanted = [(each, chosen.data, "") for each in trained]
        for each in trained:
            check_fits(each, images_of(chosen.data, "", each.facts))
    for each, data, key in wanted:
        images = images_of(data, key, each.facts)
        check_fits(each, images)
        if chosen.data is None and not each.has_data(images.facts.digest):
            warnings.warn(
                f"{each.path}: the data that its config.yaml names are others now than it was trained on; test images "
                "may be among those that it has learned",
                stacklevel=2,
            )
        yield evaluate_on(each, images, chosen.corruptions, chosen.batch_size, device, chosen.attack)


def _of_no_run(file: Path, config: NetworkConfig, images: Images) -> TrainedNetwork:
    """Return a network with the weights of a file."""
    facts = images.facts
    network = build_network(replace(config, weights=None), facts, seed=0, taps="none")
    weights = load_weights(network.model, file)
    network.eval().requires_grad_(False)
    return TrainedNetwork(file, config, network, weights, facts, facts.image_size)


def _content(evaluations: Sequence[Evaluation], chosen: _Chosen) -> dict[str, Any]:
    return {
        "command": chosen.command,
        "environment": environment(chosen.command),
        "results": [
            {
                "checkpoint": str(each.trained.path),
                "weights": str(each.trained.weights.path),
                "sha256": each.trained.weights.sha256,
                "network": each.trained.name,
                "method": each.trained.method,
                "seed": each.trained.seed,
                "images": each.images.title,
                "metrics": each.metrics,
                "corrupted": each.corrupted,
            }
            for each in evaluations
        ],
        "corruption_seed": chosen.corruptions[0].seed if chosen.corruptions else None,
        "attack": None if chosen.attack is None else asdict(chosen.attack) | {"step": chosen.attack.step_size},
    }


def _parser() -> Parser:
    parser = Parser(prog=program("evaluate"), description=_DESCRIPTION)
    parser.add_argument(
        "checkpoints",
        nargs="*",
        type=str,
        default=[],
        help=f"folders of runs, weights files in them, folders that {program('export')} wrote",
    )
    parser.add_argument(
        "--weights", nargs="+", type=Path, default=[], help="weights files of no run; takes --student.name and --data"
    )
    parser.add_argument("--which", type=Which, default="last", help="weights of a run: last epoch, or best")
    parser.add_argument(
        "--split",
        type=Split | None,
        default=None,
        help="images to evaluate on; all are training and test images; by default those that a run is evaluated on",
    )
    parser.add_argument(
        "--data",
        type=Data | None,
        default=None,
        help=f"other data with the same classes, as for {program('run')}: --data ImageFolder --data.root photos "
        "--data.size 32",
    )
    parser.add_class_arguments(NetworkConfig, "student", skip={"weights", "taps", "prefix_tokens"})
    parser.add_argument(
        "--corruptions",
        nargs="+",
        type=str,
        default=[],
        help=f"corrupt the images: all, or some of {', '.join(CORRUPTIONS)}",
    )
    parser.add_argument("--severities", nargs="+", type=int, default=list(SEVERITIES), help="of the corruptions")
    parser.add_argument("--attack", type=int | None, default=None, help="steps of an attack by PGD, such as 20")
    parser.add_argument(
        "--eps",
        type=float | None,
        default=None,
        help="largest change of a pixel under attack, of 0 to 1; default 8/255",
    )
    parser.add_argument("--step", type=float | None, default=None, help="of the attack; default 2.5 eps / steps")
    parser.add_argument("--restarts", type=int | None, default=None, help="starts of the attack; default 1")
    parser.add_argument("--seed", type=int, default=0, help="of the noise of corruptions, and of the attack")
    parser.add_argument("--batch_size", type=int, default=256, help="images a forward pass")
    parser.add_argument("--device", type=str, default="auto", help="auto takes a GPU if there is one")
    parser.add_argument("--output", type=Path | None, default=None, help="file for all figures, JSON")
    parser.add_argument(
        "--own_code", action="store_true", help="import the network that an exported folder names by a dotted path"
    )
    # So that it shows whether one was named.
    parser.set_defaults({"student.name": ""})
    return parser


def _read(argv: list[str]) -> _Chosen:
    parser = _parser()
    try:
        parsed = parser.parse_args(argv)
        values = parser.instantiate(parsed)
    except ArgumentError as error:
        raise InputError(one_line(str(error), parser)) from error
    student, output = values.student, values.output
    require(bool(values.checkpoints or values.weights), "nothing to evaluate: name the folder of a run, or --weights")
    if values.weights:
        require(bool(student.name), "--weights: say of which network they are, such as --student.name resnet56")
        require(values.data is not None, "--weights: say what to evaluate on, such as --data CIFAR100")
    else:
        unused = NetworkConfig(name="") != student
        require(not unused, "--student belongs to --weights; a run knows its network")
    check_channels(student.mean, student.std, "--student.")
    require(values.batch_size >= 1, f"--batch_size {values.batch_size}: give 1 or more")
    if output is not None:
        require(not output.is_dir(), f"--output {output}: that is a folder; name a file")
        check_writable(output, "--output", file=True)
    return _Chosen(
        checkpoints=list(values.checkpoints),
        weights=list(values.weights),
        which=values.which,
        split=values.split,
        data=values.data,
        student=student,
        corruptions=_corruptions(values.corruptions, values.severities, values.seed),
        attack=_attack(values.attack, values.seed, eps=values.eps, step=values.step, restarts=values.restarts),
        batch_size=values.batch_size,
        device=values.device,
        output=output,
        own_code=values.own_code,
        command=f"{program('evaluate')} {shlex.join(argv)}",
    )


def _corruptions(names: Sequence[str], severities: Sequence[int], seed: int) -> list[Corruption]:
    for name in names:
        check_choice("--corruptions", name, ("all", *CORRUPTIONS))
    kinds = CORRUPTIONS if "all" in names else tuple(dict.fromkeys(names))
    return [Corruption(name, severity, seed) for name in kinds for severity in sorted(set(severities))]


def _attack(steps: int | None, seed: int, **options: Any) -> Attack | None:
    given = {name: value for name, value in options.items() if value is not None}
    if steps is None:
        require(not given, f"--{next(iter(given), '')} belongs to --attack: give its steps, such as --attack 20")
        return None
    return Attack(steps, seed=seed, **given)
