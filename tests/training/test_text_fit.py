"""Trainings on texts, ADKD's second derivative included: on two processes, and killed and resumed."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import launch
from trained import Stop, all_weights, stop_at, without_clock

import trg_pyg.distillers
import trg_pyg.training.loop
from trg_pyg.data.text.text_data import TextSet
from trg_pyg.models import TappedModel, text_transformer
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.loop import Trainee, fit_together

# 29 texts: batches of 11, 11 and 7, whose shares on two processes are 6 and 5, and 4 and 3.
CONFIG = TrainConfig(epochs=2, batch_size=11, lr=0.02, schedule="cosine", eval_batch_size=4)
METHODS: dict[str, dict[str, Any]] = {"ADKD": {}, "TRG": {"tokens_per_image": 4, "k": 3}}
LENGTH = 7


def texts(count: int) -> TextSet:
    """The second piece tells the class; lengths are from 2 on."""
    draws = torch.Generator().manual_seed(count)
    ids = torch.randint(6, 20, (count, LENGTH), generator=draws)
    targets = torch.arange(count) % 3
    ids[:, 0], ids[:, 1] = 2, 3 + targets
    mask = (torch.arange(LENGTH) < 2 + torch.arange(count)[:, None] % (LENGTH - 1)).long()
    return TextSet({"input_ids": ids * mask, "attention_mask": mask}, targets)


def build(name: str, folder: Path | None = None, dropout: float = 0.0, **options: Any) -> Trainee:
    networks = []
    for seed, width in ((0, 8), (1, 12)):
        torch.manual_seed(seed)
        model = text_transformer(3, 20, width=width, depth=1, heads=2, max_positions=LENGTH, dropout=dropout)
        torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
        networks.append(TappedModel(model.double()))
    infos = [network.describe(texts(1).example) for network in networks]
    torch.manual_seed(2)
    distiller = getattr(trg_pyg.distillers, name)(*infos, **METHODS[name])
    return Trainee(networks[0], distiller, networks[1], folder, **options)


def train(world: World, trainee: Trainee, config: TrainConfig = CONFIG, **options: Any) -> dict[str, Any]:
    (history,) = fit_together([trainee], texts(29), texts(9), config, seed=3, world=world, **options)
    return {"history": without_clock(history), "weights": all_weights(trainee.student, trainee.distiller)}


def work(world: World) -> dict[str, Any]:
    return {name: train(world, build(name)) for name in METHODS}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    return launch(work, 2, tmp_path_factory.mktemp("texts"))


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_as_one(found, name) -> None:
    alone = train(World(), build(name))
    for each in found:
        for one, other in zip(each[name]["history"], alone["history"], strict=True):
            assert one == pytest.approx(other, rel=1e-4)
        for key, value in alone["weights"].items():
            # The biases of keys have no gradient, so that nothing but rounding is in them.
            largest = max(1e-3, float(value.abs().max()))
            torch.testing.assert_close(each[name]["weights"][key], value, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("name", METHODS)
def test_a_training_with_dropout_goes_on_within_an_epoch_as_if_it_had_not_been_killed(
    name, step, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(trg_pyg.training.loop, "_CHECK_EVERY", 1)
    config = replace(CONFIG, optimizer="AdamW", lr=0.005)
    make = partial(build, name, dropout=0.2)
    whole = train(World(), make(), config)
    with pytest.raises(Stop):
        train(World(), make(tmp_path, on_step=stop_at(step)), config, checkpoint_seconds=0.0)
    again = train(World(), make(tmp_path), config, resume=True)
    assert again["history"] == whole["history"]
    assert all(torch.equal(value, whole["weights"][key]) for key, value in again["weights"].items())
