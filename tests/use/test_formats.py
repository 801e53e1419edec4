import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from trg_pyg.config.schema import NetworkConfig
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError
from trg_pyg.models import ImageClassifier, LoadedWeights, Normalize, TappedModel, build_model
from trg_pyg.use import formats
from trg_pyg.use.formats import BATCHES, check_packages, difference, tolerance, write
from trg_pyg.use.load import TrainedNetwork, write_about

NETWORKS = [
    ("resnet8", {}, 32),
    ("vit_tiny_patch4_32", {"image_size": 16, "depth": 2}, 16),
    ("torchvision:squeezenet1_1", {}, 64),
]


def classifier(name, args, size):
    torch.manual_seed(0)
    facts = DataFacts(("a", "b", "c"), size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    built = ImageClassifier(build_model(name, 3, **args), Normalize(facts.mean, facts.std)).requires_grad_(False)
    weights = LoadedWeights(Path(), "")
    about = TrainedNetwork(Path(), NetworkConfig(name=name, args=args), TappedModel(built, []), weights, facts, size)
    # Heads that start at zero would make every check pass.
    for parameter in built.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    # As after a training: with the statistics that batch norms start with, all images get the same logits.
    norms = [module for module in built.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    built.train()(torch.rand(8, 3, size, size))
    return about, built.eval()


@pytest.mark.parametrize(("name", "args", "size"), NETWORKS, ids=[name for name, *_ in NETWORKS])
@pytest.mark.parametrize("kind", ["safetensors", "torch_export", "onnx"])
def test_what_is_read_again_gives_the_same_logits_in_batches_of_any_size(kind, name, args, size, tmp_path):
    for package in formats.FORMATS[kind].needs:
        pytest.importorskip(package)
    about, built = classifier(name, args, size)
    images = torch.rand(max(BATCHES), 3, size, size, generator=torch.Generator().manual_seed(1))
    expected = built(images)
    assert expected.std(dim=0).max() > 10 * tolerance(expected)  # images can be told from one another
    write_about(about, tmp_path)
    write(kind, built, (3, size, size), {"network": name}, tmp_path)
    assert difference(formats.FORMATS[kind].read(tmp_path), images, expected) <= tolerance(expected)


def test_timm_networks_are_exported_too(tmp_path):
    pytest.importorskip("timm")
    _, built = classifier("timm:test_vit", {"img_size": 32, "patch_size": 8}, 32)
    images = torch.rand(max(BATCHES), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = built(images)
    write("torch_export", built, (3, 32, 32), {}, tmp_path)
    assert difference(formats.FORMATS["torch_export"].read(tmp_path), images, expected) <= tolerance(expected)


def test_other_weights_are_seen(tmp_path):
    about, built = classifier("resnet8", {}, 16)
    images = torch.rand(max(BATCHES), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = built(images)
    write_about(about, tmp_path)
    next(built.parameters()).mul_(1.01)
    write("safetensors", built, (3, 16, 16), {}, tmp_path)
    assert difference(formats.FORMATS["safetensors"].read(tmp_path), images, expected) > tolerance(expected)


def test_differences():
    images, expected = torch.zeros(7, 3, 4, 4), torch.zeros(7, 2)
    assert difference(lambda batch: torch.full((len(batch), 2), 0.5), images, expected) == 0.5
    # The last batch alone differs.
    assert difference(lambda batch: torch.full((len(batch), 2), float(len(batch) == 7)), images, expected) == 1
    lost = difference(lambda batch: torch.full((len(batch), 2), float("nan")), images, expected)
    assert lost != lost
    with pytest.raises(InputError, match=r"gives \[2, 2\] for a batch of 1"):
        difference(lambda batch: expected[:2], images, expected)

    def refuse(batch):
        raise RuntimeError("only\ntwo")

    with pytest.raises(InputError, match="does not take a batch of 1: only two"):
        difference(refuse, images, expected)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name.startswith("onnx") else found(name))
    check_packages(["safetensors", "torch_export"])
    with pytest.raises(InputError, match=r"format onnx needs onnx, onnxscript, onnxruntime: pip install 'trg_pyg\[exp"):
        check_packages(["safetensors", "onnx"])


class DependsOnPixels(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3)) if images.mean() > 0 else images.amax(dim=(2, 3))


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match="the network cannot be written as torch_export: ") as error:
        write("torch_export", ImageClassifier(DependsOnPixels(), nn.Identity()), (3, 8, 8), {}, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
