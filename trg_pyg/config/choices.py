"""What can be chosen for a run: typed, from defaults, then a YAML file, then the command line."""

import shlex
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

# Imported for their subclasses: every dataset and distiller in these packages is known by its class name.
import trg_pyg.data
import trg_pyg.distillers  # noqa: F401
from trg_pyg._files import check_writable
from trg_pyg._program import program
from trg_pyg.config.messages import class_at, one_line
from trg_pyg.config.methods import Method, read_methods
from trg_pyg.config.parser import build_parser
from trg_pyg.config.recipes import recipe_options
from trg_pyg.config.schema import LOADING_ARGS, Config, TeacherConfig
from trg_pyg.config.strict import check_none, check_numbers
from trg_pyg.errors import InputError, near, require
from trg_pyg.models.pretrained import pretrained
from trg_pyg.models.published import PublishedTeacher, find_published

_MOST_SEED = 2**62  # those that are made of one stay numbers of 64 bits


@dataclass(frozen=True)
class Choices:
    """A configuration that was read and is valid.

    Attributes:
        config: everything but the methods, as objects; the teacher of published weights as these expect it, without a
            file.
        settings: the same as plain values.
        published: the teacher's weights if teachers.yaml has them.
        methods: in the order of the table.
        seeds: one run each.
        reference: the method that the others are compared with; ``None`` for none.
        table: where the table is written, and results beside it; ``None`` for the study's folder.
        resume: continue runs that stopped.
        overwrite: train runs anew that are there, whether they finished or stopped; without it the finished are kept.
        dry_run: say what would be done, and stop before anything is trained or written.
        quiet: nothing but warnings, errors and the table at the end.
        command: what was typed.
    """

    config: Config
    settings: dict[str, Any]
    published: PublishedTeacher | None
    methods: list[Method]
    seeds: list[int]
    reference: str | None
    table: Path | None
    resume: bool
    overwrite: bool
    dry_run: bool
    quiet: bool
    command: str

    @property
    def trains_teacher(self) -> bool:
        """Whether a teacher has to be trained here, since no weights of it were named."""
        teacher = self.config.teacher
        return teacher.trained_further or (self.published is None and teacher.weights is None and not teacher.trained)


def read_choices(argv: Sequence[str] | None = None) -> Choices:
    """Read the command line and the files that it names.

    Raises:
        InputError: a key is unknown, a value has another type, or a value is impossible.
    """
    parser = build_parser()
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        return _read(parser, given)
    except ArgumentError as error:
        raise InputError(one_line(str(error), parser, given)) from error
    except RecursionError as error:
        raise InputError(
            "the configuration is nested too deeply to be read; write its keys as --help has them"
        ) from error


def _read(parser: ArgumentParser, argv: list[str]) -> Choices:
    given = _parse(parser, argv)
    for key in ("student", "teacher", "train", "teacher.train"):
        value = given[key]
        require(isinstance(value, Namespace), f"{key}={value}: it has keys of its own, which --help shows; set those")
    check_numbers(argv, given)
    check_none(given, Config)
    check_none(given.data.get("init_args", Namespace()), class_at(given.data.class_path), "data.")
    methods = read_methods(given, {argument[2:].partition("=")[0] for argument in argv if argument.startswith("--")})
    names, seeds = [method.name for method in methods], given.seeds
    require(bool(seeds), "seeds: the list is empty; name at least one, such as 0")
    for seed in (*seeds, given.teacher.seed):
        require(abs(seed) < _MOST_SEED, f"seeds: {seed} is too large; give whole numbers such as 0")
    require(len(set(seeds)) == len(seeds), f"seeds: {seeds} names one twice")
    require(
        not (given.resume and given.overwrite),
        "resume and overwrite contradict each other: one goes on with runs that stopped, the other trains them anew; "
        "leave one out",
    )
    if given.table is not None:
        _check_table(given.table)
    study = Namespace(**{each.name: given[each.name] for each in fields(Config)})
    _take_over(study)
    settings = yaml.safe_load(parser.dump(study, skip_unset=False))
    config = Config(**vars(parser.instantiate(study)))
    images = settings["data"].get("init_args") or {}
    if "size" in images and images["size"] is None:
        images["size"] = config.data.size  # type: ignore[attr-defined]
    check_writable(config.output, "output")
    _check_trained(config.teacher)
    published = find_published(config.teacher.weights)
    if published is not None:
        _check_name(published, argv)
        expected = _as_published(config.teacher, published)
        settings["teacher"] |= {
            "name": expected.name,
            "args": expected.args,
            "mean": list(expected.mean or published.mean),
            "std": list(expected.std or published.std),
        }
        config = replace(config, teacher=expected)
    return Choices(
        config=config,
        settings=settings,
        published=published,
        methods=methods,
        seeds=list(seeds),
        reference=_reference(given.reference, names, seeds),
        table=given.table,
        resume=given.resume,
        overwrite=given.overwrite,
        dry_run=given.dry_run,
        quiet=given.quiet,
        command=" ".join([program("run"), *map(shlex.quote, argv)]),
    )


