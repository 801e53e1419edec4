"""What can be chosen for a run: typed, from defaults, then a YAML file, then the command line."""

import os
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

# Imported for their subclasses: every dataset and distiller in these packages is known by its class name.
import trg_pyg.data
import trg_pyg.distillers  # noqa: F401
from trg_pyg._program import program
from trg_pyg.config.help import FullHelp, GroupedParser
from trg_pyg.config.messages import class_at, one_line, options_of
from trg_pyg.config.schema import LOADING_ARGS, Config, DistillerFactory, TeacherConfig
from trg_pyg.config.variants import WITH_KD, check_known, check_variants
from trg_pyg.distillers.base import Taps
from trg_pyg.distillers.kd import KD
from trg_pyg.errors import InputError, near, require
from trg_pyg.models.published import PublishedTeacher, find_published

# In minutes.


@dataclass(frozen=True)
class Method:
    """A distiller that was chosen.

    Attributes:
        name: its class name, with ``+KD`` where it was joined with logit distillation; or that of a variant.
        settings: class path and options, as a configuration file has them.
        needs_teacher: whether it compares with a teacher.
        taps: the features that it reads where the configuration names none.
        build: makes it for a student and a teacher.
        is_variant: whether the name is one of ``variants``.
    """

    name: str
    settings: dict[str, Any]
    needs_teacher: bool
    taps: Taps
    build: DistillerFactory
    is_variant: bool = False


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
        resume: continue runs that stopped, and keep those that are finished.
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
    quiet: bool
    command: str

    @property
    def trains_teacher(self) -> bool:
        """Whether a teacher has to be trained here, since no weights of it were named."""
        teacher = self.config.teacher
        return self.published is None and teacher.weights is None and not teacher.trained


# Used where neither a configuration nor the command line names a method.
DEFAULT_METHODS = ["Vanilla", "KD", "TRG"]
# Keys of which Choices.methods and Choices.reference are made.
_OF_METHODS = ("distiller", "methods", "method_options", "variants", "reference")
# Arguments by which the builders of torchvision and timm load trained weights.
_MOST_SEED = 2**62  # those that are made of one stay numbers of 64 bits


