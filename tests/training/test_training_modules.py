import pytest
import torch

from trg_pyg.step import Step
from trg_pyg.training.modules import DistillationModule, FrozenTeacher


def step(targets: torch.Tensor) -> Step:
    return Step(targets, 0.0, torch.Generator(), torch.arange(len(targets)))


def test_one_module_holds_the_parameters_of_both(network, hints) -> None:
    names = {name.split(".")[0] for name, _ in DistillationModule(network(0), hints()).named_parameters()}
    assert names == {"student", "distiller"}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_losses_are_float32_in_every_precision(network, hints, train_set, precision) -> None:
    module = DistillationModule(network(0), hints(), precision)
    teacher = FrozenTeacher(network(1), precision)
    outputs = teacher(train_set.images)
    losses, told = module(train_set.images, outputs, step(train_set.targets))
    tensors = [outputs.logits, *outputs.features, losses.total, told.logits]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    losses.total.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())


def test_the_teacher_stays_frozen(network, train_set) -> None:
    inner = network(1)
    teacher = FrozenTeacher(inner)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for wake in (teacher.train, torch.nn.ModuleList([teacher]).train, inner.train):
        wake()
        first = teacher(train_set.images)
        assert torch.equal(first.logits, teacher(train_set.images).logits)  # no dropout
        assert not any(module.training for module in teacher.modules())
        assert not first.logits.requires_grad
    assert not any(parameter.requires_grad for parameter in inner.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    inner.requires_grad_(True)
    assert not teacher(train_set.images).logits.requires_grad
