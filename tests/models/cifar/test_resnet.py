import argparse
import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from trg_pyg.errors import InputError
from trg_pyg.models import CifarResNet, Normalize, TappedModel, load_weights, resnet8x4, resnet20, resnet56

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
TEACHER = SHARED / "teachers" / "resnet56_cifar100.pth"
IMAGES = SHARED / "data" / "cifar100.tar"
NORMALIZE = Normalize((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))

needs_teacher = pytest.mark.skipif(not TEACHER.exists(), reason="needs the shared folder of trained teachers")
needs_images = pytest.mark.skipif(not IMAGES.exists(), reason="needs the shared folder of data")


def test_names_are_those_of_repdistiller() -> None:
    names = [name for name, _ in resnet20().named_parameters()]
    block = ["conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias"]
    shortcut = ["downsample.0.weight", "downsample.1.weight", "downsample.1.bias"]
    expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for stage in (1, 2, 3):
        for index in range(3):
            extra = shortcut if stage > 1 and index == 0 else []
            expected += [f"layer{stage}.{index}.{name}" for name in block + extra]
    assert names == [*expected, "fc.weight", "fc.bias"]


def test_wide_variant_also_projects_in_the_first_stage() -> None:
    state = resnet8x4().state_dict()
    assert state["layer1.0.downsample.0.weight"].shape == (64, 32, 1, 1)


def test_forward_is_the_definition_on_one_block() -> None:
    model = resnet20().eval()
    block = model.layer2[0]
    x = torch.rand(2, 16, 8, 8)
    residual = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
    assert block.downsample is not None
    torch.testing.assert_close(block(x), (residual + block.downsample(x)).clamp(min=0))


@pytest.mark.parametrize("depth", [7, 18, 2, -4])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(InputError, match=f"depth {depth} is not 6n"):
        CifarResNet(depth, (16, 16, 32, 64), 10)


def test_widths_are_four() -> None:
    with pytest.raises(InputError, match="are not four"):
        CifarResNet(8, (16, 32, 64), 10)  # type: ignore[arg-type]


@needs_teacher
def test_shared_teacher_loads_key_for_key() -> None:
    model = resnet56(100)
    loaded = load_weights(model, TEACHER)
    assert loaded.accuracy == pytest.approx(66.74)
    assert loaded.path == TEACHER
    with torch.serialization.safe_globals([argparse.Namespace]):
        raw = torch.load(TEACHER, weights_only=True)["model"]
    assert list(raw) == list(model.state_dict())
    assert all(torch.equal(raw[name], tensor) for name, tensor in model.state_dict().items())


def _test_images(every: int) -> tuple[Tensor, Tensor]:
    with tarfile.open(IMAGES) as tar:
        members = sorted((m for m in tar if m.isfile() and m.name.startswith("test/")), key=lambda m: m.name)[::every]
        files = [tar.extractfile(member) for member in members]
        pictures = [pil_to_tensor(Image.open(io.BytesIO(file.read()))) for file in files if file]
    classes = [member.name.split("/")[1] for member in members]
    order = sorted(set(classes))
    return torch.stack(pictures), torch.tensor([order.index(name) for name in classes])


def _accuracy(images: Tensor, target: Tensor) -> float:
    model = resnet56(100)
    load_weights(model, TEACHER)
    tapped = TappedModel(model, normalize=NORMALIZE).eval()
    with torch.no_grad():
        hits = [tapped(x).logits.argmax(1) == y for x, y in zip(images.split(250), target.split(250), strict=True)]
    return 100 * torch.cat(hits).float().mean().item()


@needs_teacher
@needs_images
def test_shared_teacher_predicts_well_on_some_images() -> None:
    images, target = _test_images(every=50)
    assert len(images) == 200
    assert _accuracy(images, target) > 60


@pytest.mark.slow
@needs_teacher
@needs_images
def test_shared_teacher_has_the_accuracy_that_its_file_claims() -> None:
    images, target = _test_images(every=1)
    assert len(images) == 10_000
    assert _accuracy(images, target) == pytest.approx(66.74, abs=0.05)
