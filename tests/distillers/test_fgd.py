"""Focal and global distillation: its sums, what they count as, and what every method promises, on boxes."""

import copy

import pytest
import torch
from torch import Tensor, nn

from trg_pyg.distillers import FGD, Losses
from trg_pyg.errors import InputError
from trg_pyg.losses import focal_errors
from trg_pyg.models import Networks, TappedModel, build_model
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tasks import Detection

CLASSES, ANCHORS = 2, 12
GRIDS = ((2, 3), (4, 6))  # from coarse to fine
WEIGHTS = {"objects": 1e-3, "background": 5e-4, "attention": 5e-4, "context": 5e-6}
BOXES = torch.tensor(
    [
        [[0.1, 0.2, 0.6, 0.5, 0, 0], [0.4, 0.3, 0.9, 0.9, 1, 0]],
        [[0.0, 0.0, 0.3, 0.3, 1, 1], [0.0, 0.0, 0.0, 0.0, -1, 0]],
    ]
)


def info(channels: int) -> NetworkInfo:
    taps = tuple(FeatureInfo(f"level{n}", "map", channels, grid) for n, grid in enumerate(GRIDS))
    return NetworkInfo(CLASSES + 8, taps, None, (ANCHORS,))


STUDENT, TEACHER = info(4), info(6)


