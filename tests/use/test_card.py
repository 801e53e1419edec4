import json
import shutil

import pytest

from trg_pyg._program import markdown_table
from trg_pyg.errors import InputError
from trg_pyg.use.card import model_card
from trg_pyg.use.load import load


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def card(run, which="last", formats=("safetensors", "onnx", "torch_export")):
    return model_card(load(run, which), formats, 1e-4)


def test_it_has_what_the_run_knows(run):
    text = card(run)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    environment = json.loads((run / "environment.json").read_text())
    assert "\n---\n\n# resnet8 trained on ImageFolder, long-tailed by 3, distilled by KD\n" in text
    shown = [f"{last[name]:.2f}" for name in ("test/top1", "test/few", "test/gmean", "test/loss")]
    assert markdown_table([["top-1", "few", "G-mean", "loss"], shown]) in text
    assert f"`resnet14`, has {environment['teacher']['test_top1']:.2f} % top-1 on the test images." in text
    assert environment["command"] in text
    assert environment["teacher"]["sha256"] in text
    assert f"`{environment['commit']}`" in text or environment["commit"] is None
    assert load(run).weights.sha256 in text
    for expected in (
        "| parameters    | 77,587 ",
        "16 x 16 pixels",
        "resized to 20 pixels",
        "`blue`, `green`, `red`, in the order of the logits",
        "2 epochs, batches of 12, SGD",
        "| seed     | 0 ",
        "imbalance factor 3: rare classes are recognised less",
        "(1.0e-04), in batches of 1, 2, 7 images",
    ):
        assert expected in text
    assert text.count("```") % 2 == 0


def test_best_weights_are_said_to_be_chosen_on_the_images(run):
    assert "These weights are those of the best epoch on the same images" in card(run, "best")
    assert "best epoch" not in card(run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("    heldout: null", "    heldout: 0.1"))
    assert "the best epoch, chosen on training images that were held out" in card(run, "best")


def test_formats_that_were_left_out_are_not_explained(run):
    text = card(run, formats=["torch_export"])
    assert "model.pt2" in text
    assert "def prepare" in text
    assert "onnx" not in text
    assert "load_weights" not in text
    assert "def prepare" not in card(run, formats=["safetensors"])


def test_without_metrics_the_accuracy_is_that_of_the_weights(run):
    (run / "metrics.jsonl").unlink()
    text = card(run)
    assert markdown_table([["top-1"], [f"{load(run).weights.accuracy:.2f}"]]) in text


def test_without_an_environment_the_card_says_less(run):
    (run / "environment.json").unlink()
    text = card(run)
    assert "\n---\n\n# resnet8 trained on ImageFolder, long-tailed by 3\n" in text
    assert "| commit   | not known " in text


@pytest.mark.parametrize("name", ["environment.json", "metrics.jsonl"])
def test_a_damaged_file_is_named(run, name):
    (run / name).write_text("[")
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        card(run)
