"""The baseline of ``experiments/studies/text_r8.yaml``: logistic regression on features of its teacher as it comes.

    python experiments/text/frozen.py experiments/studies/text_r8.yaml

The features are those that the teacher's classifier takes, standardised; scikit-learn fits the regression on all
training texts, and all test texts are measured.
"""

import sys

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
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


def main(file: str) -> None:
    """Print how many of the test texts of a configuration get their class."""
    config = read_choices(["--config", file, "--dry_run"]).config
    splits = config.data.load()
    assert isinstance(splits.train, InputSet)
    assert isinstance(splits.test, InputSet)
    network = build_network(config.teacher, splits, seed=0).eval()
    train, test = (features(network, texts).numpy() for texts in (splits.train, splits.test))
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    regression.fit(train, splits.train.targets.numpy())
    right = regression.predict(test) == splits.test.targets.numpy()
    print(f"{right.sum()} of {len(right)} test texts, {100 * right.mean():.2f} %")


if __name__ == "__main__":
    main(sys.argv[1])
