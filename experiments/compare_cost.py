"""What students and their teachers cost on this machine: ``python experiments/compare_cost.py --help``."""

import logging
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
# PyTorch's timers import its compiler of extensions, which says where there is no GPU.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

import torch  # noqa: E402

from experiments.cost_table import MOST_SECONDS, cost_table, measure  # noqa: E402
from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.study import build_network, pick_device  # noqa: E402
from experiments.trained import Trained, load_trained, untrained  # noqa: E402
from trg_pyg.errors import require  # noqa: E402
from trg_pyg.models.image_classifier import ImageClassifier  # noqa: E402
from trg_pyg.models.taps import TappedModel  # noqa: E402

_DESCRIPTION = """\
Compare what students and their teachers cost: parameters, size of the weights, operations of an image, and the time
of a forward pass on this machine. The data are not needed, and neither are the teacher's weights: the time does not
depend on them.

FLOPs are those of convolutions and matrix products, a multiply-add counted as two. Times are medians over rounds in
which the networks take turns, after a warm-up; images lie on the device, as float32. Let nothing else run beside it.
The row "gain" says how many times less the student costs than its teacher, and how many times more images it takes."""


def compare(runs: Sequence[Trained], batches: Sequence[int], rounds: int, device: torch.device) -> str:
    """Return a table: the teacher first, then each network of the runs that differs.

    Args:
        runs: of the same teacher and image size; of a run without a teacher the student is shown alone.
        batches: images of a forward pass.
        rounds: of each network and batch size.
        device: where they run.

    Raises:
        InputError: the runs have different teachers or image sizes, or a network cannot be run.
    """
    first = runs[0]
    size = first.facts.image_size
    for run in runs:
        classes = len(run.facts.classes)
        require(
            (run.facts.image_size, classes) == (size, len(first.facts.classes)),
            f"{run.folder} is of {classes} classes and images of {run.facts.image_size} pixels, {first.folder} of "
            f"{len(first.facts.classes)} and {size}; compare runs of the same kind of data",
        )
    networks: dict[str, ImageClassifier] = {}
    teacher = _teacher(runs)
    if teacher is not None:
        networks[f"teacher {teacher[0]}"] = _classifier(teacher[1])
    reference = next(iter(networks), None)
    for run in runs:
        networks.setdefault(f"student {run.name}{_arguments(run)}" if teacher else run.name, _classifier(run.network))
    place = f"{torch.cuda.get_device_name()}" if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    heading = (
        f"images of {size}x{size}, {device.type} ({place}), median of {rounds} rounds, or of those in {MOST_SECONDS} s"
    )
    return f"{heading}\n\n{cost_table(measure(networks, size, batches, rounds, device), reference)}"


def _teacher(runs: Sequence[Trained]) -> tuple[str, TappedModel] | None:
    """Return name and network of the teacher, which all runs that have one share."""
    found = [run for run in runs if run.choices.methods[0].needs_teacher]
    if not found:
        return None
    config = found[0].choices.config.teacher
    for run in found:
        other = run.choices.config.teacher
        require(
            (other.name, other.args) == (config.name, config.args),
            f"{run.folder}: its teacher is {other.name}, that of {found[0].folder} {config.name}; compare one by one",
        )
    return config.name, build_network(untrained(config), found[0].facts, seed=0)


def _classifier(network: TappedModel) -> ImageClassifier:
    assert network.normalize is not None
    return ImageClassifier(network.model, network.normalize)


def _arguments(run: Trained) -> str:
    args = run.choices.config.student.args
    return f" ({', '.join(f'{name}={value}' for name, value in args.items())})" if args else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the runs of a command line and return the exit code: 0, or 2 where the input is at fault."""
    chosen = _parser().parse_args(argv)

    def work() -> None:
        require(min(chosen.batches) >= 1, f"--batches {' '.join(map(str, chosen.batches))}: give 1 or more")
        require(chosen.rounds >= 1, f"--rounds {chosen.rounds}: give 1 or more")
        device = pick_device(chosen.device)
        print("measuring, which takes a minute or two for large networks on a CPU", file=sys.stderr, flush=True)
        print(compare([load_trained(run) for run in chosen.runs], chosen.batches, chosen.rounds, device))

    return exit_code_of(work, "compare_cost.py")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="compare_cost.py",
        description=_DESCRIPTION,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of one seed of a run")
    parser.add_argument(
        "--batches",
        metavar="N",
        type=int,
        nargs="+",
        default=[1, 256],
        help="images of a forward pass (default: 1 256)",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=20, help="of each network, as far as 20 s (default: 20)"
    )
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto (default) takes a GPU if there is one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
