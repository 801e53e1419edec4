import copy
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import yaml

from trg_pyg.cli._sweep_file import read_sweep
from trg_pyg.cli.run import check_trial
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError

SWEEPS = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.yaml"))
GOOD = {
    "program": "experiments/run.py",
    "method": "random",
    "metric": {"name": "test/top1", "goal": "maximize"},
    "parameters": {"train.lr": {"values": [0.1, 0.01]}},
    "command": ["${env}", "${interpreter}", "${program}", "--data.validation=0.1", "${args}"],
}


@pytest.fixture
def sweep(tmp_path):
    """Reads a good sweep file in which some keys are others."""

    def make(**keys):
        content = {**copy.deepcopy(GOOD), **keys}
        file = tmp_path / "sweep.yaml"
        file.write_text(
            yaml.safe_dump({key: value for key, value in content.items() if value is not ...}, sort_keys=False)
        )
        return read_sweep(file)

    return make


def as_wandb_starts_it(file, values):
    """The arguments of run.py in the command of wandb's agent."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    content = yaml.safe_load(file.read_text())
    args = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    args |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [content["program"]]}
    command = []
    for chunk in utils.create_sweep_command(content["command"]):
        command += args[chunk[2:-1]] if chunk.startswith("${") else [chunk]
    assert command[:3] == ["/usr/bin/env", "python", content["program"]]
    return command[3:]


def grouped(values, file):
    """Values as wandb's server hands them on: a mapping for each nested parameter."""
    nested = {name for name, given in yaml.safe_load(file.read_text())["parameters"].items() if "parameters" in given}
    flat = {name: value for name, value in values.items() if name.partition(".")[0] not in nested}
    for top in nested:
        flat[top] = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{top}.")}
    return flat


def test_there_are_sweeps():
    assert {file.name for file in SWEEPS} >= {"trg.yaml", "cifar100-lt.yaml"}


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_trials_of_a_sweep_are_ones_of_run_py_on_held_out_images_as_wandb_starts_them(file, monkeypatch):
    monkeypatch.chdir(file.parents[2])
    sweep = read_sweep(file)
    (script,) = sweep.start
    assert Path(script).is_file()
    for number in (0, sweep.count(None) - 1):
        values = sweep.values(sweep.draw(number, seed=0))
        arguments = sweep.arguments(values)
        assert arguments == as_wandb_starts_it(file, grouped(values, file))
        choices = read_choices(arguments)
        check_trial(choices)
        assert len(choices.methods) == len(choices.seeds) == 1
        options = choices.methods[0].settings["init_args"]
        for name, value in values.items():
            where, _, option = name.partition(".")
            found = options[option] if where == "distiller" else getattr(choices.config.train, option)
            assert found == value
        # What the configuration says beside the swept options is as it says.
        alone = read_choices([argument for argument in sweep.before if argument.startswith("--config")])
        kept = alone.methods[0].settings["init_args"]
        swept = {name.partition(".")[2] for name in values}
        assert {k: v for k, v in options.items() if k not in swept} == {k: v for k, v in kept.items() if k not in swept}
        assert choices.config.train.epochs == alone.config.train.epochs


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_wandb_takes_the_file(file):
    sweeps = pytest.importorskip("wandb.apis.public.sweeps")
    content = yaml.safe_load(file.read_text())
    filled = sweeps._validate_config_and_fill_distribution(content)
    # Where no distribution is named, wandb's is ours.
    ours = {parameter.name: parameter.distribution for parameter in read_sweep(file).parameters}
    theirs = {name: each.get("distribution") for name, each in filled["parameters"].items()}
    assert all(ours[name] == distribution for name, distribution in theirs.items() if distribution is not None)


def trials(sweep, count=None, seed=0):
    return [sweep.values(sweep.draw(number, seed)) for number in range(sweep.count(count))]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_trial_depends_on_its_number_and_the_seed(sweep, method):
    search = sweep(method=method, parameters={"train.lr": {"min": 0.01, "max": 0.1}, "seeds": {"values": [0, 1]}})
    assert trials(search, 3) == trials(search, 3)
    assert trials(search, 3) != trials(search, 3, seed=1)
    assert len({str(trial) for trial in trials(search, 8)}) == 8


def test_bayes_looks_where_it_was_good(sweep):
    parameters = {"x": {"min": 0.0, "max": 1.0}, "y": {"values": ["a", "b"]}}
    search, told = sweep(method="bayes", parameters=parameters, metric={"name": "loss"}), []
    for number in range(40):
        drawn = search.draw(number, 0, told)
        x, y = search.values(drawn).values()
        told.append((drawn, abs(x - 0.2) + (y == "a")))
    early, late = (median(loss for _, loss in part) for part in (told[:10], told[-10:]))
    assert late < early / 3


