"""The baseline of a study of this folder, and what its teacher begins with: logistic regression.

    STUDY=experiments/studies/text/r8.yaml
    python experiments/studies/text/frozen.py $STUDY data/r8/model.safetensors data/r8/probe.safetensors

The features are those that the teacher's classifier takes of the network as it comes; scikit-learn fits the regression
on all training texts, standardised, and all test texts are measured. The network is written with that classifier: one
that starts at zero needs steps that are too large for the layers below it.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from trg_pyg.config.choices import read_choices
from trg_pyg.data.input_set import InputSet
from trg_pyg.models.taps import TappedModel
from trg_pyg.study.study import build_network


@torch.inference_mode()
def features(network: TappedModel, texts: InputSet) -> Tensor:
    """Return what the classifier takes of each text, ``[N, d]``."""
    found = []
    for index in torch.arange(len(texts)).split(64):
        embedding = network(texts.read(index)).embedding
        assert embedding is not None
        found.append(embedding)
    return torch.cat(found)


def main(study: str, weights: str, output: str) -> None:
    """Print how many test texts of a study get their class, and write its teacher with the classifier that was fitted.

    Args:
        study: configuration.
        weights: of the teacher as it comes.
        output: file to write.
    """
    config = read_choices(["--config", study, "--dry_run"]).config
    splits = config.data.load()
    assert isinstance(splits.train, InputSet)
    assert isinstance(splits.test, InputSet)
    network = build_network(replace(config.teacher, weights=Path(weights)), splits, seed=0).eval()
    train, test = features(network, splits.train), features(network, splits.test)
    # MiniLM has a feature that is the same for all texts.
    mean, std = train.mean(0), train.std(0).clamp(min=1e-3)
    fitted = LogisticRegression(max_iter=1000).fit(((train - mean) / std).numpy(), splits.train.targets.numpy())
    weight, bias = (torch.from_numpy(each).float() for each in (fitted.coef_, fitted.intercept_))
    classifier = network.model.get_submodule(str(network.classifier))
    assert isinstance(classifier, torch.nn.Linear)
    classifier.weight.data = (weight / std).contiguous()
    classifier.bias.data = bias - (weight / std) @ mean
    with torch.inference_mode():
        right = int((classifier(test).argmax(1) == splits.test.targets).sum())
    save_file(network.model.state_dict(), output)
    print(f"{right} of {len(test)} test texts, {100 * right / len(test):.2f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
