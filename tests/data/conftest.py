import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _global_generators_stay_untouched():
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    yield
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert before[2] == random.getstate()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