def test_a_grid_has_every_combination_the_last_parameter_first(sweep):
    parameters = {"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"min": 3, "max": 5}}
    assert trials(sweep(method="grid", parameters=parameters)) == [
        {"a": a, "b": "x", "c": c} for a in (1, 2) for c in (3, 4, 5)
    ]


def test_run_cap_and_the_command_line_are_the_most(sweep):
    assert [sweep(run_cap=4).count(asked) for asked in (None, 2, 9)] == [4, 2, 4]
    assert [sweep(method="grid").count(asked) for asked in (None, 1, 9)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"min": 0.0, "max": 10.0}, np.linspace(0, 10, 11)),
        ({"distribution": "uniform", "min": 2, "max": 4}, np.linspace(2, 4, 11)),
        ({"distribution": "log_uniform_values", "min": 0.01, "max": 100}, np.geomspace(0.01, 100, 11)),
    ],
)
def test_every_tenth_of_a_range_is_as_probable(sweep, given, values):
    found = [trial["x"] for trial in trials(sweep(parameters={"x": given}), 1000)]
    counts, _ = np.histogram(found, values)
    assert counts.sum() == 1000
    assert counts.min() > 70
    assert counts.max() < 130


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"min": 1, "max": 4}, {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}),
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.3, "q": 0.1}, {0.1: 1 / 3, 0.2: 1 / 3, 0.3: 1 / 3}),
        ({"distribution": "q_uniform", "min": 2, "max": 8.5, "q": 2.5}, {2.5: 1 / 3, 5.0: 1 / 3, 7.5: 1 / 3}),
        ({"distribution": "q_uniform", "min": 4.0, "max": 12.0, "q": 4.0}, {4: 1 / 3, 8: 1 / 3, 12: 1 / 3}),
        ({"values": ["a", True, [1]]}, {"a": 1 / 3, True: 1 / 3, "[1]": 1 / 3}),
        ({"values": ["a", "b", "c"], "probabilities": [0.7, 0, 0.3]}, {"a": 0.7, "c": 0.3}),
        ({"values": ["a"], "probabilities": [1]}, {"a": 1}),
    ],
)
def test_values_have_their_probabilities(sweep, given, shares):
    values = [trial["x"] for trial in trials(sweep(parameters={"x": given}), 1000)]
    counts = Counter(str(value) for value in values)
    assert counts.keys() == {str(value) for value in shares}
    assert {type(value) for value in values} >= {type(value) for value in shares if value != "[1]"}
    assert all(abs(counts[str(value)] / 1000 - share) < 0.05 for value, share in shares.items())


def test_nested_parameters_are_handed_on_as_one_mapping(sweep):
    inner = {"lr": {"value": 0.1}, "epochs": {"value": 3}}
    nested = sweep(parameters={"train": {"parameters": inner}, "seeds": {"value": 1}}, command=...)
    (values,) = trials(nested, 1)
    assert values == {"train.lr": 0.1, "train.epochs": 3, "seeds": 1}
    assert nested.arguments(values) == ["--train={'lr': 0.1, 'epochs': 3}", "--seeds=1"]
    choices = read_choices(nested.arguments(values))
    assert (choices.config.train.lr, choices.config.train.epochs) == (0.1, 3)
    assert choices.config.train.schedule == "onecycle"


@pytest.mark.parametrize(
    ("keys", "start"),
    [
        ({}, ("experiments/run.py",)),
        ({"command": ...}, ("experiments/run.py",)),
        ({"command": ["trg", "run", "--quiet", "${args}"], "program": ...}, ("trg", "run")),
        ({"command": ["${env}", "${program}", "run", "--quiet", "${args}"], "program": "trg"}, ("trg", "run")),
    ],
)
def test_a_trial_is_a_script_or_the_installed_command(sweep, keys, start):
    found = sweep(**keys)
    assert found.start == start
    assert found.arguments({"train.lr": 1})[-1] == "--train.lr=1"
    assert "run" not in found.arguments({"train.lr": 1})


