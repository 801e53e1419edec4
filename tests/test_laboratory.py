"""What a researcher imports from the laboratory, and what that loads."""

import importlib
import subprocess
import sys

import pytest

from trg_pyg.look import Album, load_run_networks
from trg_pyg.report import find_runs, paired_difference, result_rows, studies_of
from trg_pyg.use import evaluate_on, export, load, predict, read_images_of

ROOMS = ["config", "study", "use", "look", "report"]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_exports_what_its_own_files_define(name):
    room = importlib.import_module(f"trg_pyg.{name}")
    assert room.__all__ == sorted(room.__all__)
    for exported in room.__all__:
        assert getattr(room, exported).__module__.startswith(f"trg_pyg.{name}.")


def test_a_run_is_used_looked_at_and_compared_by_a_few_names(finished_run, tmp_path):
    trained = load(finished_run)
    top1 = evaluate_on(trained, read_images_of(trained.data)).metrics["top1"]
    (study,) = studies_of(find_runs([finished_run]), None)
    (row,) = result_rows(study)
    assert row.values("test/top1") == [top1]
    assert paired_difference([top1], row.values("test/top1")).mean == 0
    export(trained, tmp_path / "exported", ["safetensors"])
    image = finished_run.parents[4] / "images" / "test" / "red" / "0.png"
    (of_run,), (of_export,) = (list(predict(each, [image])) for each in (trained, load(tmp_path / "exported")))
    assert [name for name, _ in of_run.classes] == [name for name, _ in of_export.classes]
    assert load_run_networks(finished_run).graphs.k == 8
    assert [picture.name for picture in Album(finished_run, ["token_graph"]).draw("token_graph")] == ["token_graph"]


def test_packages_that_few_need_are_loaded_when_they_are_needed():
    rooms = ", ".join(f"trg_pyg.{name}" for name in ROOMS)
    heavy = ["matplotlib", "wandb", "onnx", "sklearn", "optuna", "timm", "torch.utils.benchmark"]
    code = f"import sys, {rooms}; print(*set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "\n"
