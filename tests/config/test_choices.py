import re
from pathlib import Path

import pytest
import yaml

from trg_pyg.config.choices import read_choices
from trg_pyg.data.cifar import CIFAR100
from trg_pyg.data.digits import Digits
from trg_pyg.errors import InputError
from trg_pyg.study.study import short_name

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs"


def names(choices):
    return [method.name for method in choices.methods]


def test_without_arguments_digits_are_distilled_by_three_methods():
    choices = read_choices([])
    assert isinstance(choices.config.data, Digits)
    assert names(choices) == ["Vanilla", "KD", "TRG"]
    assert choices.seeds == [0]
    assert [method.needs_teacher for method in choices.methods] == [False, True, True]
    assert choices.command == "trg run"


def test_a_file_wins_over_defaults_and_the_command_line_over_the_file(tmp_path):
    file = tmp_path / "trg.yaml"
    file.write_text("distiller: {class_path: TRG, init_args: {alpha: 3.0, beta: 4.0}}\ntrain: {epochs: 7, lr: 0.5}\n")
    choices = read_choices([f"--config={file}", "--distiller.beta=5", "--train.epochs=9"])
    options = choices.methods[0].settings["init_args"]
    assert (options["alpha"], options["beta"], options["k"]) == (3.0, 5.0, 8)
    assert (choices.config.train.epochs, choices.config.train.lr) == (9, 0.5)


def test_methods_take_the_options_of_the_distiller_of_that_class_and_defaults_else(tmp_path):
    file = tmp_path / "trg.yaml"
    file.write_text("distiller: {class_path: TRG, init_args: {kd_weight: 3.0}}\n")
    choices = read_choices([f"--config={file}", "--methods", "KD", "TRG"])
    assert names(choices) == ["KD", "TRG"]
    assert [method.settings["init_args"]["kd_weight"] for method in choices.methods] == [0.9, 3.0]


def options(choices):
    return {method.name: method.settings.get("init_args", {}) for method in choices.methods}


def test_a_method_joined_with_kd_is_its_own_row_with_kd_weight_1(tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text("method_options: {TRG: {kd_weight: 0, alpha: 3}}\nmethods: [TRG, TRG+KD, TRGPaper+KD]\n")
    choices = read_choices([f"--config={file}"])
    assert names(choices) == ["TRG", "TRG+KD", "TRGPaper+KD"]
    weights = {name: (given["kd_weight"], given["alpha"]) for name, given in options(choices).items()}
    assert weights == {"TRG": (0.0, 3.0), "TRG+KD": (1.0, 3.0), "TRGPaper+KD": (1.0, 16.0)}


def test_one_file_holds_the_options_of_a_whole_table(tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text(
        "methods: [Vanilla, KD, TRG, TRGPaper]\n"
        "method_options: {TRG: {alpha: 3}, trg_pyg.distillers.kd.KD: {tau: 2}}\n"
        "distiller: {class_path: TRGPaper, init_args: {beta: 7}}\n"
    )
    choices = read_choices([f"--config={file}"])
    given = options(choices)
    assert names(choices) == ["Vanilla", "KD", "TRG", "TRGPaper"]
    assert (given["TRG"]["alpha"], given["TRG"]["beta"]) == (3.0, 4.0)
    assert (given["TRGPaper"]["alpha"], given["TRGPaper"]["beta"]) == (16.0, 7.0)
    assert given["KD"]["tau"] == 2.0
    assert "method_options" not in choices.settings
    # The command line picks a row, or changes an option of one.
    assert names(read_choices([f"--config={file}", "--methods", "KD"])) == ["KD"]
    assert options(read_choices([f"--config={file}", "--method_options.TRG.alpha=4"]))["TRG"]["alpha"] == 4.0


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        (["--seeds", "0", "1"], "KD"),
        (["--seeds", "0"], None),  # a single seed has no interval
        (["--seeds", "0", "--reference=TRG"], "TRG"),
        (["--seeds", "0", "1", "--reference=TRG"], "TRG"),
        (["--seeds", "0", "1", "--methods", "Vanilla", "TRG"], None),
        (["--seeds", "0", "1", "--methods", "KD"], None),
        (["--seeds", "0", "--methods", "KD", "--reference=KD"], None),
    ],
)
def test_the_reference_is_kd_where_there_are_several_seeds_unless_one_is_named(arguments, reference):
    choices = read_choices(arguments)
    assert choices.reference == reference
    assert "reference" not in choices.settings


