"""Train as ``trg run`` does, and measure graphs and gradients of every student after each epoch."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import timedelta

from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.config.choices import Choices, read_choices
from trg_pyg.errors import require
from trg_pyg.look.diagnosis import Diagnosis, diagnosis_table, draw_probe, read_lines
from trg_pyg.report.table import results_table
from trg_pyg.study.agenda import Agenda
from trg_pyg.study.distil import distil_all
from trg_pyg.study.opening import announce
from trg_pyg.study.study import prepare, prepare_process
from trg_pyg.study.teacher import obtain_teacher
from trg_pyg.training.distributed import World, process_group


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study with a look after every epoch and return the exit code, as ``trg run`` does."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    if "--help" in given or "-h" in given:
        print(parser.format_help())

    def work() -> None:
        own, others = parser.parse_known_args(given)
        choices = read_choices(others)
        prepare_process(choices)
        with process_group(choices.config.device, timedelta(minutes=choices.config.wait_minutes)) as world:
            report = run(choices, world, own.probe_images, own.probe_batch)
        if report:
            print(f"\n{report}")

    return exit_code_of(work, "diagnose")


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program("diagnose"),
        usage=f"{program('diagnose')} [--probe_images N] [--probe_batch N] [arguments of trg run]",
        description="Train as trg run does, with the same results, and after every epoch measure the token graphs and "
        "the gradients of each student on some training images: diagnosis.jsonl in the folder of each run. All other "
        "arguments are those of trg run, below.",
        add_help=False,
    )
    parser.add_argument("--probe_images", type=int, default=256, help="training images to look at (default: 256)")
    parser.add_argument(
        "--probe_batch",
        type=int,
        help="images of a batch graph (default: train.batch_size, or all images of the probe if they are fewer)",
    )
    return parser


def run(choices: Choices, world: World, probe_images: int, probe_batch: int | None) -> str:
    """Run a study and return the table of its results and a table of looks for each run; nothing of a dry run.

    Args:
        choices: as for ``trg run``.
        world: a single process.
        probe_images: images to look at.
        probe_batch: images of a batch graph; ``None`` for those of a training batch.
    """
    require(
        world.size == 1,
        f"{world.size} processes: a diagnosis copies a whole student and looks at it in one; start it without torchrun",
    )
    study = prepare(choices, world)
    probe = draw_probe(study, probe_images, probe_batch)
    agenda = Agenda.of(study)
    if not study.quiet:
        announce(study, agenda)
    if choices.dry_run:
        return ""
    # Also where no method needs one: the graphs of a student are compared with a teacher's.
    teacher = obtain_teacher(study, agenda)
    diagnosis = Diagnosis(study, teacher.network, probe)
    results = distil_all(study, teacher, agenda, diagnosis.watch)
    tables = [results_table((teacher.name, teacher.metrics), results)]
    for title, file in diagnosis.files.items():
        lines = read_lines(file)
        shown = diagnosis_table(lines) if lines else "trained before it was looked at; train it with --overwrite"
        tables.append(f"{title}, {file}\n\n{shown}")
    return "\n\n".join(tables)
