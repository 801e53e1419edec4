import shutil

import pytest
import torch

from trg_pyg.cli.export import export
from trg_pyg.errors import InputError
from trg_pyg.use.load import load
from trg_pyg.use.trained import load_trained


@pytest.fixture
def exported(finished_run, tmp_path):
    export(load_trained(finished_run), tmp_path / "exported", ["safetensors"])
    return tmp_path / "exported"


def test_a_run_and_its_export_are_the_same_network(finished_run, exported):
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    run, export = load(finished_run), load(exported)
    for one in (run, export, load(exported / "model.safetensors"), load(finished_run / "last.safetensors")):
        assert torch.allclose(one.network(images).logits, run.network(images).logits, atol=1e-6)
        # 16 / 0.8
        assert (one.name, one.method, one.seed, one.resize) == ("resnet8", "KD", "0", 20)
        assert one.facts == run.facts
    assert run.trained is not None
    assert export.trained is None


def test_neither_needs_the_data(finished_run, tmp_path):
    elsewhere = shutil.copytree(finished_run, tmp_path / "run")
    config = elsewhere / "config.yaml"
    config.write_text(config.read_text().replace(str(finished_run.parents[4]), str(tmp_path / "gone")))
    assert "gone" in config.read_text()
    assert load(elsewhere).resize == 20


def test_the_best_weights_can_be_asked_for(finished_run):
    assert load(finished_run, "best").weights.path.name == "best.safetensors"


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing: there is no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.yaml in"):
        load(tmp_path)
    (tmp_path / "net.pth").touch()
    with pytest.raises(InputError, match=r"net.pth lies in no folder of a run; weights .* --weights .*net.pth"):
        load(tmp_path / "net.pth")