def _parse(parser: ArgumentParser, argv: list[str]) -> Namespace:
    """Return what was chosen; the recipes that are named are defaults, which whatever else was chosen comes before."""
    # Printing the configuration ends the program.
    silent = [argument for argument in argv if not argument.startswith("--print_config")]
    given = parser.parse_args(silent)
    recipes = {"train": (given.recipe, "recipe"), "teacher.train": (given.recipe, "recipe")}
    if given.teacher_recipe is not None:
        recipes["teacher.train"] = given.teacher_recipe, "teacher_recipe"
    named = {part: recipe for part, recipe in recipes.items() if recipe[0] is not None}
    if named:
        # As for the name of the teacher below: epochs were chosen where they are not what stands for none.
        asking = build_parser()
        asking.set_defaults({f"{part}.epochs": None for part in named})
        chosen = asking.parse_args(silent)
        for part, (name, place) in named.items():
            options = recipe_options(name, chosen.get(f"{part}.epochs"), place)
            parser.set_defaults({f"{part}.{option}": value for option, value in options.items()})
    return parser.parse_args(argv) if named or silent != argv else given


def _take_over(study: Namespace) -> None:
    """Fill in what pretrained weights expect, where nothing else was chosen: the teacher's images are the student's."""
    images = study.data.get("init_args") or {}
    for role in ("teacher", "student"):
        network = study[role]
        published = role == "teacher" and find_published(network.weights) is not None
        elsewhere = role == "student" or network.trained is False
        known = None if published else pretrained(network.name, network.args, network.weights, elsewhere)
        if known is None:
            continue
        network.args = known.args | network.args
        network.mean, network.std = network.mean or known.mean, network.std or known.std
        for option in ("size", "interpolation"):
            if option in images and images[option] is None:
                images[option] = getattr(known, option)


def _check_table(table: Path) -> None:
    require(not table.is_dir(), f"table={table}: that is a folder; name a file, such as {table / 'table.md'}")
    require(
        table.suffix != ".jsonl",
        f"table={table}: the results lie beside the table as .jsonl; name it {table.with_suffix('.md')}",
    )
    check_writable(table, "table", file=True)


def _reference(given: str | None, names: list[str], seeds: list[int]) -> str | None:
    """Return the method that the others are compared with, if there is something to compare."""
    if given is None:
        given = "KD" if "KD" in names and len(seeds) > 1 else None
    require(
        given is None or given in names,
        f"reference={given}: not among the methods{near(str(given), names)}; name one of them, or null",
    )
    return given if len(names) > 1 else None


def _as_published(teacher: TeacherConfig, published: PublishedTeacher) -> TeacherConfig:
    return replace(
        teacher,
        name=published.network,
        args=published.args | teacher.args,
        weights=None,
        mean=teacher.mean or published.mean,
        std=teacher.std or published.std,
    )


def _check_name(published: PublishedTeacher, argv: list[str]) -> None:
    """Refuse a network that was named and is another one than that of the published weights."""
    # The default is a network's name as well, so whether one was named shows where the default is none.
    parser = build_parser()
    parser.set_defaults({"teacher.name": ""})
    name = parser.parse_args(argv).teacher.name
    require(
        name in ("", published.network),
        f"teacher.name={name}: {published.name} has the weights of {published.network}; leave teacher.name out, or "
        "choose weights of that network",
    )


def _check_trained(teacher: TeacherConfig) -> None:
    """Refuse a teacher of which it is not clear whether it is to be trained."""
    loading = {key: teacher.args[key] for key in LOADING_ARGS if teacher.args.get(key)}
    listed = ", ".join(f"{key}={value}" for key, value in loading.items())
    if teacher.weights is not None:
        require(
            teacher.trained is not False or find_published(teacher.weights) is None,
            f"teacher.trained=false with teacher.weights={teacher.weights}: published weights are used as they are; "
            "name their file to train it further",
        )
    elif teacher.trained is None:
        require(
            not loading,
            f"teacher.args: {listed} loads trained weights; set teacher.trained=true to use them as they are, or "
            "false to train the network further",
        )
    elif teacher.trained:
        # Code of one's own may load weights by itself; the networks of the package and the libraries do not.
        own = "." in teacher.name and ":" not in teacher.name
        require(
            bool(loading) or own,
            f"teacher.trained=true: {teacher.name} would start at random; give teacher.weights, or args that load "
            "weights: weights of torchvision, pretrained of timm",
        )
