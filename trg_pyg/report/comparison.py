"""Runs that can be compared: one study for each data set, pair of networks and recipe."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trg_pyg._program import program
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import count, near, require
from trg_pyg.metrics import TIMES, Metric, metrics_of, score_of
from trg_pyg.report.runs import Found
from trg_pyg.runs import Run, as_key, data_name, differing, flatten, shown, telling
from trg_pyg.study.study import short_name

_OF_NETWORK = ("name", "args", "taps", "prefix_tokens", "mean", "std")
_QUALIFIERS = 3


@dataclass(frozen=True)
class ComparedStudy:
    """Methods that were trained in the same way on the same data.

    Attributes:
        pair: data and pair of networks.
        recipe: what tells the study from others of the pair, by dotted names; empty where there is no other.
        title: the pair, and the first of the recipe.
        methods: in the order of the table, each with its finished runs by seed, ascending; those of one name with other
            options have names of their own.
        unfinished: runs that are left out of all means.
        reference: the method that the others are compared with; ``None`` for none.
        teacher: name and metrics, of the images that the students are evaluated on; ``None`` without one.
        evaluated: the split that metrics are of.
        notes: what a reader has to know.
    """

    pair: str
    recipe: dict[str, Any]
    title: str
    methods: dict[str, dict[int, Run]]
    unfinished: list[Run]
    reference: str | None
    teacher: tuple[str, dict[str, float]] | None
    evaluated: str
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """The finished runs, method by method."""
        return [run for runs in self.methods.values() for run in runs.values()]

    @property
    def score(self) -> Metric:
        """What the methods are compared by."""
        return score_of(epoch for run in [*self.runs, *self.unfinished] for epoch in run.history[-1:])

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted({run.seed for run in self.runs})

    @property
    def long_tailed(self) -> bool:
        """Whether there are accuracies of classes with many, medium and few training images."""
        return any(metric.key in run.history[-1] for run in self.runs for metric in metrics_of("shots"))


def studies_of(found: Found, reference: str | None) -> list[ComparedStudy]:
    """Group runs to studies; those of different data, pairs or recipes never meet.

    A run without a teacher belongs to every study of its data, student and recipe, since its training is the same
    whatever the teacher of the others; one of a results file stays with the others of its file.

    Args:
        found: the runs.
        reference: the method to compare with; ``None`` takes KD, or what all results files of a study name.

    Raises:
        InputError: no study has the reference; one training is there twice with different results; runs of the same
            settings were trained on other classes.
    """
    groups = _groups(found.runs)
    pairs = [_title(runs) for _, runs in groups]
    recipes = _recipes(pairs, [identity for identity, _ in groups])
    studies = [
        _study(pair, recipe, title, identity, runs, found, reference)
        for pair, recipe, title, (identity, runs) in zip(pairs, recipes, _titles(pairs, recipes), groups, strict=True)
    ]
    if reference is not None:
        known = {name for study in studies for name in study.methods}
        require(
            any(study.reference is not None for study in studies),
            f"reference={reference}: no method of that name has a finished run{near(reference, known)}",
        )
    return studies


def _groups(runs: Sequence[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Return what the runs of each study have in common, and the runs."""
    groups: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    alone: list[Run] = []
    for run in runs:
        if "teacher" in run.settings:
            identity = _identity(run) | _teacher_identity(run)
            groups.setdefault(as_key(identity), (identity, []))[1].append(run)
        else:
            alone.append(run)
    with_teacher = list(groups.values())
    for run in alone:
        common = _identity(run)
        fitting = [members for identity, members in with_teacher if _without_teacher(identity) == common]
        for members in fitting or [groups.setdefault(as_key(common), (common, []))[1]]:
            members.append(run)
    place = {id(run): number for number, run in enumerate(runs)}
    return [(identity, sorted(members, key=lambda run: place[id(run)])) for identity, members in groups.values()]


def _identity(run: Run) -> dict[str, Any]:
    return telling({name: value for name, value in run.settings.items() if name != "teacher"})


def _teacher_identity(run: Run) -> dict[str, Any]:
    """Return what the teacher is: its network and the hash of its weights, or else how they come about."""
    teacher, digest = run.settings["teacher"], (run.teacher or {}).get("sha256")
    if digest is not None:
        teacher = {name: teacher.get(name) for name in _OF_NETWORK} | {"sha256": digest}
    return telling({"teacher": teacher})


def _without_teacher(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if not key.startswith("teacher.")}


def _title(runs: Sequence[Run]) -> str:
    """Return data and pair, as ``trg run`` names the folder."""
    settings = max((run.settings for run in runs), key=len)  # a run without a teacher does not name the pair
    networks = [settings[role]["name"] for role in ("teacher", "student") if role in settings]
    return f"{data_name(settings)}/{'-'.join(map(short_name, networks))}"


