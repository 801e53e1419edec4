import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trg_pyg.batch import Batch
from trg_pyg.distillers import KD, SSKD
from trg_pyg.errors import InputError
from trg_pyg.losses import SelectedKL
from trg_pyg.models import NetworkInfo, Networks, TappedModel, build_model

VIEWS = (3, 3, 3, 3)


def test_images_are_turned_view_after_view(networks, step):
    image = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2)
    upright, *others = SSKD(*networks).views(image, step(2))
    assert torch.equal(upright, image)
    # [[a, b], [c, d]] turned against the clock
    a, b, c, d = image[..., 0, 0], image[..., 0, 1], image[..., 1, 0], image[..., 1, 1]
    for found, corners in zip(others, [(b, d, a, c), (d, c, b, a), (c, a, d, b)], strict=True):
        assert torch.equal(found.flatten(2), torch.stack(corners, -1))
    with pytest.raises(InputError, match="images of 2x3 cannot be turned"):
        SSKD(*networks).views(torch.zeros(1, 3, 2, 3, dtype=torch.uint8), step(1))


def cosines(turned: Tensor, upright: Tensor) -> Tensor:
    return torch.stack([torch.stack([a @ b / (a.norm() * b.norm()) for b in upright]) for a in turned])


def test_the_parts_are_those_of_the_paper(networks, outputs, step, close):
    student, teacher = outputs(12, dtype=torch.float64)
    distiller = SSKD(*networks).double()
    here = replace(step(), rows=VIEWS)
    parts = distiller.weighted_parts(student, teacher, here)
    assert [weight for weight, _ in parts.values()] == [0.1, 0.9, 2.7, 10]
    upright = [each._replace(logits=each.logits[:3], features=(), embedding=None) for each in (student, teacher)]
    bare = [NetworkInfo(5, ()) for _ in range(2)]
    expected = KD(*bare)(*upright, step())
    assert {name: parts[name][1].item() for name in ("ce", "kd")} == pytest.approx(
        {name: value.item() for name, value in expected.parts.items()}, rel=1e-6
    )
    turned = SelectedKL(4.0)(student.logits[3:], teacher.logits[3:], step().target.repeat(3))
    close(parts["turned"][1], turned, [student.logits])
    heads = distiller.terms["similarity"]
    found = []
    for head, each in ((heads.student, student), (heads.teacher, teacher)):
        rows = head[2](torch.relu(head[0](each.embedding)))
        found.append(cosines(rows[3:], rows[:3]))
    similarity = SelectedKL(0.5, 0.75)(*found, torch.tensor([0, 1, 2] * 3))
    close(parts["similarity"][1], similarity, [student.embedding])


def test_the_head_of_the_teacher_learns_alone_and_for_certain(step):
    torch.manual_seed(0)
    student, teacher = (TappedModel(build_model("resnet8", 5), []) for _ in range(2))
    infos = [network.describe(16) for network in (student, teacher)]
    teacher.eval().requires_grad_(False)
    draws = torch.Generator().manual_seed(1)
    colours = torch.randint(60, (24, 3, 1, 1), generator=draws, dtype=torch.uint8)
    images = colours + torch.randint(196, (24, 3, 16, 16), generator=draws, dtype=torch.uint8)

    def batches():
        yield from (
            Batch(part, torch.zeros(len(part)), torch.arange(len(part)), len(part)) for part in images.split(10)
        )

    before = copy.deepcopy((student.state_dict(), teacher.state_dict()))
    found = []
    for epochs in (1, 100, 100):
        torch.manual_seed(0)
        distiller = SSKD(*infos, head_epochs=epochs, head_batch=8)
        untouched = copy.deepcopy(distiller.terms["similarity"].student.state_dict())
        told = distiller.meet(Networks(student, teacher), batches, torch.Generator().manual_seed(2))
        heads = distiller.terms["similarity"]
        assert all(torch.equal(value, untouched[name]) for name, value in heads.student.state_dict().items())
        assert not any(parameter.requires_grad for parameter in heads.teacher.parameters())
        found.append((told["own_image"], heads.teacher.state_dict()))
    assert found[0][0] < 25 < found[1][0]  # 12.5 by chance
    assert all(torch.equal(value, found[2][1][name]) for name, value in found[1][1].items())
    for network, kept in zip((student, teacher), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_an_unknown_embedding_is_named(networks):
    with pytest.raises(InputError, match="the embedding of the student is not known"):
        SSKD(NetworkInfo(5, ()), networks[1])
