import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.models.weights import save_weights
from trg_pyg.models.zoo import build_model
from trg_pyg.study.agenda import planned
from trg_pyg.study.study import fingerprint, images_of, pick_device, prepare, prepare_process, short_name


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

    def counted(name, classes, **options):
        built.append(name)
        return build_model(name, classes, **options)

    monkeypatch.setattr("trg_pyg.study.study.build_model", counted)
    given = [*small, "--methods", "KD", "--teacher.name=resnet14", "--train.epochs=1", "--seeds", "0", "1"]
    assert main(given) == 0
    assert built == ["resnet8", "resnet14", "resnet14", "resnet8", "resnet8"]


def test_the_same_settings_have_the_same_fingerprint_whatever_their_order():
    assert fingerprint({"a": 1, "b": {"c": None}}) == fingerprint({"b": {"c": None}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def folder_of(arguments, method="KD"):
    """The name of the folder that a study's runs of a method have, below that of the pair."""
    study = prepare(read_choices([*arguments, "--methods", method]))
    return planned(study, study.choices.methods[0], 0).folder.parent.name


SAME_RESULT = {
    "how images are read": ["--data.workers=2", "--data.prefetch=4", "--data.cache=false", "--data.check=pixels"],
    "how bad images are dealt with where there are none": ["--data.skip_bad_images=true"],
    "a check of the teacher": ["--teacher.accuracy_tolerance=3"],
    "when a training is given up": ["--train.max_skipped=3", "--teacher.train.max_skipped=3"],
    "how many images are evaluated at once": ["--train.eval_batch_size=7"],
    "what another schedule reads": ["--train.milestones=[1]", "--train.gamma=0.5"],
    "features that the method does not read": ["--student.taps=[layer2]", "--teacher.taps=[layer2]"],
    "how they are normalised, where a mean is given": ["--data.stream=true"],
}


@pytest.mark.parametrize("what", SAME_RESULT)
def test_what_changes_no_result_changes_no_folder(small, what):
    small = [*small, "--data.mean=[0.5, 0.5, 0.5]", "--data.std=[0.2, 0.2, 0.2]"]
    assert folder_of([*small, *SAME_RESULT[what]]) == folder_of(small)


@pytest.mark.parametrize(
    "options",
    [
        ["--data.stream=true"],  # without a mean of its own, it takes ImageNet's
        ["--data.subset_seed=1"],
        ["--data.validation=0.2"],
        ["--data.heldout=0.2"],
        ["--data.imbalance=2"],
        ["--data.background=black"],
        [
            "--data.mean=[0.5, 0.5, 0.5]",
            "--data.std=[0.2, 0.2, 0.2]",
            "--data.crop=resized",
            "--data.scaled_decoding=true",
        ],
        ["--train.deterministic=true"],
        ["--train.lr=0.07"],
        ["--teacher.seed=1"],
        ["--teacher.train.lr=0.07"],
    ],
)
def test_what_changes_a_result_changes_the_folder(small, options):
    assert folder_of([*small, *options]) != folder_of(small)


def test_scaled_decoding_changes_the_folder_where_it_is_on(small):
    small = [*small, "--data.crop=resized"]
    assert folder_of([*small, "--data.scaled_decoding=true"]) != folder_of(small)
    assert folder_of([*small, "--data.scaled_decoding=false"]) == folder_of(small)
    plain, scaled = (prepare(read_choices([*small, f"--data.scaled_decoding={on}"])) for on in ("false", "true"))
    assert images_of(plain) != images_of(scaled)  # so that no stored output of a teacher is taken for another


def test_an_option_that_came_later_and_is_off_is_no_part_of_what_a_run_is_known_by(small):
    study = prepare(read_choices([*small, "--methods", "KD"]))
    known = planned(study, study.choices.methods[0], 0).identity
    assert "validation" in known["data"]["init_args"]
    assert not {"heldout", "scaled_decoding"} & set(known["data"]["init_args"])
    assert known["distiller"]["init_args"].keys() == {"ce_weight", "kd_weight", "tau"}
    assert folder_of([*small, "--method_options.KD.standardize=true"]) != folder_of(small)
    soft = "--method_options.TRG.softness"
    assert folder_of([*small, f"{soft}=0"], "TRG") == folder_of(small, "TRG")
    assert folder_of([*small, f"{soft}=0.5"], "TRG") != folder_of(small, "TRG")


def test_how_a_teacher_would_be_trained_is_nothing_to_who_has_its_weights(small, tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        torch.manual_seed(seed)
        save_weights(build_model("resnet8", 3), tmp_path / f"{name}.safetensors", {})
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "moved.safetensors")
    one = [*small, f"--teacher.weights={tmp_path / 'one.safetensors'}"]
    assert folder_of([*one, "--teacher.train.epochs=9", "--teacher.seed=4"]) == folder_of(one)
    assert folder_of([*small, f"--teacher.weights={tmp_path / 'moved.safetensors'}"]) == folder_of(one)
    # The same file, with other weights in it.
    before = folder_of(one)
    shutil.copy(tmp_path / "other.safetensors", tmp_path / "one.safetensors")
    assert folder_of(one) != before


def test_data_are_known_by_what_they_hold_wherever_they_lie(small, images, tmp_path):
    before = folder_of(small)
    moved = shutil.copytree(images, tmp_path / "moved", ignore=shutil.ignore_patterns(".trg_pyg_cache"))
    there = [*small, f"--data.root={moved}"]
    assert folder_of(there) == before
    (moved / "train" / "red" / "0.png").rename(moved / "train" / "red" / "00.png")
    names = folder_of(there)
    (moved / "train" / "red" / "00.png").rename(moved / "train" / "blue" / "0a.png")
    relabelled = folder_of(there)
    shutil.copy(images / "train" / "green" / "0.png", moved / "train" / "blue" / "0a.png")
    other = folder_of(there)
    for split in ("train", "test"):
        (moved / split / "red").rename(moved / split / "pink")
    assert len({before, names, relabelled, other, folder_of(there)}) == 5


def test_unlabelled_images_are_known_by_what_they_hold_to_who_takes_them(small, tmp_path, capsys):
    loose = tmp_path / "loose"
    loose.mkdir()
    for number in range(5):
        Image.new("RGB", (20, 16), (number, 0, 99)).save(loose / f"{number}.png")
    given = [*small, f"--data.unlabelled={loose}"]
    before = folder_of(given, "SRD")
    assert before != folder_of(small, "SRD")
    assert folder_of(given) == folder_of(small)
    moved = loose.rename(tmp_path / "moved")
    given = [*small, f"--data.unlabelled={moved}"]
    assert folder_of(given, "SRD") == before
    assert main([*given, "--methods", "SRD", "KD", "--share_teacher=true"]) == 0
    assert "36 training and 12 test images of 16x16, 5 unlabelled, 3 classes of 12" in capsys.readouterr().out
    Image.new("RGB", (20, 16), (77, 0, 99)).save(moved / "0.png")
    assert folder_of(given, "SRD") != before


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
