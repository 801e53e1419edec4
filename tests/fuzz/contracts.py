"""The classes that the contract tests find: one that is new is fuzzed without being named anywhere."""

import importlib.util
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]


def contract(path: str) -> ModuleType:
    """Import a module of the tests by its path, under a name that pytest does not use."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_") + "_for_fuzzing", TESTS / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builders = contract("graphs/test_builder_contract").builders
relations = contract("relations/test_relation_contract").relations
_divergences = contract("divergences/test_divergence_contract")
divergences, PLACES = _divergences.with_defaults, _divergences.PLACES
_losses = contract("losses/test_loss_contract")
LOSSES, Case = _losses.LOSSES, _losses.Case
_distillers = contract("distillers/test_distiller_contract")
DISTILLERS, made = _distillers.DISTILLERS, _distillers.made
_networks = contract("distillers/conftest")
STUDENT, TEACHER, make_outputs, make_step = (
    getattr(_networks, name) for name in ("STUDENT", "TEACHER", "make_outputs", "make_step")
)
