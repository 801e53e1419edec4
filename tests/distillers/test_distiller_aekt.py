import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trg_pyg.distillers import AEKT, DKD
from trg_pyg.errors import InputError
from trg_pyg.losses import ExplicitKnowledgeLoss
from trg_pyg.models import Networks, TappedModel, build_model


def student_and_teacher():
    torch.manual_seed(0)
    networks = [TappedModel(build_model("resnet8", 5), []) for _ in range(2)]
    return networks, [network.describe(16) for network in networks]


def test_the_serialised_logits_are_classified_and_those_before_them_distilled(step):
    (student, teacher), infos = student_and_teacher()
    distiller = AEKT(*infos, weight=3.0)
    linear = student.model.fc
    distiller.extend(student)
    layer = student.model.fc
    nn.init.normal_(layer.difference, std=0.1), nn.init.normal_(layer.bias)
    images = torch.rand(3, 3, 16, 16)
    here = replace(step(), networks=Networks(student, teacher))
    outputs, heard = student(images), teacher(images)
    z = outputs.embedding @ linear.weight.T + linear.bias
    u = z @ (torch.eye(5) + layer.difference).T + layer.bias
    parts = distiller.weighted_parts(outputs, heard, here)
    torch.testing.assert_close(parts["ce"], (1.0, cross_entropy(u, here.target)))
    torch.testing.assert_close(parts["aekt"], (3.0, ExplicitKnowledgeLoss()(z, heard.logits, here.target)))


def test_the_layer_begins_as_the_identity_and_folds_away():
    (student, _), infos = student_and_teacher()
    plain = copy.deepcopy(student)
    distiller = AEKT(*infos)
    distiller.extend(student)
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(student.eval()(images).logits, plain.eval()(images).logits)
    nn.init.normal_(student.model.fc.difference), nn.init.normal_(student.model.fc.bias)
    folded = distiller.deploy(student.model)
    assert folded.state_dict().keys() == plain.model.state_dict().keys()
    torch.testing.assert_close(folded(images), student(images).logits, rtol=1e-5, atol=1e-5)
    assert "fc.difference" in student.model.state_dict()


def test_without_layer_and_ratio_it_is_decoupled_distillation(networks, outputs, step):
    options = {"alpha": 0.5, "beta": 3.0, "tau": 2.0, "warmup": 0.8}
    student, teacher = outputs()
    ours = AEKT(*networks, serial=False, ratio=False, **options)(student, teacher, step())
    torch.testing.assert_close(ours.total, DKD(*networks, **options)(student, teacher, step()).total)


def test_an_extended_student_needs_the_networks(step):
    (student, teacher), infos = student_and_teacher()
    distiller = AEKT(*infos)
    distiller.extend(student)
    images = torch.rand(3, 3, 16, 16)
    with pytest.raises(InputError, match="AEKT asks the networks themselves"):
        distiller(student(images), teacher(images), replace(step(), networks=None))


def test_a_classifier_of_several_layers_is_refused():
    class Deep(nn.Module):
        classifier_path = "head"

        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5))

        def forward(self, x):
            return self.head(x.mean((2, 3)))

    deep = TappedModel(Deep(), [])
    info = deep.describe(8)
    with pytest.raises(InputError, match="classifier of Deep is Sequential, not one linear layer; set serial false"):
        AEKT(info, info).extend(deep)
