"""Methods since 2021, trained side by side by ``trg run``, stopped and resumed."""

import json

import pytest
from safetensors.torch import load_file

from trg_pyg.cli.run import main

METHODS = [
    *("LSKD", "NKD", "CTKD", "WKD", "WTTM", "SDD", "MLKD", "BKD", "DiVE", "LTKD"),
    *("DIST", "ICKD", "RRD", "ManifoldKD", "VRM", "ReviewKD", "SimKD", "PSRD", "OFAKD", "PEFD", "DCD"),
]


def results(folder):
    """Last weights and metrics of each method."""
    found = {}
    for method in METHODS:
        (run,) = folder.glob(f"**/{method}-*/seed0")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        timing = ("seconds", "images_per_second", "ms_per_step")
        found[method] = (
            load_file(run / "last.safetensors"),
            [{name: value for name, value in line.items() if name not in timing} for line in lines],
        )
    return found


def test_they_learn_and_resume_to_the_weights_of_trainings_that_were_not_stopped(small, tmp_path, monkeypatch):
    given = [*small, "--data.imbalance=3", "--share_teacher=true", "--methods", *METHODS]
    assert main(given) == 0
    whole = results(tmp_path / "runs")

    class Stopped(Exception):
        pass

    def stop(display, metrics):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("trg_pyg.study.progress.Display.epoch", stop)
        with pytest.raises(Stopped):
            main([*given, "--overwrite"])
    assert main([*given, "--resume"]) == 0
    for method, (weights, history) in results(tmp_path / "runs").items():
        before, epochs = whole[method]
        assert all((value == before[name]).all() for name, value in weights.items()), method
        assert history == epochs
        assert len(history) == 2
        assert all(value == value for line in history for value in line.values()), method
