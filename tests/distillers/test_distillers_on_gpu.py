import pytest
import torch

from trg_pyg.distillers import TRG, TRGPaper
from trg_pyg.step import Step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("method", [TRG, TRGPaper])
def test_a_gpu_gives_the_losses_and_gradients_of_the_cpu(method, networks, outputs, step):
    torch.manual_seed(0)
    distiller = method(*networks, tokens_per_image=None, k=4)
    results = {}
    for device in ("cpu", "cuda"):
        student, teacher = outputs()
        moved = [type(side)(side.logits.to(device), (side.features[0].to(device),)) for side in (student, teacher)]
        here = step()
        losses = distiller.to(device)(
            *moved, Step(here.target.to(device), here.progress, here.generator, here.index.to(device))
        )
        losses.total.backward()
        results[device] = (losses, student.features[0].grad)
    (on_cpu, grad_cpu), (on_gpu, grad_gpu) = results["cpu"], results["cuda"]
    assert on_cpu.parts.keys() == on_gpu.parts.keys()
    for name, value in on_cpu.parts.items():
        torch.testing.assert_close(on_gpu.parts[name].cpu(), value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grad_gpu, grad_cpu, rtol=1e-3, atol=1e-5)
