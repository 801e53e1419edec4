"""Distil a student and print a table of methods: ``python experiments/run.py --help``."""

import sys
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

from experiments.agenda import Agenda  # noqa: E402
from experiments.config import Choices, read_choices  # noqa: E402
from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.methods import distil_all  # noqa: E402
from experiments.results import Results, Run  # noqa: E402
from experiments.run_folder import environment, write_text, written  # noqa: E402
from experiments.study import Study, prepare, prepare_process  # noqa: E402
from experiments.summary import announce  # noqa: E402
from experiments.teacher import Teacher, obtain_teacher  # noqa: E402
from experiments.training_run import History  # noqa: E402
from experiments.trial import check_trial_of_wandb, is_of_wandb  # noqa: E402
from trg_pyg.training.distributed import World, process_group  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study and return the exit code, see :func:`~experiments.exit_codes.exit_code_of`."""

    def work() -> None:
        choices = read_choices(argv)
        if is_of_wandb():
            check_trial_of_wandb(choices)
        prepare_process(choices)
        with process_group(choices.config.device, timedelta(minutes=choices.config.wait_minutes)) as world:
            report = run(choices, world)
        if world.is_main:
            print(f"\n{report}")

    return exit_code_of(work, "run.py")


def run(choices: Choices, world: World) -> str:
    """Run a study as one of the processes that share it, and return its table."""
    study = prepare(choices, world)
    agenda = Agenda.of(study)
    if study.speaks:
        announce(study, agenda)
    teacher = obtain_teacher(study, agenda) if any(method.needs_teacher for method in choices.methods) else None
    results = _results(study, teacher, distil_all(study, teacher, agenda))
    report = results.report()
    if world.is_main:
        table = choices.table or study.folder / "table.md"
        write_text(table, report)
        with written(table.with_suffix(".jsonl")):
            results.write(table.with_suffix(".jsonl"))
    return report


def _results(study: Study, teacher: Teacher | None, histories: dict[str, list[History]]) -> Results:
    choices = study.choices
    distillers = {method.name: method.settings for method in choices.methods}
    runs = [
        Run(method, seed, distillers[method], history)
        for method, of_seeds in histories.items()
        for seed, history in zip(choices.seeds, of_seeds, strict=True)
    ]
    about = None if teacher is None else teacher.provenance() | {"name": teacher.name, "metrics": teacher.metrics}
    settings = {name: choices.settings[name] for name in ("data", "student", "teacher", "train")}
    return Results(study.name, choices.command, settings, environment(choices.command), about, choices.reference, runs)


if __name__ == "__main__":
    sys.exit(main())