def build_parser() -> GroupedParser:
    """Return the parser of ``trg run``."""
    parser = GroupedParser(
        prog=program("run"), description="Distil a student and print a table of methods.", exit_on_error=False
    )
    parser.short = True
    parser.add_argument("--help_all", action=FullHelp, help="the whole text of every option")
    parser.add_argument("--config", action="config", help="YAML file; what is typed after it wins")
    parser.add_argument(
        "--methods",
        nargs="+",
        type=str,
        help="distillers by class name, RKD+KD for RKD with kd_weight 1; each with the options that distiller or "
        "method_options give its class, else its defaults; or names of variants",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run of every method for each")
    parser.add_argument(
        "--table",
        type=Path,
        help="file of the table, by default table.md in the folder of the pair; beside it, as .jsonl, all epochs",
    )
    parser.add_argument(
        "--resume",
        "--auto_resume",
        action="store_true",
        help="continue runs that stopped, keep those that finished, start the others",
    )
    parser.add_argument("--quiet", action="store_true", help="nothing but warnings, errors and the table at the end")
    parser.add_class_arguments(Config)
    for action in parser._actions:
        if any(name in ("--data.help", "--distiller.help") for name in action.option_strings):
            action.nargs = None  # without a name there is nothing to be said
        if "--distiller.help" in action.option_strings:  # the networks are no options of a method
            vars(action)["sub_add_kwargs"] = {"skip": {"student", "teacher"}}
    parser.set_defaults({"data": "Digits"})
    return parser


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
        raise InputError(_of_file(str(error), given) or one_line(str(error), parser)) from error
    except RecursionError as error:
        raise InputError(
            "the configuration is nested too deeply to be read; write its keys as --help has them"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"config={_undecodable(given)}: byte {error.start} is no UTF-8 ({error.reason}); save it as UTF-8"
        ) from error


def _read(parser: ArgumentParser, argv: list[str]) -> Choices:
    parsed = parser.parse_args(argv)
    settings = _plain(parser, parsed)
    methods = _methods(parser, parsed)
    if not _is_typed("--methods", argv):
        _check_used(parsed.variants, methods)
    for seed in (*parsed.seeds, parsed.teacher.seed):
        require(abs(seed) < _MOST_SEED, f"seeds: {seed} is too large; give whole numbers such as 0")
    for several, what in (([method.name for method in methods], "methods"), (parsed.seeds, "seeds")):
        require(len(set(several)) == len(several), f"{what}: {several} names one twice")
    _check_different(methods)
    for key in (*_OF_METHODS, "config", "seeds", "table", "resume", "quiet"):
        settings.pop(key, None)
    if parsed.table is not None:
        _check_writable(parsed.table)
    values = vars(parser.instantiate(parsed))
    config = Config(**{name: values[name] for name in Config.__dataclass_fields__})
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
    command = " ".join([program("run"), *map(shlex.quote, argv)])
    return Choices(
        config=config,
        settings=settings,
        published=published,
        methods=methods,
        seeds=list(parsed.seeds),
        reference=_reference(config.reference, [method.name for method in methods], parsed.seeds),
        table=parsed.table,
        resume=parsed.resume,
        quiet=parsed.quiet,
        command=command,
    )


def _config_files(argv: list[str]) -> Iterator[str]:
    for option, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = option.partition("=")
        file = value if equals else following
        if name == "--config" and Path(file).is_file():
            yield file


def _undecodable(argv: list[str]) -> str:
    """Return the first of the files named as a configuration that is no text."""
    for file in _config_files(argv):
        try:
            Path(file).read_text("utf-8")
        except UnicodeDecodeError:
            return file
    return "a file"


def _of_file(message: str, argv: list[str]) -> str:
    """Return what is wrong with the first of the files that is no configuration, or an empty line."""
    if not message.startswith(("Unexpected config", "Problems parsing config")):
        return ""
    for file in _config_files(argv):
        try:
            content = yaml.safe_load(Path(file).read_text("utf-8"))
        except RecursionError:
            return f"config={file}: nested too deeply to be read; write its keys as --help has them"
        except (yaml.YAMLError, ValueError) as error:
            return f"config={file}: no YAML ({' '.join(str(error).split())}); mend it, or leave it out"
        if not isinstance(content, dict):
            what = "it is empty" if content is None else f"it holds a {type(content).__name__}"
            return f"config={file}: {what}; write keys with values, as --print_config shows them"
    return ""


def _is_typed(option: str, argv: list[str]) -> bool:
    return any(argument == option or argument.startswith(f"{option}=") for argument in argv)


def _check_writable(table: Path) -> None:
    require(not table.is_dir(), f"table={table}: that is a folder; name a file, such as {table / 'table.md'}")
    require(
        table.suffix != ".jsonl",
        f"table={table}: the results lie beside the table as .jsonl; name it {table.with_suffix('.md')}",
    )
    folder = next(parent for parent in table.absolute().parents if parent.exists())
    require(
        folder.is_dir() and os.access(folder, os.W_OK),
        f"table={table}: no file can be made in {folder}; name one in a folder that can be written to",
    )


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
            teacher.trained is not False,
            f"teacher.trained=false with teacher.weights={teacher.weights}: a teacher from a file is not trained "
            "further; leave one of them out",
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


def _methods(parser: ArgumentParser, parsed: Namespace) -> list[Method]:
    """Return the chosen methods: variants, and classes with the options that were given for each."""
    variants = _variants(parser, parsed.variants)
    given: dict[type, Any] = {}
    for name, options in parsed.method_options.items():
        try:
            distiller = _distiller(parser, {"class_path": name, "init_args": options})
        except ArgumentError as error:
            raise InputError(f"method_options.{name}: {one_line(str(error), parser)}") from error
        cls = class_at(distiller.class_path)
        require(cls not in given, f"method_options.{name}: {cls.__name__} is there twice; keep one")
        given[cls] = distiller
    if parsed.distiller:
        cls = class_at(parsed.distiller.class_path)
        require(
            cls not in given,
            f"method_options.{cls.__name__}: distiller gives options of {cls.__name__} too; keep one, or name the "
            "class in methods instead of distiller",
        )
        given[cls] = parsed.distiller
    names = parsed.methods or ([] if parsed.distiller else list(variants) or DEFAULT_METHODS)
    methods = [variants[name] if name in variants else _method(parser, name, given, variants) for name in names]
    return methods or [_built(parser, parsed.distiller)]


def _variants(parser: ArgumentParser, given: dict[str, Any]) -> dict[str, Method]:
    check_variants(given)
    variants = {}
    for name, value in given.items():
        try:
            method = _built(parser, _distiller(parser, value))
        except ArgumentError as error:
            raise InputError(f"variants.{name}: {one_line(str(error), parser)}") from error
        variants[name] = replace(method, name=name, is_variant=True)
    return variants


def _check_used(variants: dict[str, Any], methods: list[Method]) -> None:
    used = {method.name for method in methods if method.is_variant}
    for name in variants:
        require(name in used, f"variants.{name}: nothing uses it; name it in methods, or leave it out")


def _method(parser: ArgumentParser, name: str, given: dict[type, Any], variants: dict[str, Method]) -> Method:
    check_known(name, variants)
    base = name.removesuffix(WITH_KD)
    distiller = _distiller(parser, base)
    cls = class_at(distiller.class_path)
    distiller = given.get(cls, distiller)
    if base == name:
        return _built(parser, distiller)
    require(not issubclass(cls, KD), f"methods={name}: {cls.__name__} already is KD; name it without {WITH_KD}")
    require(
        "kd_weight" in options_of(cls),
        f"methods={name}: {cls.__name__} has no option kd_weight, so nothing joins it with KD; name {base}",
    )
    options = _as_dict(distiller).get("init_args", {}) | {"kd_weight": 1.0}
    method = _built(parser, {"class_path": distiller.class_path, "init_args": options})
    return replace(method, name=method.name + WITH_KD)


def _check_different(methods: list[Method]) -> None:
    for i, method in enumerate(methods):
        for other in methods[:i]:
            with_variant = method.is_variant or other.is_variant
            require(
                method.settings != other.settings,
                f"methods: {other.name} and {method.name} are the same, "
                + (
                    "class and options; leave one out, or change an option in variants"
                    if with_variant
                    else "kd_weight is 1 in both; leave one out, or set kd_weight in method_options"
                ),
            )


def _distiller(parser: ArgumentParser, distiller: Any) -> Any:
    # A parse of its own, so that the options of one class never become those of another.
    return parser.parse_object({"distiller": distiller}).distiller


def _built(parser: ArgumentParser, distiller: Any) -> Method:
    one = parser.parse_object({"distiller": _as_dict(distiller)})
    build = parser.instantiate(one).distiller
    cls = class_at(one.distiller.class_path)
    return Method(cls.__name__, _plain(parser, one)["distiller"], cls.needs_teacher, cls.taps, build)


def _as_dict(value: Any) -> Any:
    return value.as_dict() if isinstance(value, Namespace) else value


def _plain(parser: ArgumentParser, parsed: Namespace) -> dict[str, Any]:
    return yaml.safe_load(parser.dump(parsed, skip_unset=False))
