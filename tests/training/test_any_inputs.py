"""A training on items that are no images: several tensors by name, with padding."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from trg_pyg.batch import mask_of
from trg_pyg.data import InputSet
from trg_pyg.distillers import KD, SP, SRD, TRG, Vanilla
from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel
from trg_pyg.tasks import ImageClassification, Task
from trg_pyg.training import TrainConfig, evaluate, fit

WORDS, LENGTH, CLASSES = 20, 9, 3


class Words(InputSet):
    task: ClassVar[Task] = ImageClassification()


class Bag(nn.Module):
    """The mean of what a layer makes of each word."""

    default_taps = ("layer",)
    classifier_path = "fc"

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer, self.fc = nn.Embedding(WORDS, 8), nn.Linear(8, 6), nn.Linear(6, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = self.layer(self.words(input_ids)).relu() * attention_mask.unsqueeze(2)
        return self.fc(tokens.sum(1) / attention_mask.sum(1, keepdim=True))


def network(seed: int) -> TappedModel:
    torch.manual_seed(seed)
    return TappedModel(Bag())


def texts(seed: int, count: int = 24, padding: int = 0) -> Words:
    """The first word tells the class; ``padding`` stands where no word is."""
    draws = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, WORDS, (count, LENGTH), generator=draws)
    targets = torch.arange(count) % CLASSES
    ids[:, 0] = targets
    mask = (torch.arange(LENGTH) < 2 + torch.arange(count)[:, None] % (LENGTH - 1)).long()
    return Words({"input_ids": ids.where(mask == 1, padding), "attention_mask": mask}, targets)


def trained(method, padding: int = 0, **options):
    student, teacher = network(0), network(1)
    example = texts(0).example
    distiller = method(student.describe(example), teacher.describe(example), **options)
    config = TrainConfig(epochs=3, batch_size=8, lr=0.005, schedule="constant", accumulate=2)
    return student, fit(student, teacher, distiller, texts(0, padding=padding), texts(1, padding=padding), config)


@pytest.mark.parametrize("method", [Vanilla, KD, SP, TRG])
def test_a_method_learns_and_what_stands_in_the_place_of_padding_changes_nothing(method):
    options = {"tokens_per_image": 4, "k": 3} if method is TRG else {}
    student, history = trained(method, **options)
    assert history[-1]["train/total"] < history[0]["train/total"]
    assert evaluate(student, texts(1), 5)["top1"] == history[-1]["test/top1"]
    other, same = trained(method, padding=7, **options)
    assert all(torch.equal(one, two) for one, two in zip(student.parameters(), other.parameters(), strict=True))
    assert same[-1]["train/total"] == history[-1]["train/total"]


def test_features_of_padding_are_zero():
    batch = texts(0)
    outputs = network(0)(batch.inputs)
    mask = mask_of(batch.inputs)
    assert outputs.features[0].shape == (24, LENGTH, 6)
    assert (outputs.features[0][~mask] == 0).all()
    assert (outputs.features[0][mask] != 0).any()


def test_a_description_is_of_a_row_of_tokens():
    info = network(0).describe(texts(0).example)
    assert (info.num_classes, info.embedding) == (CLASSES, 6)
    assert [(tap.path, tap.layout, tap.channels, tap.grid) for tap in info.features] == [
        ("layer", "sequence", 6, (1, LENGTH))
    ]


def test_other_inputs_than_were_described_are_refused():
    tapped = network(0)
    tapped.describe(texts(0).example)
    with pytest.raises(InputError, match=r"described with input_ids \[1, 9\].*these are input_ids \[1, 5\]"):
        tapped({name: each[:1, :5] for name, each in texts(0).inputs.items()})
    with pytest.raises(InputError, match="these are images of 6x6"):
        tapped(torch.zeros(1, 3, 6, 6))


def test_a_network_of_other_inputs_without_taps_is_asked_to_name_them():
    class Silent(Bag):
        default_taps = ()

    with pytest.raises(InputError, match=r"takes no images.*name taps, or declare default_taps"):
        TappedModel(Silent()).describe(texts(0).example)


def test_what_is_done_to_images_is_refused():
    student, config = network(0), TrainConfig(epochs=1, batch_size=8, milestones=[], mixup=0.2)
    info = student.describe(texts(0).example)
    with pytest.raises(InputError, match=r"mixup = 0\.2: it changes images, and these data are none"):
        fit(student, None, Vanilla(info, None), texts(0), texts(1), config)
    with pytest.raises(InputError, match="SRD makes views of images, and these data are none"):
        trained(SRD)