def one(**given):
    return {"parameters": {"x": given}}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "anneal"}, "method=anneal: choose grid or random or bayes"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate needs wandb's server"),
        ({"parameter": {}}, "key parameter is not supported; did you mean parameters"),
        ({"program": ...}, "program=None: name the script"),
        ({"metric": ...}, r"metric=None: write \{name: test/top1, goal: maximize\}"),
        ({"metric": {"name": "x", "goal": "max"}}, "metric.goal=max: choose maximize or minimize"),
        ({"parameters": {}}, "parameters: name at least one"),
        ({"parameters": {"x": 3}}, r"parameters.x=3: write \{value: 3\}"),
        (one(), "parameters.x: give value, values, or min and max"),
        (one(min=1), "parameters.x: give value, values, or min and max"),
        (one(min=1, max=2.0), "parameters.x: min=1 and max=2.0: write both as whole numbers, or both not"),
        (one(min=2, max=1), "parameters.x: min=2 must be below max=1"),
        (one(min="1e-3", max=1.0), "parameters.x.min='1e-3': give a number; YAML reads 1e-3 as text"),
        (one(values=[]), "parameters.x.values=.*: write a list of values"),
        (one(values=[None, 1]), "parameters.x: write 'null' in quotes for no value"),
        (one(values=[1, 2], probabilities=[0.5]), "parameters.x.probabilities=.*: one for each value, with sum 1"),
        (one(values=[1, 2], probabilities=[0.5, 0.6]), "parameters.x.probabilities=.*: one for each value, with sum 1"),
        (one(values=[1, 2], min=0), "parameters.x.min: categorical takes probabilities, values only"),
        (one(vals=[1]), "parameters.x.vals is not supported; did you mean values"),
        (one(distribution="normal", min=0, max=1), "parameters.x.distribution=normal: not supported"),
        (
            one(distribution="log_uniform", min=0, max=1),
            "log_uniform: not supported; did you mean .*log_uniform_values",
        ),
        (one(distribution="log_uniform_values", min=0, max=1), "log_uniform_values takes numbers above 0"),
        (one(distribution="int_uniform", min=0.5, max=1), "int_uniform takes whole numbers"),
        (one(distribution="q_uniform", min=0, max=1, q=0), "parameters.x.q=0: give a positive number"),
        (one(distribution="q_uniform", min=0, max=1, q=1e-9), "q=1e-09: 1,000,000,001 values; give 1 to 100,000"),
        (one(distribution="q_uniform", min=1, max=2, q=3), "parameters.x.q=3: 0 values; give 1"),
        (one(distribution="uniform", values=[1]), "parameters.x: uniform needs max and min"),
        (one(parameters={}), "parameters.x.parameters: name at least one"),
        ({"method": "grid"} | one(min=0.0, max=1.0), "parameters.x: a grid has no end over uniform"),
        ({"command": "run.py"}, "command=run.py: write a list"),
        ({"command": ["${program}", "${args_no_hyphens}", "${args}"]}, "args_no_hyphens} is not supported"),
        ({"command": ["${program}"]}, r"command: it must have \$\{args\} once"),
        ({"command": ["${program}", "${args}", "${args}"]}, r"command: it must have \$\{args\} once"),
        (
            {"command": ["srun", "${program}", "${args}"]},
            r"command: srun is not supported as its beginning; begin with",
        ),
        ({"command": ["${args}", "${program}"]}, r"command: \$\{args\} is not supported as its beginning"),
        ({"run_cap": 0}, "run_cap=0: give a whole number"),
    ],
)
def test_what_is_not_supported_is_named(sweep, keys, message):
    with pytest.raises(InputError, match=f"sweep file .*sweep.yaml: .*{message}"):
        sweep(**keys)


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_without_an_end_is_refused(sweep, method):
    with pytest.raises(InputError, match=f"a {method} search has no end; give --count N, or run_cap"):
        sweep(method=method).count(None)


def test_a_grid_that_is_far_too_large_is_refused(sweep):
    grid = sweep(method="grid", parameters={name: {"min": 1, "max": 100} for name in "abc"})
    with pytest.raises(InputError, match="a grid of 1,000,000 trials"):
        grid.count(None)
    assert grid.count(5) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"method: [", "no YAML"),
        (b"\xff", "byte 0 is no UTF-8"),
        (b"method: grid\nmethod: random", "method stands twice, on lines 1 and 2"),
        (b"run_cap: 010", "line 1: 010 would be read as 8"),
        (b"train: {epochs: 1}", "that is a configuration; give it to trg run --config"),
        (b"- 1", "it holds no keys"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_refused(content, message, tmp_path):
    file = tmp_path / "sweep.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"sweep file .*: {message}"):
        read_sweep(file)
