"""requirements.lock: exact versions that pyproject.toml allows, of nothing that only this machine has."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def direct() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    named = [Requirement(each) for each in [*project["dependencies"], *(each for extra in extras for each in extra)]]
    return [each for each in named if each.name != project["name"]]  # an extra may name others of the project


def problems(lock: str, wanted: list[Requirement]) -> list[str]:
    """What is wrong with the text of a lock, a line for each."""
    found, versions = [], {}
    for line in lock.splitlines():
        if not line or line.startswith("#"):
            continue
        try:
            pinned = Requirement(line)
        except InvalidRequirement:
            found.append(f"no requirement: {line}")
            continue
        exact = re.fullmatch(r"==([^*,]+)", str(pinned.specifier))
        if pinned.url or pinned.marker or not exact:
            found.append(f"no exact version: {line}")
        elif canonicalize_name(pinned.name) in versions:
            found.append(f"twice: {line}")
        else:
            versions[canonicalize_name(pinned.name)] = exact[1]
    for each in wanted:
        version = versions.get(canonicalize_name(each.name))
        if version is None:
            found.append(f"missing: {each.name}")
        elif not each.specifier.contains(version, prereleases=True):
            found.append(f"not {each}: {version}")
    return found


def test_the_lock_has_an_allowed_version_of_every_direct_dependency():
    wanted = direct()
    assert {"torch", "timm", "pytest", "torch-scatter"} <= {each.name for each in wanted}
    assert problems((ROOT / "requirements.lock").read_text(), wanted) == []


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        ("torch==2.6.0\n# more\n\nnumpy==2.0", []),
        ("torch==2.5.9\nnumpy==2.0", ["not torch>=2.6: 2.5.9"]),
        ("torch==2.7", ["missing: NumPy"]),
        ("torch>=2.6\nnumpy==2.0", ["no exact version: torch>=2.6", "missing: torch"]),
        ("torch==2.*\nnumpy==2.0", ["no exact version: torch==2.*", "missing: torch"]),
        (
            "torch==2.6\nnumpy @ file:///opt/numpy.whl",
            ["no exact version: numpy @ file:///opt/numpy.whl", "missing: NumPy"],
        ),
        ("--index-url https://host/simple\ntorch==2.6\nnumpy==2", ["no requirement: --index-url https://host/simple"]),
        ("-e .\ntorch==2.6\nnumpy==2", ["no requirement: -e ."]),
        ("torch==2.6\nnumpy==2\nNumPy==3", ["twice: NumPy==3"]),
    ],
)
def test_what_is_wrong_with_a_lock_is_seen(lock, problem):
    assert problems(lock, [Requirement("torch>=2.6"), Requirement("NumPy>=1.26")]) == problem