def _recipes(pairs: Sequence[str], identities: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each study what tells it from others of its pair."""
    recipes = []
    for pair, own in zip(pairs, identities, strict=True):
        keys = differing([identity for identity, other in zip(identities, pairs, strict=True) if other == pair])
        # Epochs first: it is what studies of a pair differ in most often.
        recipes.append({key: own.get(key) for key in sorted(keys, key=lambda key: (key != "train.epochs", key))})
    return recipes


def _titles(pairs: Sequence[str], recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a title for each study; those of one pair on one data set are told apart by what differs."""
    titles = []
    for pair, recipe in zip(pairs, recipes, strict=True):
        told = [_said(key, value) for key, value in list(recipe.items())[:_QUALIFIERS]]
        titles.append(pair + (f", {', '.join(told)}" if told else ""))
    counts, numbers = Counter(titles), Counter[str]()
    for i, title in enumerate(titles):
        if counts[title] > 1:
            numbers[title] += 1
            titles[i] = f"{title} ({numbers[title]})"
    return titles


def _said(key: str, value: Any) -> str:
    return count(value, "epoch") if key == "train.epochs" else f"{key_name(key)} {shown(value)}"


def key_name(key: str) -> str:
    """Return what a setting is called for a reader."""
    return {"train.epochs": "epochs", "teacher.sha256": "teacher weights"}.get(key, key)


def _study(
    pair: str,
    recipe: dict[str, Any],
    title: str,
    identity: dict[str, Any],
    runs: Sequence[Run],
    found: Found,
    wanted: str | None,
) -> ComparedStudy:
    _check_facts(runs)
    notes: list[str] = []
    methods = _methods(_without_repetitions(runs, notes))
    finished: dict[str, dict[int, Run]] = {}
    unfinished: list[Run] = []
    for name, of_method in methods.items():
        done = {run.seed: run for run in sorted(of_method, key=lambda run: run.seed) if run.finished}
        unfinished += [run for run in of_method if not run.finished]
        if done:
            finished[name] = done
    evaluated = "test" if "data.init_args.validation" not in identity else "validation"
    return ComparedStudy(
        pair=pair,
        recipe=recipe,
        title=title,
        methods=finished,
        unfinished=unfinished,
        reference=_reference(finished, runs, found, wanted, notes),
        teacher=_teacher(runs, found, evaluated, notes),
        evaluated=evaluated,
        notes=notes,
    )


def _check_facts(runs: Sequence[Run]) -> None:
    folders = [run.folder for run in runs if run.folder is not None]
    known = [(folder, facts) for folder in folders if (facts := DataFacts.read(folder)) is not None]
    for folder, facts in known[1:]:
        require(
            facts == known[0][1],
            f"{known[0][0]} and {folder} have the same settings but were trained on other classes or images, "
            "so they can't be compared; report on them one by one",
        )


def _without_repetitions(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """Return each training once.

    Raises:
        InputError: a training is there twice, with different results.
    """
    kept: dict[tuple[str, str, int], Run] = {}
    repeated = 0
    for run in runs:
        key = (run.method, as_key(run.distiller), run.seed)
        if key not in kept:
            kept[key] = run
            continue
        other = kept[key]
        require(
            _results(run) == _results(other),
            f"{run.title} is in {other.source} and in {run.source} with other results; leave one of them out",
        )
        repeated += 1
        if other.folder is None and run.folder is not None:
            kept[key] = run
    if repeated:
        notes.append(f"{count(repeated, 'run')} given twice with the same results, counted once.")
    return list(kept.values())


def _results(run: Run) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in run.history]


def _methods(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Sort runs by method; those of one name with other options are rows of their own, named by what differs."""
    by_name: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        by_name.setdefault(run.method, {}).setdefault(as_key(run.distiller), []).append(run)
    methods: dict[str, list[Run]] = {}
    for name, variants in by_name.items():
        if len(variants) == 1:
            methods[name] = next(iter(variants.values()))
            continue
        options = [flatten(of_variant[0].distiller) for of_variant in variants.values()]
        keys = differing(options)
        for own, of_variant in zip(options, variants.values(), strict=True):
            told = ", ".join(f"{key.rpartition('.')[2]}={shown(own.get(key))}" for key in keys)
            methods[f"{name} ({told})"] = of_variant
    return methods


def _reference(
    methods: Mapping[str, dict[int, Run]], runs: Sequence[Run], found: Found, wanted: str | None, notes: list[str]
) -> str | None:
    named = {found.references[run.source] for run in runs if run.source in found.references} - {None}
    default = "KD" if "KD" in methods else next(iter(named)) if len(named) == 1 else None
    name = wanted or default
    if name in methods:
        return name
    if len(methods) > 1:
        asked = f"There is no finished {name}" if name else "There is no KD"
        notes.append(f"{asked} among these runs, so nothing is compared; name a method by --reference.")
    return None


def _teacher(
    runs: Iterable[Run], found: Found, evaluated: str, notes: list[str]
) -> tuple[str, dict[str, float]] | None:
    """Return name and metrics: all of them from a results file of the same weights, else the accuracy in the run."""
    taught = [run for run in runs if run.teacher is not None and "teacher" in run.settings]
    if not taught:
        return None
    name, own = taught[0].settings["teacher"]["name"], taught[0].teacher or {}
    if "metrics" in own:
        return name, own["metrics"]
    key = next((name for name in own if name.startswith(f"{evaluated}_")), "")
    for known in found.teachers:
        if known.get("sha256") == own.get("sha256") and known.get(key) == own.get(key):
            return name, known["metrics"]
    if key not in own:
        notes.append("The runs do not say what their teacher's accuracy is, so its row is left out.")
        return None
    notes.append(
        "The runs say only one accuracy of the teacher; its others are in the results file that "
        f"{program('run')} writes at the end of a study."
    )
    return name, {key.removeprefix(f"{evaluated}_"): own[key]}
