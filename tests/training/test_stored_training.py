"""A training whose teacher's outputs are stored is the training without a store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import launch
from torch import Tensor, nn
from trained import all_weights, without_clock

import trg_pyg.distillers
from trg_pyg.data.base import ImageSet
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers.kd import KD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import SINGLE_PROCESS, World
from trg_pyg.training.loop import Trainee, fit_together
from trg_pyg.training.teacher_store import TeacherStore, Views

# Batches of 11 and a last one of 8.
IMAGES = 52
CONFIG = TrainConfig(epochs=3, batch_size=11, lr=0.02, schedule="cosine", eval_batch_size=4)
FLIPS = Augment(crop_padding=0, flip=True)


class Net(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stage = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage(images).mean(dim=(2, 3)))


def image_set(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    targets = torch.arange(count) % 4
    images = torch.randint(0, 60, (count, 3, 8, 8), generator=generator) + 60 * targets[:, None, None, None]
    return ImageSet(images.to(torch.uint8), targets)


class AsksHead(KD):
    """Has the teacher's classifier judge the student's embedding, with a gradient to that."""

    def weighted_parts(self, student: Outputs, teacher: Outputs | None, step: Step) -> dict[str, tuple[float, Tensor]]:
        judged = step.need_networks("AsksHead").head(student.embedding)
        return super().weighted_parts(student, teacher, step) | {"judged": (1.0, step.cross_entropy(judged))}


METHODS: dict[str, dict[str, Any]] = {"TRG": {"tokens_per_image": 8, "k": 4}, "SRD": {}, "RKD": {}}


def train(
    folder: Path | None, *names: str, config=CONFIG, level="maps", world=SINGLE_PROCESS, images=None, **options
) -> Any:
    """Histories and weights, and the store."""
    trainees, teacher = [], Net(1)
    for name in names:
        tapped = [TappedModel(net, None if name in METHODS else []) for net in (Net(0), teacher)]
        torch.manual_seed(2)
        cls = AsksHead if name == "AsksHead" else getattr(trg_pyg.distillers, name)
        method = cls(*(each.describe(8) for each in tapped), **METHODS.get(name, {}))
        trainees.append(Trainee(tapped[0], method, tapped[1]))
    store = None if folder is None else TeacherStore(folder, level, "images", **options.pop("store", {}))
    how: dict[str, Any] = {"augment": FLIPS, "seed": 3, "world": world, "store": store} | options
    histories = fit_together(trainees, images or image_set(IMAGES), image_set(9), config, **how)
    found = [
        {"history": without_clock(history), "weights": all_weights(each.student, each.distiller)}
        for history, each in zip(histories, trainees, strict=True)
    ]
    return found, store


def check(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one["history"] == other["history"]
        assert [name for name, w in one["weights"].items() if not torch.equal(w, other["weights"][name])] == []


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (["KD"], CONFIG),
        (["TRG"], replace(CONFIG, accumulate=2)),
        (["KD", "Vanilla", "TRG"], replace(CONFIG, precision="bf16")),
        (["AsksHead"], CONFIG),
        (["RKD"], replace(CONFIG, round_teacher=True)),
        (["KD"], replace(CONFIG, views=2, randaugment=9, erasing=0.5)),
        (["KD"], replace(CONFIG, views=2, mixup=0.5, cutmix=1.0, erasing=0.5)),
    ],
    ids=["KD", "parts", "together, bf16", "asks the teacher's head", "rounded", "fixed views", "mixed"],
)
def test_weights_and_metrics_are_those_without_a_store(tmp_path, names, config):
    expected, _ = train(None, *names, config=config)
    first, filled = train(tmp_path, *names, config=config)
    check(first, expected)
    second, found = train(tmp_path, *names, config=config)
    check(second, expected)
    assert found.asked == 3 * IMAGES
    assert filled.computed > found.computed
    assert found.computed == 0


def test_rounded_outputs_lead_to_nearly_the_same_weights():
    (exact,), _ = train(None, "KD")
    (rounded,), _ = train(None, "KD", config=replace(CONFIG, round_teacher=True))
    for name, weight in exact["weights"].items():
        torch.testing.assert_close(rounded["weights"][name], weight, rtol=0, atol=1e-3)
    assert any(not torch.equal(rounded["weights"][name], weight) for name, weight in exact["weights"].items())


def test_a_method_with_views_of_its_own_is_taught_without_the_store_beside_one_with_it(tmp_path):
    expected, _ = train(None, "SRD", "KD")
    for _ in range(2):
        found, store = train(tmp_path, "SRD", "KD")
        check(found, expected)
    assert (store.asked, store.computed) == (3 * IMAGES, 0)
    alone, store = train(tmp_path, "SRD")
    check(alone, expected[:1])
    assert (store.asked, store.computed) == (0, 0)


def test_a_part_of_the_data_finds_what_the_whole_has_stored(tmp_path):
    everything = image_set(IMAGES)
    train(tmp_path, "KD", config=replace(CONFIG, epochs=12))
    part = everything.select(torch.arange(1, 45, 2)).select(torch.tensor([True, False] * 11))
    _, store = train(tmp_path, "KD", images=part)
    assert (store.asked, store.computed) == (3 * 11, 0)
    check(train(tmp_path, "KD", images=part)[0], train(None, "KD", images=part)[0])


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, views=3, randaugment=5)], ids=["flips", "fixed views"])
def test_a_store_is_filled_in_advance(tmp_path, config):
    told, images = [], image_set(45)
    fill = {"on_fill": lambda done, of: told.append((done, of))}
    found, store = train(tmp_path, "KD", config=config, images=images, store=fill)
    number = config.views or 2
    assert told[-1] == (45 * number, 45 * number)
    assert len(told) == 5 * number
    # An image alone rounds differently: where it is the last batch of an epoch it is computed.
    assert store.computed == (44 + 8) * number + 3
    check(found, train(None, "KD", config=config, images=images)[0])


def test_views_without_number_are_refused(tmp_path):
    images = image_set(12)
    with pytest.raises(InputError, match=r"randaugment = 9 and train.mixup = 0.2 each view of an image is new"):
        train(tmp_path, "KD", config=replace(CONFIG, randaugment=9, mixup=0.2))
    with pytest.raises(InputError, match=r"with crop=resized each view .* set train.views to a number of fixed views"):
        Views.of(RandomResizedCrop(), CONFIG, images)
    assert Views.of(RandomResizedCrop(), replace(CONFIG, views=5), images).number == 5
    assert Views.of(Augment(4, True), CONFIG, images).number == 162


def test_what_a_mixed_view_is_depends_on_the_other_images():
    mixed, images = replace(CONFIG, views=5, mixup=0.2), image_set(12)
    every = [
        Views.of(FLIPS, mixed, part)
        for part in (images, images.select(torch.arange(12)), images.select(torch.arange(9)))
    ]
    assert every[0] == every[1] != every[2]
    alone = replace(CONFIG, views=5)
    assert Views.of(FLIPS, alone, images) == Views.of(FLIPS, alone, images.select(torch.arange(9)))


@pytest.mark.parametrize("scope", ["global", "local"])
def test_two_processes_share_a_store(tmp_path, scope):
    config = replace(CONFIG, batch_size=15, loss_scope=scope)
    runs = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        runs.append(launch(Shared(str(tmp_path / "rows") if number else None, config), 2, tmp_path / str(number)))
    for one, other in zip(runs[1] + runs[2], runs[0] * 2, strict=True):
        for found, expected in zip(one["weights"], other["weights"], strict=True):
            assert [name for name, weight in found.items() if not torch.equal(weight, expected[name])] == []
    assert [each["counts"][0] for each in runs[2]] == [3 * 28, 3 * 24]
    assert [each["counts"][1] for each in runs[2]] == [0, 0]


def test_two_trainings_at_once_share_a_store(tmp_path):
    expected, _ = train(None, "KD", "TRG")
    for one in launch(Shared(str(tmp_path / "rows"), CONFIG, together=False), 2, tmp_path, group=False):
        for weights, other in zip(one["weights"], expected, strict=True):
            assert [name for name, weight in weights.items() if not torch.equal(weight, other["weights"][name])] == []


class Shared:
    """A training in one of several processes, which train together or each alone."""

    def __init__(self, folder: str | None, config: TrainConfig, together: bool = True) -> None:
        self.folder, self.config, self.together = folder, config, together

    def __call__(self, world: World) -> Any:
        folder = None if self.folder is None else Path(self.folder)
        world = world if self.together else SINGLE_PROCESS
        results, store = train(folder, "KD", "TRG", world=world, config=self.config)
        counts = [0, 0] if store is None else [store.asked, store.computed]
        return {"weights": [each["weights"] for each in results], "counts": counts}
