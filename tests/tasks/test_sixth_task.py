"""A task that the package does not know, with its data and its network: one file, outside of the package."""

import json

from trg_pyg.cli import main as trg

FILE = '''
"""How hard a machine shakes, of readings of three sensors: the grades have an order."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from trg_pyg.data import Data, InputSet
from trg_pyg.tasks import Task

GRADES = ("still", "weak", "strong")


class Grading(Task):
    """Logit k says whether at least grade k is reached."""

    score, item = "top1", "series"

    def check_step(self, outputs, step):
        pass

    def check_set(self, outputs, targets, groups):
        pass

    def supervised(self, outputs, step):
        return {"grades": self._loss(self.rows(outputs, step), step.target).mean()}

    def rows(self, outputs, step):
        return step.labelled(outputs.logits)

    def running(self, outputs, batch):
        return {"top1": 100 * (self._grade(outputs.logits) == batch.target).float().mean()}

    def measure(self, outputs, batch):
        hits = self._grade(outputs.logits) == batch.target
        return {"hits": hits, "loss": self._loss(outputs.logits, batch.target)}

    def metrics(self, measured, targets, groups):
        return {"top1": 100 * measured["hits"].double().mean().item(), "loss": measured["loss"].mean().item()}

    def _loss(self, logits, target):
        reached = (torch.arange(len(GRADES), device=target.device) <= target[:, None]).float()
        return binary_cross_entropy_with_logits(logits.float(), reached, reduction="none").mean(1)

    def _grade(self, logits):
        return (logits[:, 1:] > 0).sum(1)


class SeriesSet(InputSet):
    task = Grading()


class Series(Data):
    def _read(self):
        def split(seed, count):
            draws = torch.Generator().manual_seed(seed)
            targets = torch.arange(count) % 3
            readings = torch.randn(count, 12, 3, generator=draws)
            return SeriesSet(readings * (0.2 + targets[:, None, None]), targets, digest=str(seed))

        return split(0, 96), split(1, 48), GRADES


class Net(nn.Module):
    default_taps = ("tokens",)
    classifier_path = "head"

    def __init__(self, num_classes, width):
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width))
        self.head = nn.Linear(width, num_classes)

    def forward(self, series):
        return self.head(self.tokens(series.abs()).mean(1))


def net(num_classes=3, width=8):
    return Net(num_classes, width)
'''


def test_a_task_with_its_data_and_network_is_one_file_outside_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "shaking.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    given = [
        *("run", "--data=shaking.Series", "--student.name=shaking.net", "--teacher.name=shaking.net"),
        *(
            "--teacher.args={width: 32}",
            "--train.epochs=8",
            "--train.batch_size=8",
            "--train.lr=0.1",
            "--teacher.train.epochs=8",
        ),
        *("--teacher.train.batch_size=16", "--wandb=disabled", "--device=cpu", f"--output={tmp_path / 'runs'}"),
        *("--methods", "Vanilla", "TRG"),
    ]
    assert trg(given) == 0
    for method in ("Vanilla", "TRG"):
        (run,) = tmp_path.glob(f"runs/Series/*/{method}-*/seed0")
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["test/top1"] > 60  # a third by chance
        assert trg(["evaluate", str(run)]) == 0