def batch(images: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    draws = torch.Generator().manual_seed(seed)

    def outputs(of: NetworkInfo) -> Outputs:
        logits = torch.randn(images, CLASSES + 8, ANCHORS, generator=draws)
        first, sides = torch.rand(2, images, 2, ANCHORS, generator=draws) / 2
        logits[:, -4:] = torch.cat([first, first + sides + 0.05], 1)
        maps = (torch.randn(images, *tap.shape, generator=draws).to(dtype).requires_grad_() for tap in of.features)
        return Outputs(logits.requires_grad_(), tuple(maps))

    return outputs(STUDENT), outputs(TEACHER)


def step(boxes: Tensor = BOXES) -> Step:
    return Step(boxes, 0.3, torch.Generator().manual_seed(0), torch.arange(len(boxes)))


def made(**options) -> FGD:
    torch.manual_seed(0)
    distiller = FGD(STUDENT, TEACHER, **options)
    distiller.learn(Detection())
    for context in (*distiller.contexts, *distiller.teacher_contexts):
        nn.init.normal_(context.change[-1].weight)  # 0 at the start, where no context would tell
    return distiller


def parts(distiller: FGD, outputs: tuple[Outputs, Outputs], boxes: Tensor = BOXES) -> dict[str, Tensor]:
    return {name: value for name, (_, value) in distiller.weighted_parts(*outputs, step(boxes)).items()}


def test_parts_are_sums_over_the_levels_as_of_maps_of_the_published_size():
    distiller, (student, teacher) = made(), batch()
    wanted = dict.fromkeys(WEIGHTS, torch.zeros(()))
    of_cells, of_channels = 10_000 / 24, 256 / 6
    there = torch.tensor([[True, True], [False, False]])  # one is passed over, one is none
    for level in range(2):
        own, goal = distiller.projections[level](student.features[level]), teacher.features[level]
        errors = focal_errors(own, goal, BOXES[..., :4], there)
        context = distiller.contexts[level](own) - distiller.teacher_contexts[level](goal)
        wanted["objects"] = wanted["objects"] + of_channels * errors["objects"]
        wanted["background"] = wanted["background"] + of_channels * errors["background"]
        wanted["attention"] = wanted["attention"] + of_cells * errors["cells"] + of_channels * errors["channels"]
        wanted["context"] = wanted["context"] + of_cells * of_channels * (context**2).sum() / 2
    found = distiller.weighted_parts(student, teacher, step())
    assert found.keys() == {"classification", "box", *WEIGHTS}
    for name, weight in WEIGHTS.items():
        assert found[name][0] == weight
        torch.testing.assert_close(found[name][1], wanted[name])


def test_no_gradient_reaches_the_teacher_and_all_that_is_learnt_has_one():
    distiller, (student, teacher) = made(), batch()
    losses: Losses = distiller(student, teacher, step())
    losses.total.backward()
    assert all(each.grad is None for each in (teacher.logits, *teacher.features))
    assert all(each.grad is not None for each in student.features)
    assert [name for name, each in distiller.named_parameters() if each.grad is None] == []


def test_a_student_that_is_the_teacher_has_an_error_of_zero():
    distiller = FGD(TEACHER, TEACHER)
    distiller.learn(Detection())
    _, teacher = batch()
    found = parts(distiller, (teacher, teacher))
    assert all(found[name] == 0 for name in WEIGHTS)
    assert not any(isinstance(each, nn.Conv2d) for each in distiller.projections)


def test_the_loss_of_a_batch_is_the_mean_of_its_images():
    distiller, (student, teacher) = made(), batch()
    whole = parts(distiller, (student, teacher))
    apart = []
    for i in range(2):
        pair = (
            Outputs(each.logits[i : i + 1], tuple(f[i : i + 1] for f in each.features)) for each in (student, teacher)
        )
        apart.append(parts(distiller, tuple(pair), BOXES[i : i + 1]))
    for name, value in whole.items():
        torch.testing.assert_close(value, (apart[0][name] + apart[1][name]) / 2)


def test_what_it_compares_waits_for_no_device_and_is_compiled_as_one_graph(refuse):
    distiller, (student, teacher) = made(), batch()
    with refuse:
        sum(value for _, value in distiller.others(student, teacher, step()).values()).backward()
    torch._dynamo.reset()
    eager = distiller.others(student, teacher, step())
    other = copy.deepcopy(distiller)
    other.compare = torch.compile(other.compare, fullgraph=True, backend="aot_eager")
    for name, (_, value) in other.others(student, teacher, step()).items():
        torch.testing.assert_close(value, eager[name][1])


def test_features_in_half_precision_are_compared_in_full():
    student, teacher = batch(dtype=torch.float16)
    assert all(
        value.dtype == torch.float32 and value.isfinite() for value in parts(made(), (student, teacher)).values()
    )


@pytest.mark.parametrize("inherit", [True, False])
def test_the_student_begins_with_the_pyramid_and_the_heads_of_its_teacher(inherit):
    student, teacher = (TappedModel(build_model("retinanet", 2, channels=8), "stages") for _ in range(2))
    distiller = FGD(student.describe(32), teacher.describe(32), inherit=inherit)
    told = distiller.meet(Networks(student, teacher), lambda: [], torch.Generator())
    same = {
        name for name, each in student.named_parameters() if torch.equal(each, dict(teacher.named_parameters())[name])
    }
    drawn = {"model.fpn.inner_blocks.0.0.weight", "model.head.classification_head.conv.0.0.weight"}
    assert (drawn <= same) == inherit
    assert "model.backbone.conv1.weight" not in same
    assert told == ({"inherited": 44} if inherit else {})


def test_a_part_of_weight_zero_is_left_out():
    distiller = made(context_weight=0, objects_weight=0)
    assert parts(distiller, batch()).keys() == {"classification", "box", "background", "attention"}
    assert not any("context" in name for name, _ in distiller.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"objects_weight": -1.0}, "objects_weight=-1.0"), ({"kd_weight": 1.0}, "set kd_weight to 0")],
)
def test_options_that_have_no_meaning_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        parts(made(**options), batch())


def test_levels_of_other_grids_are_named():
    other = NetworkInfo(CLASSES + 8, (FeatureInfo("level0", "map", 4, (5, 5)),), None, (ANCHORS,))
    with pytest.raises(InputError, match=r"level0 of the student has \(5, 5\) cells, level1 of the teacher \(4, 6\)"):
        FGD(other, TEACHER)
