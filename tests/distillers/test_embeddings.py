"""Methods that give the images' embeddings to a loss on rows."""

import copy

import pytest
import torch

from trg_pyg.distillers import DCD, PEFD


@pytest.mark.parametrize(("cls", "name", "weight"), [(PEFD, "direction", 25), (DCD, "contrast", 1)])
def test_the_term_is_the_loss_of_the_embeddings_in_the_published_weight(cls, name, weight, networks, outputs, step):
    torch.manual_seed(0)
    distiller, (student, teacher) = cls(*networks), outputs()
    total, parts = distiller(student, teacher, step())
    loss = copy.deepcopy(distiller.terms[name].loss)
    torch.testing.assert_close(total, parts["ce"] + weight * loss(student.embedding, teacher.embedding))
