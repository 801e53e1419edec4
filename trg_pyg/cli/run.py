"""Train a teacher, distil students by several methods and print their table."""

from collections.abc import Sequence
from datetime import timedelta

from trg_pyg._files import write_text, written
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.config.choices import Choices, read_choices
from trg_pyg.errors import require
from trg_pyg.report.results import Results
from trg_pyg.runs import History, Run
from trg_pyg.study.agenda import Agenda
from trg_pyg.study.distil import distil_all
from trg_pyg.study.folder import environment
from trg_pyg.study.opening import announce
from trg_pyg.study.study import Study, prepare, prepare_process
from trg_pyg.study.teacher import Teacher, obtain_teacher
from trg_pyg.study.tracking import is_of_wandb
from trg_pyg.training.distributed import World, process_group


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study and return the exit code: 0 for finished, see ``trg_pyg/cli/_exit.py``."""

    def work() -> None:
        choices = read_choices(argv)
        if is_of_wandb():
            check_trial(choices)
        prepare_process(choices)
        with process_group(choices.config.device, timedelta(minutes=choices.config.wait_minutes)) as world:
            report = run(choices, world)
        if report and world.is_main:
            print(f"\n{report}")

    return exit_code_of(work, "run")


def check_trial(choices: Choices) -> None:
    """Refuse a trial of a sweep that is measured on the test images, or that wandb's agent could not tell from others.

    Raises:
        InputError: no images are held out, or a trial of wandb's agent is several runs.
    """
    require(
        choices.config.data.validation is not None,
        "a sweep chooses by what it measures, so never on the test images: add --data.validation=0.1 to the sweep "
        "file's command",
    )
    runs = len(choices.methods) * len(choices.seeds)
    require(
        runs == 1 or not is_of_wandb(),
        f"a trial of a wandb sweep is one run, and this has {runs}: name one method and one seed, or make the seed a "
        "parameter of the sweep",
    )


def run(choices: Choices, world: World) -> str:
    """Run a study as one of the processes that train together, and return its table; nothing of a dry run."""
    study = prepare(choices, world)
    agenda = Agenda.of(study)
    if not study.quiet:
        announce(study, agenda)
    if choices.dry_run:
        return ""
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
    settings["data"] = settings["data"] | {"digest": study.splits.digest}
    return Results(study.name, choices.command, settings, environment(choices.command), about, choices.reference, runs)
