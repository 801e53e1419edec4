from types import SimpleNamespace

import torch

from trg_pyg._transfer import in_double


def test_float64_is_taken_on_the_cpu_where_the_device_has_none():
    x = torch.tensor([0.1, 3])
    assert in_double(x).dtype == torch.float64
    assert in_double(x.to("meta")).device.type == "meta"
    on_mps = SimpleNamespace(device=torch.device("mps"), cpu=lambda: x)  # which would raise at double()
    assert torch.equal(in_double(on_mps), x.double())
