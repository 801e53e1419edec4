"""What a sweep file of wandb says, and the trials that follow from it without wandb's server, drawn by optuna."""

import hashlib
import math
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from trg_pyg.config.strict import read_yaml
from trg_pyg.errors import InputError, check_choice, near, require

_FOR_WANDBS_PAGES = ("name", "description", "project", "entity")
_KEYS = ("program", "method", "metric", "parameters", "command", "run_cap", *_FOR_WANDBS_PAGES)
# What a distribution needs beside its name, and what it may have.
_DISTRIBUTIONS: dict[str, tuple[set[str], set[str]]] = {
    "constant": ({"value"}, set()),
    "categorical": ({"values"}, {"probabilities"}),
    "uniform": ({"min", "max"}, set()),
    "int_uniform": ({"min", "max"}, set()),
    "q_uniform": ({"min", "max"}, {"q"}),
    "log_uniform_values": ({"min", "max"}, set()),
}
_PARAMETER_KEYS = {"distribution", "parameters"}.union(*(needed | may for needed, may in _DISTRIBUTIONS.values()))
_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]
# What begins a trial where the package is installed.
INSTALLED = ("trg", "run")
_MOST = 100_000

Drawn = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """Values of one option.

    Attributes:
        path: groups of the file, each of which wandb hands on as one mapping, and the name of the option in them.
        distribution: wandb's name of how they are drawn.
        drawn: what optuna draws: a value, or the place of one in ``values``; ``None`` for a constant.
        values: all of them, where they are finitely many.
        bounds: where one value ends and the next begins in what is drawn from [0, 1); empty where all are as probable.
    """

    path: tuple[str, ...]
    distribution: str
    drawn: BaseDistribution | None
    values: Sequence[Any] = ()
    bounds: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The option's whole name."""
        return ".".join(self.path)

    def value(self, drawn: Any) -> Any:
        """Return the value that something drawn stands for."""
        if self.bounds:
            drawn = bisect(self.bounds, drawn)
        return self.values[drawn] if self.values else drawn


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        file: that it was read from.
        start: what each trial begins with: a script, or ``trg run``.
        method: how trials are chosen; grid: the last parameter first.
        metric: by which trials are compared.
        goal: which end of it is best.
        parameters: in the order of the file.
        before: arguments of every trial, before those of the sweep.
        after: arguments of every trial, after those of the sweep.
        cap: most trials; ``None`` for no limit.
        content: all that the file says of the trials.
    """

    file: Path
    start: tuple[str, ...]
    method: Literal["grid", "random", "bayes"]
    metric: str
    goal: Literal["maximize", "minimize"]
    parameters: tuple[Parameter, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    cap: int | None
    content: str

    @property
    def varied(self) -> dict[str, Parameter]:
        """The parameters in which trials differ, by name."""
        return {parameter.name: parameter for parameter in self.parameters if parameter.drawn is not None}

    def mark(self, seed: int) -> str:
        """Return what tells this sweep from others."""
        return hashlib.sha256(f"{seed} {self.content}".encode()).hexdigest()[:8]

    def count(self, asked: int | None) -> int:
        """Return how many trials there are.

        Args:
            asked: at most; ``None`` for ``run_cap``, or a whole grid.

        Raises:
            InputError: the search has no end, or a grid is far too large.
        """
        limits = [limit for limit in (asked, self.cap) if limit is not None]
        if self.method == "grid":
            size = math.prod(len(parameter.values) for parameter in self.parameters)
            large = f"{self.file}: a grid of {size:,} trials; give fewer values, or --count"
            require(bool(limits) or size <= _MOST, large)
            return min(size, *limits) if limits else size
        endless = f"{self.file}: a {self.method} search has no end; give --count N, or run_cap in the file"
        require(bool(limits), endless)
        return min(limits)

    def draw(self, number: int, seed: int, told: Sequence[tuple[Drawn, float]] = ()) -> Drawn:
        """Return what is drawn for a trial, by the names of the parameters that vary.

        It depends on what is given here alone, so that a search goes on, or has a single trial made, anywhere. Optuna's
        GridSampler would go through a grid in an order of its own, which it keeps in a study.

        Args:
            number: of the trial, from 0.
            seed: of a search; a grid has none.
            told: what was drawn for trials before, and their metrics; looked at by bayes.
        """
        if self.method == "grid":
            drawn = {}
            for name, parameter in reversed(self.varied.items()):
                number, drawn[name] = divmod(number, len(parameter.values))
            return drawn
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        samplers = {"random": optuna.samplers.RandomSampler, "bayes": optuna.samplers.TPESampler}
        space = {name: parameter.drawn for name, parameter in self.varied.items() if parameter.drawn is not None}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction=self.goal, sampler=samplers[self.method](seed=own_seed))
        study.add_trials(
            [optuna.trial.create_trial(params=params, distributions=space, value=metric) for params, metric in told]
        )
        return study.ask(space).params

    def values(self, drawn: Drawn) -> dict[str, Any]:
        """Return the values of all parameters by name, in the order of the file."""
        return {parameter.name: parameter.value(drawn.get(parameter.name, 0)) for parameter in self.parameters}

    def arguments(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments of a trial as wandb's agent makes them."""
        grouped: dict[str, Any] = {}
        for parameter in self.parameters:
            inner, (*groups, last) = grouped, parameter.path
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[last] = values[parameter.name]
        return [*self.before, *(f"--{name}={value}" for name, value in grouped.items()), *self.after]


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        InputError: it cannot be read, or has something that wandb does not know or that needs wandb's server.
    """
    try:
        content = read_yaml(file, f"sweep file {file}")
    except OSError as error:
        raise InputError(
            f"sweep file {file}: {error.strerror}; name a file such as experiments/sweeps/trg.yaml"
        ) from error
    require(isinstance(content, dict), f"sweep file {file}: it holds no keys; see experiments/sweeps/trg.yaml")
    require(
        "parameters" in content or not content.keys() & {"train", "student", "methods", "distiller"},
        f"sweep file {file}: that is a configuration; give it to trg run --config",
    )
    try:
        return _sweep(file, content)
    except InputError as error:
        raise InputError(f"sweep file {file}: {error}") from error


def _sweep(file: Path, content: dict[str, Any]) -> Sweep:
    for key in content:
        require(
            key != "early_terminate",
            "early_terminate needs wandb's server, which stops trials while they run; leave it out, or use wandb agent",
        )
        require(key in _KEYS, f"key {key} is not supported{near(str(key), _KEYS)}")
    method: Any = content.get("method")
    check_choice("method", method, ("grid", "random", "bayes"))
    metric: Any = content.get("metric")
    require(
        isinstance(metric, dict) and isinstance(metric.get("name"), str) and metric.keys() <= {"name", "goal"},
        f"metric={metric}: write {{name: test/top1, goal: maximize}}",
    )
    goal = metric.get("goal", "minimize")
    check_choice("metric.goal", goal, ("maximize", "minimize"))
    given: Any = content.get("parameters")
    require(
        isinstance(given, dict) and len(given) > 0, "parameters: name at least one, such as train.lr: {values: [...]}"
    )
    parameters = tuple(_parameters(given))
    for parameter in parameters if method == "grid" else ():
        require(
            len(parameter.values) > 0,
            f"parameters.{parameter.name}: a grid has no end over {parameter.distribution}; give values, or choose "
            "method random",
        )
    start, before, after = _command(content.get("command", _COMMAND), content.get("program"))
    cap = content.get("run_cap")
    require(cap is None or (type(cap) is int and cap >= 1), f"run_cap={cap}: give a whole number of at least 1")
    says = {key: value for key, value in content.items() if key not in ("run_cap", *_FOR_WANDBS_PAGES)}
    text = yaml.safe_dump(says, sort_keys=False)
    return Sweep(file, start, method, metric["name"], goal, parameters, before, after, cap, text)


def _command(command: Any, program: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return what a trial begins with, and the arguments before and after those of the sweep."""
    require(isinstance(command, list), f"command={command}: write a list, such as {_COMMAND}")
    chunks = [str(chunk) for chunk in command]
    for chunk in chunks:
        require(
            chunk in _COMMAND or "${" not in chunk,
            f"command: {chunk} is not supported; trg run takes arguments as ${{args}} writes them",
        )
    require(chunks.count("${args}") == 1, "command: it must have ${args} once")
    if "${program}" in chunks:
        require(isinstance(program, str), f"program={program}: name the script, such as experiments/run.py")
        chunks = [program if chunk == "${program}" else chunk for chunk in chunks]
    words = [chunk for chunk in chunks if chunk not in ("${env}", "${interpreter}")]
    size = 2 if tuple(words[:2]) == INSTALLED else 1
    require(
        size == 2 or words[0] == program,
        f"command: {words[0]} is not supported as its beginning; begin with ${{program}}, or with trg, run",
    )
    place = words.index("${args}")
    return tuple(words[:size]), tuple(words[size:place]), tuple(words[place + 1 :])


