import json

import pytest
import torch

from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError
from trg_pyg.models import save_weights
from trg_pyg.use.exported import About, load_exported

FACTS = DataFacts(("cat", "dog", "né"), 16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
ABOUT = About("resnet8", {}, FACTS, 20)


@pytest.fixture
def folder(tmp_path):
    ABOUT.write(tmp_path)
    torch.manual_seed(0)
    save_weights(ABOUT.build().network, tmp_path / "model.safetensors", {"accuracy": "12.50"})
    return tmp_path


def test_what_was_written_is_read(folder):
    about, network, weights = load_exported(folder)
    assert about == ABOUT
    assert weights.accuracy == 12.5
    assert not network.training
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ABOUT.build()(images.float() / 255), network(images).logits)


def change(folder, **values):
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "its format is 2, 1 is known"),
        ({"classes": []}, "a value of another kind"),
        ({"classes": ["cat", 1]}, "a value of another kind"),
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
        load_exported(folder)


def test_a_damaged_or_missing_file_is_refused(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model.json is missing or damaged \(.*\); export the run again"):
        load_exported(folder)
    (folder / "model.json").unlink()
    with pytest.raises(InputError, match=r"model\.json is missing or damaged"):
        load_exported(folder)
    ABOUT.write(folder)
    change(folder, **{"mean": None})
    with pytest.raises(InputError, match=r"model\.json is missing or damaged"):
        load_exported(folder)


def test_code_is_imported_only_where_it_is_allowed(folder):
    change(folder, network="trg_pyg.models.cifar.resnet.resnet8")
    with pytest.raises(InputError, match=r"its network is code, trg_pyg\.models\.cifar\.\S+, .* add --own_code"):
        load_exported(folder)
    _, network, _ = load_exported(folder, own_code=True)
    assert network(torch.zeros(1, 3, 16, 16)).logits.shape == (1, 3)
