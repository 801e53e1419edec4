from dataclasses import replace

import pytest
import torch
from torch import nn

from trg_pyg.distillers import GradientKD
from trg_pyg.errors import InputError
from trg_pyg.losses import FisherFeatureLoss, FisherLogitLoss
from trg_pyg.models import NetworkInfo, Networks, TappedModel


def test_features_are_compared_behind_a_layer_by_the_teachers_classifier(networks, outputs, step):
    student, teacher = outputs()
    distiller = GradientKD(*networks, weight=2.0, tau=3.0)
    here = step()
    weight, value = distiller.weighted_parts(student, teacher, here)["features"]
    project = distiller.terms["features"].project
    assert (project.in_features, project.out_features, weight) == (6, 4, 2.0)
    classifier = here.networks.classifier("teacher").weight
    expected = FisherFeatureLoss(tau=3.0)(project(student.embedding), teacher.embedding, teacher.logits, classifier)
    torch.testing.assert_close(value, expected)


def test_embeddings_of_one_width_are_compared_as_they_are(networks):
    assert not list(GradientKD(networks[1], networks[1]).parameters())


def test_logits_need_neither_embeddings_nor_networks(outputs, step):
    bare = NetworkInfo(5, ())
    student, teacher = (each._replace(features=(), embedding=None) for each in outputs())
    losses = GradientKD(bare, bare, source="logits", logit_form="diagonal")(
        student, teacher, replace(step(), networks=None)
    )
    assert losses.parts["logits"] == FisherLogitLoss("diagonal")(student.logits, teacher.logits)


def test_what_is_missing_is_named(networks, outputs, step):
    with pytest.raises(InputError, match="the embedding of the teacher is not known"):
        GradientKD(networks[0], NetworkInfo(5, ()))

    class Deep(nn.Module):
        classifier_path = "head"

        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 5))

    deep = Networks(TappedModel(Deep(), []), TappedModel(Deep(), []))
    with pytest.raises(InputError, match="classifier of the teacher is Sequential, not one linear layer"):
        GradientKD(*networks)(*outputs(), replace(step(), networks=deep))
