import copy
from dataclasses import replace

import pytest
import torch

import trg_pyg.distillers
from trg_pyg._discover import subclasses
from trg_pyg.distillers import TRG, Distiller
from trg_pyg.models import Outputs
from trg_pyg.tasks import ImageClassification

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# A method for other data alone has its own tests.
METHODS = [
    cls
    for cls in subclasses(Distiller)
    if cls.__module__.startswith(f"{trg_pyg.distillers.__name__}.") and issubclass(ImageClassification, cls.tasks)
]
# All tokens: neighbours that are sampled near a tie may differ between devices.
OPTIONS = {"tokens_per_image": None, "k": 4}


def moved(side: Outputs, device: str) -> Outputs:
    return Outputs(side.logits.to(device), tuple(x.to(device) for x in side.features), side.embedding.to(device))


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_a_gpu_gives_the_losses_and_gradients_of_the_cpu(method, networks, outputs, step):
    torch.manual_seed(0)
    distiller = method(*networks, **(OPTIONS if issubclass(method, TRG) else {}))
    distiller.bind(torch.arange(40) % 5, torch.Generator().manual_seed(1))
    images = max(3, distiller.min_images)
    results = {}
    for name, device in (("cpu", "cpu"), ("gpu", "cuda")):
        black = torch.zeros(images, 3, 16, 16, dtype=torch.uint8)
        rows, here = distiller.see(black, step(images))[1], step(images)
        student, teacher = outputs(sum(rows or (images,)))
        for network in (here.networks._student, here.networks._teacher):
            network.to(device)
        there = replace(here, target=here.target.to(device), index=here.index.to(device), rows=rows)
        losses = copy.deepcopy(distiller).to(device)(moved(student, device), moved(teacher, device), there)
        losses.total.backward()
        grads = [x.grad for x in (student.logits, *student.features, student.embedding) if x.grad is not None]
        results[name] = (losses, grads)
    (on_cpu, grads_cpu), (on_gpu, grads_gpu) = results["cpu"], results["gpu"]
    assert on_cpu.parts.keys() == on_gpu.parts.keys()
    for name, value in on_cpu.parts.items():
        torch.testing.assert_close(on_gpu.parts[name].cpu(), value, rtol=1e-4, atol=1e-5)
    for grad_gpu, grad_cpu in zip(grads_gpu, grads_cpu, strict=True):
        torch.testing.assert_close(grad_gpu, grad_cpu, rtol=1e-3, atol=1e-5 * max(1.0, float(grad_cpu.abs().max())))
