"""Parameters, FLOPs and time of students and their teachers on this machine."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from functools import partial

from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.errors import require
from trg_pyg.study.study import pick_device
from trg_pyg.use.cost import compare_cost
from trg_pyg.use.load import load

_DESCRIPTION = """\
Compare what students and their teachers cost: parameters, size of the weights, operations of an image, and the time
of a forward pass on this machine. The data are not needed, and neither are the teacher's weights: the time does not
depend on them.

FLOPs are those of convolutions and matrix products, a multiply-add counted as two. Times are medians over rounds in
which the networks take turns, after a warm-up; images lie on the device, as float32. Let nothing else run beside it.
The row "gain" says how many times less the student costs than its teacher, and how many times more images it takes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the runs of a command line and return the exit code: 0, or 2 where the input is at fault."""

    def work() -> None:
        chosen = _parser().parse_args(argv)
        require(min(chosen.batches) >= 1, f"--batches {' '.join(map(str, chosen.batches))}: give 1 or more")
        require(chosen.rounds >= 1, f"--rounds {chosen.rounds}: give 1 or more")
        require(chosen.minutes > 0, f"--minutes {chosen.minutes:g}: give more than 0")
        device = pick_device(chosen.device)
        tell = partial(print, file=sys.stderr, flush=True)
        runs = [load(run) for run in chosen.runs]
        print(compare_cost(runs, sorted(set(chosen.batches)), chosen.rounds, device, 60 * chosen.minutes, tell))

    return exit_code_of(work, "compare-cost")


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program("compare-cost"),
        description=_DESCRIPTION,
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
    parser.add_argument(
        "--minutes",
        metavar="N",
        type=float,
        default=5,
        help="time limit; batches for which it does not suffice are left out (default: 5)",
    )
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto (default) takes a GPU if there is one")
    return parser
