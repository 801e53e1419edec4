"""Distil a student and print a table of methods: ``python experiments/run.py --help``."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from experiments.config import Choices, read_choices  # noqa: E402
from experiments.methods import distil_all  # noqa: E402
from experiments.run_folder import write_text  # noqa: E402
from experiments.study import prepare  # noqa: E402
from experiments.summary import announce  # noqa: E402
from experiments.table import results_table  # noqa: E402
from experiments.teacher import obtain_teacher  # noqa: E402
from trg_pyg.errors import InputError  # noqa: E402
from trg_pyg.training.distributed import World, process_group  # noqa: E402
from trg_pyg.training.loop import TrainingDiverged  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study and return the exit code: 0, 1 where a training diverged, or 2 where the input is at fault."""
    try:
        choices = read_choices(argv)
        with process_group(choices.config.device) as world:
            report = run(choices, world)
    except InputError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"run.py: stopped: {error}", file=sys.stderr)
        return 1
    if world.is_main:
        print(f"\n{report}")
    return 0


def run(choices: Choices, world: World) -> str:
    """Run a study as one of the processes that share it, and return its table."""
    study = prepare(choices, world)
    if world.is_main:
        announce(study)
    teacher = obtain_teacher(study) if any(method.needs_teacher for method in choices.methods) else None
    results = distil_all(study, teacher)
    table = results_table((teacher.name, teacher.metrics) if teacher else None, results, choices.reference)
    seeds = ", ".join(map(str, choices.seeds))
    report = f"{study.name}, last epoch, seeds {seeds}\n\n{table}\n\n{choices.command}\n"
    if world.is_main:
        write_text(choices.table or study.folder / "table.md", report)
    return report


if __name__ == "__main__":
    sys.exit(main())
