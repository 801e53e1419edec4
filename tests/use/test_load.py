import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import write_images
from trg_pyg.cli.evaluate import main as evaluate_main
from trg_pyg.cli.run import main
from trg_pyg.config.schema import NetworkConfig
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError
from trg_pyg.models import LoadedWeights, TappedModel, build_model, save_weights
from trg_pyg.training.metrics import evaluate
from trg_pyg.use.export import export
from trg_pyg.use.load import TrainedNetwork, load, write_about


@pytest.fixture
def run(small, tmp_path):
    """A finished run of one method."""
    assert main([*small, "--methods", "KD", "--seeds", "3"]) == 0
    (folder,) = (tmp_path / "runs").glob("ImageFolder/resnet8-resnet8/KD-*/seed3")
    return folder


def last_epoch(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def test_the_network_of_a_run_gives_the_metrics_of_its_last_epoch(run):
    trained = load(run)
    assert (trained.name, trained.method, trained.seed) == ("resnet8", "KD", "3")
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
    trained = load(run)
    assert trained.facts.classes == ("blue", "green", "red")
    assert trained.facts.image_size == 16
    assert trained.network(torch.zeros(1, 3, 16, 16)).logits.shape == (1, 3)


def test_data_of_the_same_classes_that_are_others_now_are_not_taken_for_its_own(run, images, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(run).read_data()
        assert evaluate_main([str(run)]) == 0
    (images / "test" / "red" / "0.png").rename(images / "train" / "red" / "more.png")
    with pytest.raises(
        InputError, match=r"its config.yaml names are others now, their hash is \w{8} and was \w{8}; give"
    ):
        load(run).read_data()
    with pytest.warns(UserWarning, match="are others now than it was trained on"):
        assert evaluate_main([str(run)]) == 0  # on these, which may be meant
    # What was written before there was a hash says nothing of it.
    facts = json.loads((run / "data.json").read_text())
    del facts["digest"]
    (run / "data.json").write_text(json.dumps(facts))
    load(run).read_data()


def test_a_key_that_was_renamed_since_does_not_orphan_a_run(run):
    file = run / "config.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["train"]["older"] = settings["teacher"]["older"] = settings["distiller"]["init_args"]["older"] = 3
    settings["student"]["older"] = None
    file.write_text(yaml.safe_dump(settings))
    assert load(run).method == "KD"
    settings["student"]["older"] = 3
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=r"config.yaml: unknown key older in student"):
        load(run)


def test_a_run_without_the_facts_reads_its_data(run):
    known = DataFacts.read(run)
    (run / "data.json").unlink()
    assert load(run).facts == known


def test_a_teacher_that_was_trained_here_is_a_run_too(run, tmp_path):
    (folder,) = (tmp_path / "runs" / "teachers").glob("ImageFolder/resnet8-*")
    trained = load(folder)
    assert trained.method == "Vanilla"
    accuracy = json.loads((run / "environment.json").read_text())["teacher"]["test_top1"]
    assert evaluate(trained.network, trained.read_data().test, 18)["top1"] == accuracy


def test_a_weights_file_of_the_run_can_be_named(run):
    assert load(run / "best.safetensors").weights.path.name == "best.safetensors"
    assert load(run, "best").weights.path.name == "best.safetensors"


def test_a_folder_above_a_run_names_the_runs_in_it(run):
    with pytest.raises(InputError, match=r"no config.yaml in .*; there are runs in it: .*seed3; name a folder"):
        load(run.parent)


def test_a_run_without_weights_is_refused(run):
    (run / "last.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no last\.safetensors: its first epoch has not ended; resume the run"):
        load(run)


OTHER_KIND = {"classes": [1], "image_size": 8, "mean": [0.5, 0.5, 0.5], "std": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": []}', json.dumps(OTHER_KIND)])
def test_damaged_facts_are_refused(run, content):
    (run / "data.json").write_text(content)
    with pytest.raises(InputError, match=r"data.json is damaged .*: delete it, and the data are read instead"):
        load(run)


def test_other_data_than_those_of_the_training_are_refused(run, images):
    write_images(images, {"train": {"yellow": 2}, "test": {"yellow": 1}})
    with pytest.raises(InputError, match=r"was trained on 3 classes \(blue, green, red, ...\) of 16x16; the data .* 4"):
        load(run).read_data()


@pytest.fixture
def exported(finished_run, tmp_path):
    export(load(finished_run), tmp_path / "exported", ["safetensors"])
    return tmp_path / "exported"


def test_a_run_and_its_export_are_the_same_network(finished_run, exported):
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    run, export = load(finished_run), load(exported)
    for one in (run, export, load(exported / "model.safetensors"), load(finished_run / "last.safetensors")):
        assert torch.allclose(one.network(images).logits, run.network(images).logits, atol=1e-6)
        # 16 / 0.8
        assert (one.name, one.method, one.seed, one.resize) == ("resnet8", "KD", "0", 20)
        assert replace(one.facts, digest=None) == replace(run.facts, digest=None)
    assert run.folder == finished_run
    with pytest.raises(InputError, match="exported is not of a run; name the folder of one"):
        _ = export.folder


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing: there is no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.yaml in"):
        load(tmp_path)
    (tmp_path / "net.pth").touch()
    with pytest.raises(InputError, match=r"net.pth lies in no folder of a run; weights .* --weights .*net.pth"):
        load(tmp_path / "net.pth")


FACTS = DataFacts(("cat", "dog", "né"), 16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def folder(tmp_path):
    """An exported network with random weights."""
    torch.manual_seed(0)
    model = build_model("resnet8", 3)
    config, weights = NetworkConfig(name="resnet8"), LoadedWeights(Path(), "")
    write_about(TrainedNetwork(Path(), config, TappedModel(model, []), weights, FACTS, 20), tmp_path)
    save_weights(model, tmp_path / "model.safetensors", {"accuracy": "12.50"})
    return tmp_path


def test_what_was_written_is_read(folder):
    trained = load(folder)
    assert (trained.name, trained.config.args, trained.facts, trained.resize) == ("resnet8", {}, FACTS, 20)
    assert trained.expected == FACTS
    assert trained.weights.accuracy == 12.5
    assert not trained.network.training


def change(folder, **values):
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "its format is 2, 1 is known"),
        ({"classes": []}, "a value of another kind"),
        ({"classes": ["cat", 1]}, "a value of another kind"),
        ({"mean": None}, "a value of another kind"),
        ({"mean": [0.5, 0.5]}, "a value of another kind"),
        ({"std": "none"}, "a value of another kind"),
        ({"image_size": 0}, "a value of another kind"),
        ({"image_size": True}, "a value of another kind"),
        ({"resize": 8}, "a value of another kind"),
        ({"network": ["resnet8"]}, "a value of another kind"),
        ({"args": {"weights": "DEFAULT"}}, "args has weights, which may load another file"),
        ({"args": {"pretrained": True}}, "args has pretrained, which may load another file"),
        ({"network": "resnet9"}, "model 'resnet9' is unknown"),
    ],
)
def test_other_content_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_damaged_description_is_refused(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model.json is damaged \(.*\); export the run again"):
        load(folder)


def test_code_is_imported_only_where_it_is_allowed(folder):
    change(folder, network="trg_pyg.models.cifar.resnet.resnet8")
    with pytest.raises(InputError, match=r"its network is code, trg_pyg\.models\.cifar\.\S+, .* add --own_code"):
        load(folder)
    assert load(folder, own_code=True).network(torch.zeros(1, 3, 16, 16)).logits.shape == (1, 3)
