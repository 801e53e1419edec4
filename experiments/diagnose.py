"""Train as run.py does, and look into every student on the way: ``python experiments/diagnose.py --help``."""

import sys
import warnings
from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from experiments.agenda import Agenda  # noqa: E402
from experiments.config import Choices, read_choices  # noqa: E402
from experiments.diagnosis import Diagnosis, diagnosis_table, draw_probe, read_lines  # noqa: E402
from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.methods import distil_all  # noqa: E402
from experiments.study import prepare, prepare_process  # noqa: E402
from experiments.summary import announce  # noqa: E402
from experiments.table import results_table  # noqa: E402
from experiments.teacher import obtain_teacher  # noqa: E402
from experiments.training_run import WatchedStudy  # noqa: E402
from trg_pyg.errors import InputError, require  # noqa: E402
from trg_pyg.training.distributed import World, process_group  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study with a look after every epoch and return the exit code, as run.py does."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    if "--help" in given or "-h" in given:
        print(parser.format_help())

    def work() -> None:
        try:
            own, others = parser.parse_known_args(given)
        except ArgumentError as error:
            raise InputError(str(error)) from error
        choices = read_choices(others)
        prepare_process(choices)
        with process_group(choices.config.device, timedelta(minutes=choices.config.wait_minutes)) as world:
            report = run(choices, world, own.probe_images, own.probe_batch)
        print(f"\n{report}")

    return exit_code_of(work, "diagnose.py")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="diagnose.py",
        usage="diagnose.py [--probe_images N] [--probe_batch N] [arguments of run.py]",
        description="Train as run.py does, with the same results, and after every epoch measure the token graphs and "
        "the gradients of each student on some training images: diagnosis.jsonl in the folder of each run. All other "
        "arguments are those of run.py, below.",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--probe_images", type=int, default=256, help="training images to look at (default: 256)")
    parser.add_argument(
        "--probe_batch",
        type=int,
        help="images of a batch graph (default: train.batch_size, or all images of the probe if they are fewer)",
    )
    return parser


def run(choices: Choices, world: World, probe_images: int, probe_batch: int | None) -> str:
    """Run a study and return the table of its results and a table of looks for each run.

    Args:
        choices: as for run.py.
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
    if study.speaks:
        announce(study, agenda)
    # Also where no method needs one: the graphs of a student are compared with a teacher's.
    teacher = obtain_teacher(study, agenda)
    diagnosis = Diagnosis(study, teacher.network, probe)
    watched = WatchedStudy(**{each.name: getattr(study, each.name) for each in fields(study)}, watch=diagnosis.watch)
    results = distil_all(watched, teacher, agenda)
    tables = [results_table((teacher.name, teacher.metrics), results)]
    for title, file in diagnosis.files.items():
        lines = read_lines(file)
        shown = diagnosis_table(lines) if lines else "trained before it was looked at; train it without --resume"
        tables.append(f"{title}, {file}\n\n{shown}")
    return "\n\n".join(tables)


if __name__ == "__main__":
    sys.exit(main())
