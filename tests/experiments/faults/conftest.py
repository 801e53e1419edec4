import shutil

import pytest

from experiments.faults.recipe import arguments
from trg_pyg.cli.run import main


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Runs of an undisturbed training with memory banks; not to be written to."""
    tree = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert main([*arguments("CRD", tree, resume=False), "--quiet"]) == 0
    return tree


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of them."""
    return shutil.copytree(finished, tmp_path / "copied")
