"""What a sweep file of wandb says, and the trials that follow from it without wandb's server."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from trg_pyg.errors import InputError, near, require

_KEYS = (
    *("program", "method", "metric", "parameters", "command", "run_cap"),
    *("name", "description", "project", "entity"),  # for wandb's pages only
)
_PARAMETER_KEYS = ("value", "values", "probabilities", "distribution", "min", "max", "q", "parameters")
# What a distribution needs beside its name.
_DISTRIBUTIONS = {
    "constant": {"value"},
    "categorical": {"values"},
    "uniform": {"min", "max"},
    "int_uniform": {"min", "max"},
    "q_uniform": {"min", "max"},
    "log_uniform_values": {"min", "max"},
}
_OPTIONAL = {"categorical": {"probabilities"}, "q_uniform": {"q"}}
_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_REPLACED = ("${env}", "${interpreter}")
_MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Parameter:
    """Values of one option.

    Attributes:
        name: of the option, without dashes.
        distribution: from which values are drawn.
        values: all of them, where there are finitely many; of a constant one.
        probabilities: of the values; ``None`` for equal ones.
        low: smallest value.
        high: largest value.
        step: that values of ``q_uniform`` are multiples of.
    """

    name: str
    distribution: str
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0

    @property
    def varies(self) -> bool:
        """Whether trials differ in it."""
        return self.distribution != "constant"

    def draw(self, generator: np.random.Generator) -> Any:
        """Return a value at random."""
        if self.values:
            return self.values[generator.choice(len(self.values), p=self.probabilities)]
        if self.distribution == "int_uniform":
            return int(generator.integers(int(self.low), int(self.high) + 1))
        if self.distribution == "log_uniform_values":
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
            return min(max(value, self.low), self.high)  # exp(log(x)) may be beside x
        value = float(generator.uniform(self.low, self.high))
        if self.distribution == "q_uniform":
            # As wandb rounds; the digits of the step, so that 0.1 * 3 is 0.3.
            return float(f"{round(value / self.step) * self.step:.12g}")
        return value

    def all_values(self) -> tuple[Any, ...]:
        """Return every value, for a grid."""
        if self.distribution == "int_uniform":
            return tuple(range(int(self.low), int(self.high) + 1))
        return self.values


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        file: that it was read from.
        program: that each trial runs.
        method: grid, or random.
        metric: by which trials are compared.
        goal: which end of it is best.
        parameters: in the order of the file; a nested one has a dotted name, as ``nested`` says.
        nested: first parts of dotted names that the file has as groups: wandb hands each on as one mapping.
        before: arguments of every trial, before those of the sweep.
        after: arguments of every trial, after those of the sweep.
        cap: most trials; ``None`` for no limit.
    """

    file: Path
    program: str
    method: Literal["grid", "random"]
    metric: str
    goal: Literal["maximize", "minimize"]
    parameters: tuple[Parameter, ...]
    nested: frozenset[str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    cap: int | None

    def trials(self, count: int | None, seed: int) -> list[dict[str, Any]]:
        """Return the values of each trial by the parameters' names.

        Args:
            count: how many; ``None`` for ``run_cap``, or a whole grid.
            seed: of random ones. Trial i is the same whatever the count.

        Raises:
            InputError: a random search has no end, or a grid is far too large.
        """
        count = self.cap if count is None else count if self.cap is None else min(count, self.cap)
        if self.method == "grid":
            size = math.prod(len(parameter.all_values()) for parameter in self.parameters)
            require(
                count is not None or size <= _MOST_TRIALS,
                f"{self.file}: a grid of {size:,} trials; give fewer values, or --count",
            )
            names = [parameter.name for parameter in self.parameters]
            grid = product(*(parameter.all_values() for parameter in self.parameters))
            return [
                dict(zip(names, values, strict=True))
                for _, values in zip(range(size if count is None else count), grid, strict=False)
            ]
        require(count is not None, f"{self.file}: a random search has no end; give --count N, or run_cap in the file")
        assert count is not None
        return [
            {parameter.name: parameter.draw(generator) for parameter in self.parameters}
            for generator in (np.random.default_rng([seed, trial]) for trial in range(count))
        ]

    def arguments(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments of a trial as wandb's agent makes them."""
        grouped: dict[str, Any] = {}
        for name, value in values.items():
            top, *rest = name.split(".")
            if top in self.nested:
                inner = grouped.setdefault(top, {})
                for part in rest[:-1]:
                    inner = inner.setdefault(part, {})
                inner[rest[-1]] = value
            else:
                grouped[name] = value
        return [*self.before, *(f"--{name}={value}" for name, value in grouped.items()), *self.after]


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        InputError: it cannot be read, or has something that wandb does not know or that needs wandb's server.
    """
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(
            f"sweep file {file}: {error.strerror}; name a file such as experiments/sweeps/trg.yaml"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"sweep file {file}: no YAML ({reason}); mend it") from error
    require(isinstance(content, dict), f"sweep file {file}: it holds no keys; see experiments/sweeps/trg.yaml")
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
    require(
        method != "bayes",
        "method bayes needs wandb's server, which chooses each trial by those before it; use wandb sweep and wandb "
        "agent, or method random or grid here",
    )
    require(method in ("grid", "random"), f"method={method}: choose grid or random")
    program: Any = content.get("program")
    require(isinstance(program, str), f"program={program}: name the script, such as experiments/run.py")
    metric: Any = content.get("metric")
    require(
        isinstance(metric, dict) and isinstance(metric.get("name"), str) and metric.keys() <= {"name", "goal"},
        f"metric={metric}: write {{name: test/top1, goal: maximize}}",
    )
    goal = metric.get("goal", "minimize")
    require(goal in ("maximize", "minimize"), f"metric.goal={goal}: choose maximize or minimize")
    given: Any = content.get("parameters")
    require(
        isinstance(given, dict) and len(given) > 0, "parameters: name at least one, such as train.lr: {values: [...]}"
    )
    parameters = tuple(_parameters(given, ""))
    if method == "grid":
        for parameter in parameters:
            require(
                bool(parameter.values) or parameter.distribution == "int_uniform",
                f"parameters.{parameter.name}: a grid has no end over {parameter.distribution}; give values, or choose "
                "method random",
            )
    nested = frozenset(name for name, value in given.items() if isinstance(value, dict) and "parameters" in value)
    before, after = _command(content.get("command", list(_COMMAND)))
    cap = content.get("run_cap")
    require(cap is None or (type(cap) is int and cap >= 1), f"run_cap={cap}: give a whole number of at least 1")
    return Sweep(file, program, method, metric["name"], goal, parameters, nested, before, after, cap)


def _command(command: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the arguments before and after those of the sweep."""
    require(isinstance(command, list), f"command={command}: write a list, such as {list(_COMMAND)}")
    chunks = [str(chunk) for chunk in command]
    for chunk in chunks:
        is_macro = chunk.startswith("${") and chunk.endswith("}")
        require(
            not is_macro or chunk in _COMMAND,
            f"command: {chunk} is not supported; trg run takes arguments as ${{args}} writes them",
        )
        require(is_macro or "${" not in chunk, f"command: {chunk} is not supported: write it without ${{...}}")
    for macro in ("${program}", "${args}"):
        require(chunks.count(macro) == 1, f"command: it must have {macro} once")
    program, args = chunks.index("${program}"), chunks.index("${args}")
    require(program < args, "command: ${program} must come before ${args}")
    start = [chunk for chunk in chunks[:program] if chunk not in _REPLACED]
    require(
        not start,
        f"command: {start[0] if start else ''} before ${{program}} is not supported; give trg run's arguments after it",
    )
    return tuple(chunks[program + 1 : args]), tuple(chunks[args + 1 :])


def _parameters(given: dict[str, Any], prefix: str) -> Iterator[Parameter]:
    for key, value in given.items():
        name = f"{prefix}{key}"
        require(isinstance(value, dict), f"parameters.{name}={value}: write {{value: {value}}}, or {{values: [...]}}")
        for inner in value:
            require(
                inner in _PARAMETER_KEYS,
                f"parameters.{name}.{inner} is not supported{near(str(inner), _PARAMETER_KEYS)}",
            )
        if "parameters" in value:
            require(len(value) == 1, f"parameters.{name}: beside parameters there must be nothing else")
            require(
                isinstance(value["parameters"], dict) and len(value["parameters"]) > 0,
                f"parameters.{name}.parameters: name at least one",
            )
            yield from _parameters(value["parameters"], f"{name}.")
        else:
            yield _parameter(name, value)


def _parameter(name: str, given: dict[str, Any]) -> Parameter:
    where = f"parameters.{name}"
    distribution = given["distribution"] if "distribution" in given else _implied(where, given)
    require(
        distribution in _DISTRIBUTIONS,
        f"{where}.distribution={distribution}: not supported{near(str(distribution), _DISTRIBUTIONS)}",
    )
    needed, found = _DISTRIBUTIONS[distribution], given.keys() - {"distribution"}
    allowed = needed | _OPTIONAL.get(distribution, set())
    require(needed <= found, f"{where}: {distribution} needs {' and '.join(sorted(needed))}")
    odd = sorted(found - allowed)
    require(not odd, f"{where}.{odd[0] if odd else ''}: {distribution} takes {', '.join(sorted(allowed))} only")
    if distribution in ("constant", "categorical"):
        return _finite(where, name, distribution, given)
    low, high = given["min"], given["max"]
    for key, bound in (("min", low), ("max", high)):
        number = type(bound) in (int, float) and math.isfinite(bound)
        # YAML reads 1e-3 as text, and wandb does as well.
        require(number, f"{where}.{key}={bound!r}: give a number; YAML reads 1e-3 as text, 1.0e-3 as a number")
    require(low < high, f"{where}: min={low} must be below max={high}")
    if distribution == "int_uniform":
        require(type(low) is int and type(high) is int, f"{where}: int_uniform takes whole numbers")
    if distribution == "log_uniform_values":
        require(low > 0, f"{where}: log_uniform_values takes numbers above 0")
    step = given.get("q", 1)
    require(type(step) in (int, float) and 0 < step < math.inf, f"{where}.q={step}: give a positive number")
    return Parameter(name, distribution, low=low, high=high, step=step)


def _implied(where: str, given: dict[str, Any]) -> str:
    """Return the distribution that wandb takes where none is named."""
    if "values" in given:
        return "categorical"
    if "value" in given:
        return "constant"
    bounds = given.get("min"), given.get("max")
    require(None not in bounds, f"{where}: give value, values, or min and max")
    kinds = {type(bound) for bound in bounds}
    require(
        kinds != {int, float}, f"{where}: min={bounds[0]} and max={bounds[1]}: write both as whole numbers, or both not"
    )
    return "int_uniform" if kinds == {int} else "uniform"


def _finite(where: str, name: str, distribution: str, given: dict[str, Any]) -> Parameter:
    values = given["values"] if distribution == "categorical" else [given["value"]]
    require(isinstance(values, list) and len(values) > 0, f"{where}.values={values}: write a list of values")
    # wandb's agent writes Python's None, which trg run reads as a word.
    require(all(value is not None for value in values), f"{where}: write 'null' in quotes for no value")
    weights = given.get("probabilities")
    if weights is not None:
        sound = (
            isinstance(weights, list)
            and len(weights) == len(values)
            and all(type(weight) in (int, float) and weight >= 0 for weight in weights)
        )
        require(
            sound and abs(sum(weights) - 1) < 1e-6, f"{where}.probabilities={weights}: one for each value, with sum 1"
        )
        weights = tuple(weight / sum(weights) for weight in weights)
    return Parameter(name, distribution, tuple(values), weights)
