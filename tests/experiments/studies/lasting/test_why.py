import torch

from experiments.studies.lasting.why import balanced, measure
from trg_pyg.data import ImageSet
from trg_pyg.distillers import default_token_graphs
from trg_pyg.look import RunNetworks
from trg_pyg.models import TappedModel, build_model


def test_there_are_as_many_images_of_each_class():
    targets = torch.tensor([0] * 9 + [1] * 5 + [2])
    chosen = balanced(targets, 3, torch.Generator().manual_seed(0))
    assert torch.bincount(targets[chosen]).tolist() == [3, 3, 1]
    assert len(chosen.unique()) == 7


def test_a_student_that_is_its_teacher_knows_all_of_its_edges():
    images = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = ImageSet(images, torch.arange(24) % 3)
    torch.manual_seed(0)
    student, teacher = (TappedModel(build_model("resnet8", 3)).eval().requires_grad_(False) for _ in range(2))
    info = teacher.describe(32).features[-1]
    graphs = default_token_graphs(info, info)
    same = measure(RunNetworks(None, teacher, teacher, teacher, graphs), source, 8, 10)
    other = measure(RunNetworks(None, student, student, teacher, graphs), source, 8, 10)
    assert same["recall/batch_corrected"] == same["recall/image_corrected"] == 1
    assert 0 < other["recall/batch_corrected"] < 0.9
    assert other["cross/same_class"] == same["cross/same_class"]
