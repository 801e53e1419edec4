from dataclasses import replace

import modern_logit_equations as equations
import pytest
import relational_equations
import torch
from torch import nn

from trg_pyg.distillers import WKD
from trg_pyg.errors import InputError


def test_total_is_cross_entropy_the_label_and_the_transport_by_the_teachers_classifier(networks, outputs, step):
    student, teacher = outputs(4)
    here = step(4)
    losses = WKD(*networks)(student, teacher, here)
    s, t = student.logits.double(), teacher.logits.detach().double()
    prototypes = here.networks.classifier("teacher").weight.detach().double()
    label = equations.nkd(s, t, here.target, 0.0, 1.0)
    transport = equations.wkd(s, t, here.target, prototypes, 8.0, 0.05, 10)
    expected = relational_equations.cross_entropy(s, here.target) + label + 600 * transport
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-4)
    (found,) = torch.autograd.grad(losses.total, student.logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, student.logits)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.625, 1.0), (0.8125, 0.5), (1.0, 0.0)])
def test_the_weight_of_the_transport_falls_along_a_cosine(progress, share, networks, step):
    method = WKD(*networks, transport_weight=3.0)
    assert method.weight_of("transport", step(progress=progress)) == pytest.approx(3 * share)
    assert method.weight_of("label", step(progress=progress)) == 1
    assert WKD(*networks, fade=1.0).weight_of("transport", step(progress=1.0)) == 600


def test_a_classifier_of_several_layers_is_refused(networks, outputs, step, monkeypatch):
    here = step()
    monkeypatch.setattr(type(here.networks), "classifier", lambda self, owner: nn.Sequential())
    with pytest.raises(InputError, match="the classifier of the teacher is Sequential"):
        WKD(*networks)(*outputs(), here)
    with pytest.raises(InputError, match="WKD asks the networks"):
        WKD(*networks)(*outputs(), replace(here, networks=None))


@pytest.mark.parametrize("options", [{"label_weight": -1.0}, {"fade": 1.5}, {"iterations": 0}], ids=str)
def test_impossible_options_are_named(options, networks):
    with pytest.raises(InputError, match=f"^{next(iter(options))}={next(iter(options.values()))}"):
        WKD(*networks, **options)
