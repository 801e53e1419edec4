import json
from pathlib import Path

import pytest
import torch

from tests.conftest import write_images
from trg_pyg.cli.run import main
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError
from trg_pyg.training.metrics import evaluate
from trg_pyg.use.trained import load_trained


@pytest.fixture
def run(small, tmp_path):
    """A finished run of one method."""
    assert main([*small, "--methods", "KD", "--seeds", "3"]) == 0
    (folder,) = (tmp_path / "runs").glob("ImageFolder/resnet8-resnet8/KD-*/seed3")
    return folder


def last_epoch(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def test_the_network_of_a_run_gives_the_metrics_of_its_last_epoch(run):
    trained = load_trained(run)
    assert (trained.name, trained.method, trained.seed) == ("resnet8", "KD", 3)
    splits = trained.read_data()
    metrics = evaluate(trained.network, splits.test, 18)
    last = last_epoch(run)
    # The training's weights lie channels last, which rounds the loss another way.
    assert metrics == pytest.approx({name: last[f"test/{name}"] for name in metrics})
    assert metrics["top1"] == last["test/top1"]
    assert not trained.network.training
    assert not any(parameter.requires_grad for parameter in trained.network.parameters())


def test_neither_the_data_nor_the_weights_it_began_with_are_needed(run, images):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("weights: null", "weights: gone.pth"))
    images.rename(images.with_name("elsewhere"))
    trained = load_trained(run)
    assert trained.facts.classes == ("blue", "green", "red")
    assert trained.facts.image_size == 16
    assert trained.network(torch.zeros(1, 3, 16, 16)).logits.shape == (1, 3)


def test_a_run_without_the_facts_reads_its_data(run):
    known = DataFacts.read(run)
    (run / "data.json").unlink()
    assert load_trained(run).facts == known


def test_a_teacher_that_was_trained_here_is_a_run_too(run, tmp_path):
    (folder,) = (tmp_path / "runs" / "teachers").glob("ImageFolder/resnet8-*")
    trained = load_trained(folder)
    assert trained.method == "Vanilla"
    accuracy = json.loads((run / "environment.json").read_text())["teacher"]["test_top1"]
    assert evaluate(trained.network, trained.read_data().test, 18)["top1"] == accuracy


def test_a_weights_file_of_the_run_can_be_named(run):
    assert load_trained(run / "best.safetensors").weights.path.name == "best.safetensors"
    assert load_trained(run, "best").weights.path.name == "best.safetensors"


def test_a_folder_above_a_run_names_the_runs_in_it(run, tmp_path):
    with pytest.raises(InputError, match=r"no config.yaml in .*; there are runs in it: .*seed3; name a folder"):
        load_trained(run.parent)
    with pytest.raises(InputError, match="and no folder of that name is there"):
        load_trained(tmp_path / "nothing")


def test_a_run_without_weights_is_refused(run):
    (run / "last.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no last\.safetensors: its first epoch has not ended; resume the run"):
        load_trained(run)


OTHER_KIND = {"classes": [1], "image_size": 8, "mean": [0.5, 0.5, 0.5], "std": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": []}', json.dumps(OTHER_KIND)])
def test_damaged_facts_are_refused(run, content):
    (run / "data.json").write_text(content)
    with pytest.raises(InputError, match=r"data.json is damaged .*: delete it, and the data are read instead"):
        load_trained(run)


def test_other_data_than_those_of_the_training_are_refused(run, images):
    write_images(images, {"train": {"yellow": 2}, "test": {"yellow": 1}})
    with pytest.raises(InputError, match=r"was trained on 3 classes \(blue, green, red, ...\) of 16x16; the data .* 4"):
        load_trained(run).read_data()
