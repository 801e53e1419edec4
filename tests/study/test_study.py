from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.models.zoo import build_model
from trg_pyg.study.study import fingerprint, pick_device, prepare, prepare_process, short_name


def test_a_study_knows_its_data_networks_and_place(small, tmp_path):
    study = prepare(read_choices([*small, "--methods", "TRG", "--data.imbalance=4"]))
    assert study.splits.class_counts == (12, 6, 3)
    assert study.pairs["last"].student.features[0].grid == (4, 4)
    assert study.pairs["last"].teacher is not None
    assert study.folder == tmp_path / "runs" / "ImageFolder-LT4" / "resnet8-resnet8"
    assert study.name == "ImageFolder-LT4/resnet8-resnet8"
    assert study.shots["few"] == [0, 1, 2]


def test_no_teacher_is_built_where_no_method_needs_one(small):
    study = prepare(read_choices([*small, "--methods", "Vanilla", "--teacher.name=no_such_network"]))
    assert study.pairs["none"].teacher is None


def test_a_network_is_built_once_for_the_study_and_once_for_each_training(small, monkeypatch):
    built = []

    def counted(name, classes):
        built.append(name)
        return build_model(name, classes)

    monkeypatch.setattr("trg_pyg.study.study.build_model", counted)
    given = [*small, "--methods", "KD", "--teacher.name=resnet14", "--train.epochs=1", "--seeds", "0", "1"]
    assert main(given) == 0
    assert built == ["resnet8", "resnet14", "resnet14", "resnet8", "resnet8"]


def test_the_same_settings_have_the_same_fingerprint_whatever_their_order():
    assert fingerprint({"a": 1, "b": {"c": None}}) == fingerprint({"b": {"c": None}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_how_images_are_read_is_no_part_of_the_fingerprint():
    def folder(**options):
        return {"data": {"class_path": "ImageFolder", "init_args": {"root": "a", **options}}, "train": {"lr": 1}}

    assert fingerprint(folder(workers=2, prefetch=4)) == fingerprint(folder(workers=0, prefetch=2))
    assert fingerprint(folder(size=32)) != fingerprint(folder(size=64))
    assert folder(workers=2)["data"]["init_args"]["workers"] == 2


def test_a_later_option_that_is_off_is_no_part_of_the_fingerprint():
    """Runs from before it are still found."""
    before = {"train": {"lr": 1, "compile": False}, "teacher": {"name": "a", "train": {"lr": 2}}, "data": {"size": 3}}

    def now(student, teacher):
        of_teacher = before["teacher"] | {"train": {"lr": 2, "deterministic": teacher}}
        return before | {"train": before["train"] | {"deterministic": student}, "teacher": of_teacher}

    assert fingerprint(now(False, False)) == fingerprint(before)
    assert len({fingerprint(each) for each in (before, now(True, False), now(False, True))}) == 3
    assert fingerprint(before | {"train": {"lr": 1}}) != fingerprint(before)
    assert now(False, False)["teacher"]["train"] == {"lr": 2, "deterministic": False}


def test_cublas_is_made_deterministic_before_cuda_is_used_where_a_training_asks_for_it(monkeypatch):
    set_for = []
    monkeypatch.setattr("trg_pyg.study.study.set_cublas_workspace", lambda: set_for.append(asked))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    choices = read_choices([])
    config = choices.config
    student = replace(config, train=replace(config.train, deterministic=True))
    teacher = replace(config, teacher=replace(config.teacher, train=student.train))
    given = replace(teacher, teacher=replace(teacher.teacher, weights=Path("a.pth")))
    for asked in (config, student, teacher, given, replace(student, device="cpu")):
        prepare_process(replace(choices, config=asked))
    assert set_for == [student, teacher]


def test_list_files_are_long_tailed_by_themselves(images, tmp_path, small):
    lines = [f"train/{name}/{i}.png {label}" for label, name in enumerate(("red", "green")) for i in range(12)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "test.txt").write_text("test/red/0.png 0\ntest/green/0.png 1\n")
    lists = [f"--data.train_list={tmp_path / 'train.txt'}", f"--data.test_list={tmp_path / 'test.txt'}"]
    options = [option for option in small if not option.startswith("--data")]
    study = prepare(
        read_choices(["--data=ImageList", f"--data.root={images}", *lists, "--data.size=16", *options, "--methods=KD"])
    )
    assert study.shots == {"many": [], "medium": [], "few": [0, 1]}


def test_a_loss_that_fails_on_the_smallest_batch_is_refused_before_any_training(small, tmp_path, monkeypatch):
    (tmp_path / "own_neighbours.py").write_text(
        "from trg_pyg.distillers import Relational, TermDistiller\n"
        "from trg_pyg.divergences import MSE\n"
        "from trg_pyg.graphs import KNNGraph\n"
        "from trg_pyg.nodes import Instances\n"
        "from trg_pyg.relations import Distance\n\n\n"
        "class Neighbours(TermDistiller):\n"
        "    def __init__(self, student, teacher, *, k: int = 6):\n"
        "        term = Relational(Instances(student, teacher), KNNGraph(k, None), Distance(), MSE())\n"
        "        super().__init__(student, teacher, terms={'near': (1.0, term)})\n\n\n"
        "class Whole(Neighbours):\n"
        "    def weighted_parts(self, *args):\n"
        "        return {}\n\n"
        "    def forward(self, *args):\n"
        "        return self.weigh(super().weighted_parts(*args))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    # 36 images in batches of 15 leave one of 6, in which an image has 5 others.
    arguments = [*small, "--train.batch_size=15", "--methods", "own_neighbours.Neighbours"]
    with pytest.raises(InputError, match="Neighbours in a batch of 6 images, the smallest of an epoch: K=6 neighbours"):
        prepare(read_choices(arguments))
    with pytest.raises(InputError, match="Whole in a batch of 6 images"):
        prepare(read_choices([*arguments[:-1], "own_neighbours.Whole"]))
    assert prepare(read_choices([*arguments, "--method_options={own_neighbours.Neighbours: {k: 5}}"])).pairs
    # Batches of 18 in parts of 6: what the loss sees at once counts.
    parts = [*small, "--train.accumulate=3", "--methods", "own_neighbours.Neighbours"]
    with pytest.raises(InputError, match="Neighbours in a batch of 6 images"):
        prepare(read_choices(parts))
    assert not (tmp_path / "runs").exists()


def test_synchronised_batch_norm_is_refused_before_any_training(small, tmp_path):
    with pytest.raises(InputError, match="synchronised batch norm on cpu"):
        prepare(read_choices([*small, "--methods", "KD", "--train.sync_batchnorm=true"]))
    assert not (tmp_path / "runs").exists()


def test_a_network_of_a_library_can_be_part_of_a_path():
    assert short_name("torchvision:resnet18") == "resnet18"
    assert short_name("timm:hf_hub/deit") == "hf_hub_deit"


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device=abacus"):
        pick_device("abacus")
