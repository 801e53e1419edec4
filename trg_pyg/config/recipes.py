"""Trainings that tables of the literature have in common, by name; another one is another entry."""

from dataclasses import asdict
from typing import Any

from trg_pyg.errors import near, require
from trg_pyg.training.config import TrainConfig

RECIPES = {
    # RepDistiller's, of CRD (arXiv 1910.10699): CIFAR-100. MobileNetV2 and the ShuffleNets take lr 0.01 there.
    "crd": TrainConfig(),
    # The long-tailed CIFARs, as BagofTricks-LT has them (configs/cao_cifar/baseline): resnet32 as the network.
    "lt": TrainConfig(
        epochs=200, batch_size=128, lr=0.1, weight_decay=2e-4, milestones=[160, 180], gamma=0.01, warmup_epochs=5.0
    ),
    # DeiT's (arXiv 2012.12877), of which there is not: repeated augmentation, the spread of RandAugment's magnitude,
    # boxes of noise in place of black ones, rates that begin at 1e-6 and end at 1e-5, tokens and positions without
    # decay. Stochastic depth (0.1) is an argument of the network, bicubic resizing an option of the data.
    "deit": TrainConfig(
        epochs=300,
        batch_size=1024,
        optimizer="AdamW",
        lr=1e-3,
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=5.0,
        mixup=0.8,
        cutmix=1.0,
        randaugment=9,
        erasing=0.25,
        label_smoothing=0.1,
    ),
    # CRD's on ImageNet.
    "imagenet": TrainConfig(epochs=100, batch_size=256, lr=0.1, weight_decay=1e-4, milestones=[30, 60, 90]),
    # ImageNet-LT, all of it at once, without a second stage.
    "imagenet_lt": TrainConfig(epochs=90, batch_size=512, lr=0.2, schedule="cosine"),
}


def recipe_options(name: str, epochs: int | None = None, place: str = "recipe") -> dict[str, Any]:
    """Return the options of a recipe by the names of :class:`~trg_pyg.training.config.TrainConfig`.

    Args:
        name: of the recipe.
        epochs: in place of its own: milestones, to the nearest epoch, and warm-up keep their shares of the training.
            Where too few are left for these, ``TrainConfig`` refuses them. ``None`` takes the recipe as it is.
        place: of the name, for the message.

    Raises:
        InputError: there is no such recipe.
    """
    require(name in RECIPES, f"{place}={name}: no such recipe{near(name, RECIPES)}")
    options = asdict(RECIPES[name])
    if epochs is not None:
        share = epochs / options["epochs"]
        options |= {
            "epochs": epochs,
            "milestones": [round(share * milestone) for milestone in options["milestones"]],
            "warmup_epochs": share * options["warmup_epochs"],
        }
    return options