def _parameters(given: dict[str, Any], groups: tuple[str, ...] = ()) -> Iterator[Parameter]:
    for key, value in given.items():
        path = (*groups, str(key))
        where = f"parameters.{'.'.join(path)}"
        require(isinstance(value, dict), f"{where}={value}: write {{value: {value}}}, or {{values: [...]}}")
        for inner in value:
            known = inner in _PARAMETER_KEYS
            require(known, f"{where}.{inner} is not supported{near(str(inner), _PARAMETER_KEYS)}")
        if "parameters" in value:
            require(len(value) == 1, f"{where}: beside parameters there must be nothing else")
            some = isinstance(value["parameters"], dict) and len(value["parameters"]) > 0
            require(some, f"{where}.parameters: name at least one")
            yield from _parameters(value["parameters"], path)
        else:
            yield _parameter(where, path, value)


def _parameter(where: str, path: tuple[str, ...], given: dict[str, Any]) -> Parameter:
    kind = given["distribution"] if "distribution" in given else _implied(where, given)
    require(kind in _DISTRIBUTIONS, f"{where}.distribution={kind}: not supported{near(str(kind), _DISTRIBUTIONS)}")
    needed, may = _DISTRIBUTIONS[kind]
    found = given.keys() - {"distribution"}
    require(needed <= found, f"{where}: {kind} needs {' and '.join(sorted(needed))}")
    for odd in sorted(found - needed - may):
        raise InputError(f"{where}.{odd}: {kind} takes {', '.join(sorted(needed | may))} only")
    if kind in ("constant", "categorical"):
        return _finite(where, path, kind, given)
    low, high, step = given["min"], given["max"], given.get("q", 1)
    for key, bound in (("min", low), ("max", high)):
        # YAML reads 1e-3 as text, and wandb does as well.
        remedy = "give a number; YAML reads 1e-3 as text, 1.0e-3 as a number"
        require(_is_number(bound), f"{where}.{key}={bound!r}: {remedy}")
    require(low < high, f"{where}: min={low} must be below max={high}")
    require(_is_number(step) and step > 0, f"{where}.q={step}: give a positive number")
    if kind == "int_uniform":
        require(type(low) is int and type(high) is int, f"{where}: int_uniform takes whole numbers")
        return Parameter(path, kind, IntDistribution(0, high - low), range(low, high + 1))
    if kind == "q_uniform":
        # Multiples of the step, as wandb has them; the share of a step is for rounding.
        places = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
        require(0 < len(places) <= _MOST, f"{where}.q={step}: {len(places):,} values; give 1 to {_MOST:,}, or uniform")
        # The digits of the step, so that 0.1 * 3 is 0.3. Whole ones are what an option takes that must be whole.
        values: tuple[float, ...] = tuple(float(f"{place * step:.12g}") for place in places)
        if all(value.is_integer() for value in values):
            values = tuple(map(int, values))
        return Parameter(path, kind, IntDistribution(0, len(values) - 1), values)
    in_log = kind == "log_uniform_values"
    require(not in_log or low > 0, f"{where}: log_uniform_values takes numbers above 0")
    return Parameter(path, kind, FloatDistribution(low, high, log=in_log))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _implied(where: str, given: dict[str, Any]) -> str:
    """Return the distribution that wandb takes where none is named."""
    for key, kind in (("values", "categorical"), ("value", "constant")):
        if key in given:
            return kind
    low, high = given.get("min"), given.get("max")
    require(low is not None and high is not None, f"{where}: give value, values, or min and max")
    kinds = {type(low), type(high)}
    require(kinds != {int, float}, f"{where}: min={low} and max={high}: write both as whole numbers, or both not")
    return "int_uniform" if kinds == {int} else "uniform"


def _finite(where: str, path: tuple[str, ...], kind: str, given: dict[str, Any]) -> Parameter:
    values = given["values"] if kind == "categorical" else [given["value"]]
    require(isinstance(values, list) and len(values) > 0, f"{where}.values={values}: write a list of values")
    # wandb's agent writes Python's None, which trg run reads as a word.
    require(all(value is not None for value in values), f"{where}: write 'null' in quotes for no value")
    drawn: BaseDistribution | None = None if kind == "constant" else CategoricalDistribution(range(len(values)))
    weights = given.get("probabilities")
    if weights is None:
        return Parameter(path, kind, drawn, tuple(values))
    sound = isinstance(weights, list) and len(weights) == len(values) and all(map(_is_number, weights))
    sound = sound and min(weights) >= 0 and abs(sum(weights) - 1) < 1e-6
    require(sound, f"{where}.probabilities={weights}: one for each value, with sum 1")
    # Optuna's values are as probable as each other; these share out the numbers from 0 to 1.
    bounds = tuple(accumulate(weights))[:-1]
    return Parameter(path, kind, FloatDistribution(0, 1) if bounds else drawn, tuple(values), bounds)