def test_the_table_has_its_place_from_the_command_line(tmp_path):
    assert read_choices([]).table is None
    choices = read_choices([f"--table={tmp_path / 'new' / 'ablation.md'}"])
    assert choices.table == tmp_path / "new" / "ablation.md"
    assert "table" not in choices.settings
    assert not choices.table.parent.exists()


def test_options_of_the_default_data_set_do_not_follow_to_another():
    choices = read_choices(["--data=CIFAR100", "--data.download=false"])
    assert isinstance(choices.config.data, CIFAR100)
    augment = choices.config.data.augment()
    assert (augment.crop_padding, augment.flip) == (4, True)


def test_a_method_of_a_third_party_is_given_by_its_dotted_path():
    choices = read_choices(["--methods", "trg_pyg.distillers.trg_paper.TRGPaper"])
    assert names(choices) == ["TRGPaper"]


def test_the_resolved_settings_read_back_as_the_same_settings(tmp_path):
    first = read_choices(["--methods", "TRG", "--seeds", "3", "--data.imbalance=5", "--student.taps=[layer2]"])
    settings = {**first.settings, "distiller": first.methods[0].settings, "seeds": first.seeds}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    again = read_choices([f"--config={tmp_path / 'config.yaml'}"])
    assert again.settings == first.settings
    assert again.methods[0].settings == first.methods[0].settings
    assert again.seeds == [3]


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*/*/*.yaml")), ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_configuration_file_is_a_cell_named_after_its_method_and_pair(file):
    choices = read_choices([f"--config={file}"])
    assert names(choices) == [file.stem]
    networks = (choices.config.teacher, choices.config.student)
    pair = "-".join(short_name(network.name).removesuffix("_patch16_224") for network in networks)
    assert pair == file.parent.name


def test_every_pair_has_the_three_methods_on_the_same_settings():
    folders = {file.parent for file in CONFIGS.glob("*/*/*.yaml")}
    assert len(folders) == 11
    for folder in folders:
        assert {file.stem for file in folder.glob("*.yaml")} >= {"Vanilla", "KD", "TRG"}
        settings = [read_choices([f"--config={file}"]).settings for file in folder.glob("*.yaml")]
        assert all(each == settings[0] for each in settings)


def test_the_digits_configuration_is_what_runs_without_arguments():
    default = read_choices([])
    for method in default.methods:
        cell = read_choices([f"--config={CONFIGS / 'digits' / 'resnet20-resnet8' / method.name}.yaml"])
        assert cell.settings == default.settings
        assert cell.methods[0].settings == method.settings


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--trian.lr=1"], "unknown key trian.lr; did you mean train.lr"),
        (["--data.imbalanse=2"], "unknown option imbalanse of Digits; did you mean imbalance?"),
        (["--distiller=TRG", "--distiller.alfa=2"], "unknown option alfa of TRG; did you mean alpha"),
        (["--methods", "TRGG"], "methods=TRGG: no such class; did you mean TRG"),
        (["--data=Digitz"], "data=Digitz: no such class; did you mean Digits?"),
        (["--train.schedule=steps"], "train.schedule=steps: expected multistep, cosine, onecycle, constant"),
        (["--data.imbalance=much"], "data.imbalance=much: expected float"),
        (["--distiller=TRG", "--distiller.k=few"], "distiller.k=few: expected int"),
        (["--train.lr=-1"], "train.lr = -1.0: give a positive number"),
        (["--train.epochs=0"], "train.epochs = 0"),
        (["--wait_minutes=0"], "wait_minutes=0.0: give more than 0, and at most 10,080, which is a week"),
        (["--wait_minutes=.inf"], "wait_minutes=inf: give more than 0"),
        (["--seeds", "one"], "seeds=one: expected int"),
        (["--seeds", "1", "1"], "seeds: [1, 1] names one twice"),
        (["--methods", "KD", "KD"], "methods: ['KD', 'KD'] names one twice"),
        (["--methods", "KD+KD"], "methods=KD+KD: KD already is KD"),
        (["--methods", "Vanilla+KD"], "methods=Vanilla+KD: Vanilla has no option kd_weight"),
        (["--methods", "TRG", "TRG+KD"], "TRG and TRG+KD are the same, kd_weight is 1 in both"),
        (["--methods", "TRG+KD", "TRG+KD"], "names one twice"),
        (["--methods", "TRGG+KD"], "methods=TRGG+KD: no such class; did you mean TRG"),
        (["--reference=TRGG"], "reference=TRGG: not among the methods; did you mean TRG?; name one of them, or null"),
        (["--methods", "TRG", "--reference=KD"], "reference=KD: not among the methods; known: TRG; name one of them"),
        (["--table=x.jsonl"], "table=x.jsonl: the results lie beside the table as .jsonl; name it x.md"),
        (["--table=experiments"], "table=experiments: that is a folder; name a file, such as experiments/table.md"),
        (["--table=README.md/table.md"], "README.md (Not a directory); name one that can be written to"),
        (["--output=README.md/runs"], "output=README.md/runs: nothing can be written in "),
        (["--student.mean=[124, 116, 104]"], "student.mean (124.0, 116.0, 104.0) is outside [0, 1]; divide values for"),
        (["--teacher.std=[58.4, 57.1, 57.4]"], "teacher.std (58.4, 57.1, 57.4) is outside (0, 1]; divide values for"),
        (["--teacher.std=[0, 0.2, 0.2]"], "teacher.std (0.0, 0.2, 0.2) is outside (0, 1]"),
        (
            ["--student", "resnet20"],
            "student=resnet20: write --student.name resnet20, or in a file student: {name: res",
        ),
        (["--teacher=mine.pth"], "teacher=mine.pth: write --teacher.weights mine.pth"),
        (["--train", "5"], "train=5: it has keys of its own, which --help shows; set those, such as --train.epochs 30"),
        (["--methods", "trg"], "methods=trg: no such class; did you mean TRG?"),
        (["--methods", "rkd+kd"], "methods=rkd+kd: no such class; did you mean RKD+KD?"),
        (
            ["--methods", "KD TRG"],
            "methods=KD TRG: separate names by spaces, such as KD TRG, or in a file as [KD, TRG]",
        ),
        (["--data", "cifar100"], "data=cifar100: no such class; did you mean CIFAR100?"),
        (["--root", "photos"], "unknown key root; did you mean data.root?"),
        (["--lr", "1"], "unknown key lr; did you mean train.lr, teacher.train.lr?"),
        (["--k", "4"], "unknown key k; did you mean distiller.k?"),
        (["--Train.LR", "1"], "unknown key Train.LR; did you mean train.lr?"),
        (
            ["--data.root", "x"],
            "unknown option root of Digits; BoxFolder, CIFAR10, CIFAR100, FashionMNIST, ImageFolder, ImageList",
        ),
        (
            ["--distiller", "KD", "--distiller.sigma", "1"],
            "have it: name the class first, as --distiller ",
        ),
        (
            ["--distiller.K", "4"],
            "distiller.K: of which method? Name it first, as --distiller TRG --distiller.k, or in",
        ),
        (["--distiller", "TRG", "--distiller.K", "4"], "unknown option K of TRG; did you mean k?"),
        (["--train.compile"], "train.compile: it needs a value, such as --train.compile true"),
        (["--seeds"], "seeds: it needs a value, such as --seeds 0 1 2"),
        (["--data=ImageFolder", "--data.root"], "data.root: it needs a value, such as --data.root VALUE"),
        (["--resume=true"], "resume=true: it takes no value; write --resume, or leave it out"),
        (["--seeds", "0..2"], "seeds=0..2: expected int; write out the numbers, such as 0 1 2"),
        (["--train.epochs", "3.0"], "train.epochs=3.0: expected int; write 3"),
        (["--train.epochs", "1:30"], "train.epochs=1:30: it would be read in base 60; write the number that is meant"),
        (["--train.optimizer", "sgd"], "train.optimizer=sgd: expected SGD, AdamW; did you mean SGD?"),
        (["--student.mean", "[1, 2]"], "student.mean=[1, 2]: expected tuple of 3, such as [0.5, 0.5, 0.5]"),
        (["--student.args={depth: 8, depth: 14}"], "student.args: depth stands twice; keep one of them"),
        (
            ["--student.args={depth: 010}"],
            "student.args: line 1: 010 would be read as 8; write the number that is meant",
        ),
        (["--train.epoch", "3"], "unknown key train.epoch; did you mean train.epochs?"),
        (
            ["--methods", "KD", "--distiller=TRG", "--distiller.k=4"],
            "distiller=TRG: nothing uses it, the methods are KD",
        ),
        (["--methods", "KD", "--method_options={SP: {}}"], "method_options.SP: nothing uses it; name SP in methods"),
        (["--method_options.SP.weight=2"], "method_options.SP: nothing uses it; name SP in methods, or leave it out"),
        (["--distiller=TRG", "--method_options={KD: {}}"], "method_options.KD: nothing uses it; name KD in methods"),
        (
            ["--methods", "KD", "--variants={a: TRG}"],
            "variants.a: nothing uses it; name it in methods, or leave it out",
        ),
        (["--wandb_steps=0"], "wandb_steps=0: give 1 or more, or null"),
        (["--distiller=TRG+KD"], "distiller=TRG+KD: no such class; name it in methods"),
        (["--method_options={TRGG: {}}"], "method_options.TRGG: distiller=TRGG: no such class; did you mean TRG"),
        (["--method_options={TRG: {alfa: 1}}"], "method_options.TRG: unknown option alfa of TRG; did you mean alpha"),
        (["--method_options={TRG: {k: few}}"], "method_options.TRG: distiller.k=few: expected int"),
        (["--method_options={TRG: 3}"], "method_options=3: expected dict"),
        (["--method_options={TRG: {}, trg_pyg.distillers.trg.TRG: {}}"], "TRG is there twice"),
        (["--method_options={TRG: {}}", "--distiller=TRG"], "method_options.TRG: distiller gives options of TRG too"),
        (["--config=nowhere.yaml"], "config: File does not exist: "),
        (["--data=ImageFolder"], "data=ImageFolder: it needs --data.root; data.help=ImageFolder describes its options"),
        (["--distiller.alpha=3"], "distiller.alpha: of which method? Name it first, as --distiller TRG"),
        (["--methods", "TRG", "--distiller.alpha", "3"], "distiller.alpha: of which method? Name it first"),
        (["--distiller={alpha: 3}"], "distiller={'alpha': 3}: of which method? Name it first"),
        (["KD", "TRG"], "unexpected argument KD: values follow an option, such as --methods KD TRG"),
        (["--resume", "true"], "unexpected argument true: values follow an option"),
        (["--methods", "KD,TRG"], "methods=KD,TRG: separate names by spaces, such as KD TRG"),
        (["--seeds", "0,1"], "seeds=0,1: expected int; separate values by spaces"),
        (["--train.milestones=5"], "train.milestones=5: expected list, such as [1, 2]"),
        (["--student.args=depth=3"], "student.args=depth=3: expected dict, such as {key: value}"),
        (["--train.weight_decay="], "train.weight_decay=: expected float"),
        (["--teacher.accuracy_tolerance=-1"], "teacher.accuracy_tolerance=-1.0"),
    ],
)
def test_a_bad_choice_is_one_line_that_names_place_value_and_remedy(arguments, line):
    with pytest.raises(InputError) as error:
        read_choices(arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--methods", "trg_pyg.distillers.trg.TRGG"],
            "distiller=trg_pyg.distillers.trg.TRGG: module trg_pyg.dis",
        ),
        (["--methods", "trg_pyg.distillers.trg.TRGG"], "has no TRGG; did you mean TRG?"),
        (
            ["--methods", "no_such_module.Mine"],
            "distiller=no_such_module.Mine: no module named no_such_module; ",
        ),
        (
            ["--method_options={no_such_module.Mine: {}}"],
            "method_options.no_such_module.Mine: distiller=no_such_m",
        ),
        (["--methods", "torch.nn.Linear"], "distiller=torch.nn.Linear: it is no subclass of Distiller"),
        (
            ["--data", "trg_pyg.data.digits.Digitz"],
            "data=trg_pyg.data.digits.Digitz: module trg_pyg.data.digits has",
        ),
        (
            ["--methods", "own_methods.Min"],
            "distiller=own_methods.Min: module own_methods has no Min; did you mean",
        ),
        (["--methods", "own_imports.Mine"], "distiller=own_imports.Mine: no module named no_such_module; install it"),
        (["--methods", "own_syntax.Mine"], "distiller=own_syntax.Mine: '(' was never closed (own_syntax.py, line 1)"),
    ],
)
def test_a_class_of_ones_own_that_cannot_be_had_is_one_line(arguments, line, tmp_path, monkeypatch):
    (tmp_path / "own_methods.py").write_text("from trg_pyg.distillers import KD\n\n\nclass Mine(KD):\n    pass\n")
    (tmp_path / "own_imports.py").write_text("import no_such_module\n")
    (tmp_path / "own_syntax.py").write_text("print(\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as error:
        read_choices(arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("trian: {lr: 1}", "unknown key trian.lr; did you mean train.lr"),
        ("train: {lrr: 1}", "unknown key lrr in train; did you mean lr?"),
        ("train: []", r"train=\[\]: it has keys of its own, which --help shows"),
        ("teacher: {train: null}", "teacher.train=None: it has keys of its own"),
        ("distiller: {class_path: TRG, init_args: {alfa: 1}}", "unknown option alfa of TRG; did you mean alpha"),
        ("train: {lr: 1}\nseeds: 1\ntrain: {epochs: 2}", "bad.yaml: train stands twice, on lines 1 and 3; keep one"),
        ("distiller: {class_path: TRG, init_args: {k: 4, k: 5}}", "bad.yaml: k stands twice; keep one of them"),
        ("train.lr: 1\ntrain: {epochs: 2}", "bad.yaml: train.lr on line 1 stands beside train on line 2; write it in"),
        ("teacher: {train.lr: 1, train: {epochs: 2}}", "train.lr on line 1 stands beside train on line 1; write it in"),
        ("train:\n  epochs: 010", "bad.yaml: line 2: 010 would be read as 8; write the number that is meant without a"),
        ("seeds: [1:30]", "bad.yaml: line 1: 1:30 would be read as 90"),
        ("train: {lr: }", "train.lr: it has no value; give one, or leave the key out"),
        ("data: {class_path: Digits, init_args: {subset_seed: }}", "data.subset_seed: it has no value; give one"),
        ("method_options: {TRG: {alpha: }}", "method_options.TRG: distiller.alpha: it has no value; give one"),
        ("train:", "bad.yaml: train without a value; give one, or leave it out"),
        ("seeds: 0..2", "seeds=0..2: expected int; write out the numbers"),
        ("seeds: {a: 1}", r"seeds: write a list, such as \[0, 1, 2\]"),
        ("seeds: []", "seeds: the list is empty; name at least one, such as 0"),
        ("methods: []", "methods: the list is empty; name at least one, such as KD"),
        ("methods: KD TRG", "methods=KD TRG: separate names by spaces"),
        ("methods: [KD]\ndistiller: TRG", "distiller=TRG: nothing uses it, the methods are KD"),
        ("data: {class_path: CIFAR100, root: x}", "write a class and its options as {class_path: NAME, init_args: "),
        ("output: 5", "output: a path is expected, not int; write it in quotes"),
        (
            "student: resnet20",
            "student=resnet20: write --student.name resnet20, or in a file student: {name: resnet20}",
        ),
        ("method: grid\nparameters: {}", "bad.yaml: that is the file of a sweep; give it to trg sweep"),
    ],
)
def test_a_key_in_a_file_that_is_unknown_or_can_be_misread_is_named(tmp_path, text, line):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=line.replace("?", r"\?")):
        read_choices([f"--config={tmp_path / 'bad.yaml'}"])


@pytest.mark.parametrize(
    ("text", "seeds", "methods"),
    [
        ("seeds: 3  # one", [3], ["Vanilla", "KD", "TRG"]),
        ("methods: RKD+KD\nseeds:\n  4\n", [4], ["RKD+KD"]),
        ("seeds: 0, 1\nmethods: KD, TRG", [0, 1], ["KD", "TRG"]),
        ("methods: 'KD'\nseeds: [2]", [2], ["KD"]),
    ],
)
def test_a_single_seed_or_method_of_a_file_needs_no_list(text, seeds, methods, tmp_path):
    (tmp_path / "study.yaml").write_text(text)
    choices = read_choices([f"--config={tmp_path / 'study.yaml'}"])
    assert (choices.seeds, names(choices)) == (seeds, methods)
    assert read_choices(["--wandb_project=1:30", "--output=1:30"]).config.wandb_project == "1:30"


def test_the_command_line_picks_rows_of_a_files_table_but_its_own_options_are_used(tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text(
        "methods: [KD, TRG, four]\nmethod_options: {TRG: {alpha: 3}}\ndistiller: KD\n"
        "variants: {four: {class_path: TRG, init_args: {k: 4}}}\n"
    )
    for picked in ("KD", "TRG", "four"):
        assert names(read_choices([f"--config={file}", "--methods", picked])) == [picked]
    with pytest.raises(InputError, match=r"method_options\.TRG: nothing uses it"):
        read_choices([f"--config={file}", "--methods", "KD", "--method_options.TRG.alpha=4"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seeds: [0]  # \xff", r"config=.*study.yaml: byte 14 is no UTF-8 \(invalid start byte\); save it as UTF-8"),
        (b"[" * 3000, "nested too deeply|no YAML"),
    ],
    ids=["no UTF-8", "deep"],
)
def test_a_file_that_is_no_configuration_is_refused(content, message, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    for argv in ([f"--config={file}"], ["--seeds=1", "--config", str(file)]):
        with pytest.raises(InputError, match=message):
            read_choices(argv)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty; write keys with values, as --print_config shows them"),
        ("just text", "it holds a str; write keys with values"),
        ("- 1", "it holds a list; write keys with values"),
        ("seeds: [1", r"no YAML \(while parsing a flow sequence .*\); mend it, or leave it out"),
    ],
)
def test_the_file_that_is_no_configuration_is_named(content, message, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("seeds: [1]")
    bad.write_text(content)
    with pytest.raises(InputError, match=f"config={re.escape(str(bad))}: {message}"):
        read_choices([f"--config={good}", "--config", str(bad)])


@pytest.mark.parametrize("argument", ["--seeds=18446744073709551616", "--teacher.seed=-9223372036854775808"])
def test_a_seed_that_no_generator_takes_is_refused(argument):
    with pytest.raises(InputError, match=r"seeds: -?[0-9]+ is too large; give whole numbers such as 0"):
        read_choices([argument])
