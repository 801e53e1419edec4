import json
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from damage import damaged
from fuzzing import file_of, fuzz, judged

from trg_pyg.report.results import Results, Run

RESULTS = Results(
    study="Digits/resnet20-resnet8",
    command="python experiments/run.py",
    settings={"train": {"epochs": 1}},
    environment={"python": "3.11"},
    teacher={"name": "resnet20", "metrics": {"top1": 99.0}},
    reference="KD",
    runs=[
        Run(method, seed, {"class_path": method}, [{"epoch": 1, "test/top1": top1, "seconds": 1.5, "ms_per_step": 9}])
        for method, seed, top1 in (("KD", 0, 50.0), ("KD", 1, 52.0), ("TRG", 0, 53.0), ("TRG", 1, 55.0))
    ],
)


def written() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        RESULTS.write(Path(folder) / "results.jsonl")
        return (Path(folder) / "results.jsonl").read_bytes()


VALID = written()
KEYS = [
    "study",
    "command",
    "settings",
    "teacher",
    "reference",
    "runs",
    "name",
    "metrics",
    "method",
    "seed",
    "distiller",
]
keys = st.one_of(
    st.sampled_from([*KEYS, "history", "environment", "test/top1", "top1", "seconds"]), st.text(max_size=6)
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """Valid lines with one to three values replaced, taken out or added; or a file with damaged bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(st.just(VALID)))
    lines = [json.loads(line) for line in VALID.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(lines)[1:]))
        here: Any = lines
        for key in path:
            here = here[key]
        how = draw(st.sampled_from(["replace", "replace", "take out", "add"]))
        if how == "replace":
            here[last] = draw(values)
        elif how == "take out":
            del here[last]
        elif isinstance(here, dict):
            here[draw(keys)] = draw(values)
        else:
            here.append(draw(values))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@fuzz(20, 900, content=changed())
def test_a_results_file_gives_a_table_or_is_refused(content: bytes) -> None:
    with file_of(content, "table.jsonl") as file, judged("results files"):
        assert Results.read(file).report().strip()
