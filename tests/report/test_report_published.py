import re
from collections import Counter
from pathlib import Path

import pytest

from trg_pyg.cli.table import main
from trg_pyg.config.choices import read_choices
from trg_pyg.config.recipes import RECIPES
from trg_pyg.errors import InputError
from trg_pyg.models.zoo import build_model
from trg_pyg.report.published import figures, published_report
from trg_pyg.report.results import Results
from trg_pyg.runs import Run

PAIR = ("--data=CIFAR100", "--teacher.name=resnet56", "--student.name=resnet20", "--recipe=crd")
TOP1 = {"Vanilla": (69.0, 69.2), "KD": (70.0, 71.0), "TRG": (72.0, 72.5)}


def results(*arguments, teacher_top1=72.34, methods=TOP1):
    """Results of a study that was not trained: its settings are those of a command line."""
    settings = read_choices(list(arguments)).settings
    epochs = settings["train"]["epochs"]
    return Results(
        study="a study",
        command="trg run",
        settings={part: settings[part] for part in ("data", "student", "teacher", "train")},
        environment={},
        teacher={"name": settings["teacher"]["name"], "metrics": {"top1": teacher_top1}},
        reference=None,
        runs=[
            Run(method, seed, {"class_path": method}, [{"epoch": epochs, "test/top1": value}])
            for method, values in methods.items()
            for seed, value in enumerate(values)
        ],
    )


@pytest.fixture
def table(tmp_path):
    """Write results and return the report on them, and the cells of its first table."""

    def made(*studies):
        files = [tmp_path / f"{number}.jsonl" for number in range(len(studies))]
        for file, study in zip(files, studies, strict=True):
            study.write(file)
        text = published_report(files)
        return text, [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]

    return made


def test_each_row_has_its_figure_the_difference_and_where_it_is_from(table):
    text, rows = table(results(*PAIR))
    assert text.startswith("CIFAR100/resnet56-resnet20, last epoch, beside published figures\n")
    assert rows[0] == ["method", "seeds", "top-1", "published", "difference [95 %]", "source"]
    source = "HobbitLong/RepDistiller README"
    assert rows[2:5] == [
        ["teacher resnet56", "", "72.34", "72.34", "+0.00", source],
        ["Vanilla", "0, 1", "69.10 ± 0.14", "69.06", "+0.04 [-1.23, 1.31]", source],
        ["KD", "0, 1", "70.50 ± 0.71", "70.66", "-0.16 [-6.51, 6.19]", source],
    ]
    assert rows[-1] == ["TRG", "0, 1", "72.25 ± 0.35", "", "", ""]
    assert "*" not in text


def test_a_second_figure_of_a_method_has_a_line_of_its_own_with_its_remark(table):
    _, rows = table(results(*PAIR, methods={"LSKD": (71.5,)}))
    assert [row[3:] for row in rows[3:]] == [
        ["71.43", "+0.07", "sunshangquan/logit-standardization-KD README (best epoch)"],
        ["71.37", "+0.13", "sunshangquan/logit-standardization-KD training log (last epoch)"],
    ]
    assert [row[0] for row in rows[3:]] == ["LSKD", ""]


def test_rows_of_another_recipe_are_marked_and_it_is_said_what_differs(table):
    text, rows = table(results(*PAIR, "--train.epochs=30", "--data.heldout=0.1"))
    assert [row[0] for row in rows[3:5]] == ["Vanilla *", "KD *"]
    assert (
        "* Trained otherwise than by the recipe crd of the figures: data.heldout 0.1, not unset; epochs 30, not 240; "
        "milestones [19, 22, 26], not [150, 180, 210]." in text
    )


def test_what_changes_no_result_is_no_other_recipe_nor_is_the_published_rate_of_a_student(table):
    slow = ("--data=CIFAR100", "--teacher.name=vgg13", "--student.name=mobilenetv2", "--recipe=crd", "--train.lr=0.01")
    for arguments in ((*PAIR, "--train.compile=true", "--train.eval_every=10"), slow):
        assert "*" not in table(results(*arguments))[0]
    assert "lr 0.05, not 0.01" in table(results(*slow[:-1]))[0]


def test_a_long_tail_has_figures_of_its_own(table):
    pair = ("--data=CIFAR100", "--teacher.name=resnet32", "--student.name=resnet32", "--recipe=lt")
    _, rows = table(results(*pair, "--data.imbalance=100", methods={"Vanilla": (38.0,)}))
    assert rows[-1][:5] == ["Vanilla", "0", "38.00", "38.32", "-0.32"]
    with pytest.raises(InputError, match="CIFAR100-LT20/resnet32-resnet32: no published figures of that pair"):
        table(results(*pair, "--data.imbalance=20"))


def test_a_folder_of_images_is_imagenet_where_its_teacher_is_the_published_one(table):
    pair = ("--data=ImageFolder", "--data.root=somewhere", "--data.size=224", "--recipe=imagenet")
    pair += ("--student.name=mobilenetv1", "--teacher.name=torchvision:resnet50")
    _, rows = table(results(*pair, "--teacher.weights=torchvision/resnet50_v1", methods={"KD": (70.0,)}))
    assert rows[-1][:5] == ["KD", "0", "70.00", "70.50", "-0.50"]
    with pytest.raises(InputError, match="ImageFolder/resnet50-mobilenetv1: no published figures"):
        table(results(*pair, methods={"KD": (70.0,)}))


def test_held_out_images_are_not_compared_and_studies_without_figures_are_named(table):
    with pytest.raises(InputError, match="CIFAR100-val/resnet56-resnet20: no published figures"):
        table(results(*PAIR, "--data.validation=0.1"))
    text, _ = table(results(*PAIR), results("--data=Digits"))
    assert "\n\nDigits/resnet20-resnet8: no published figures of that pair" in text


def test_the_command_prints_it_of_folders_too(tmp_path, capsys):
    results(*PAIR).write(tmp_path / "CIFAR100" / "table.jsonl")
    assert main(["--published", str(tmp_path)]) == 0
    assert "beside published figures" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 2  # without it, files alone


def test_every_figure_names_networks_that_there_are_its_recipe_and_its_source():
    known = figures()
    networks = {network for figure in known for network in (figure.teacher, figure.student)}
    for network in networks:
        build_model(network, 10)
    assert {figure.recipe for figure in known} <= RECIPES.keys()
    assert all(50 < figure.top1 < 85 or figure.recipe == "lt" for figure in known)
    assert all(re.match(r"[\w.-]+/[\w.-]+ \S+|jiequancui/DKL paper", figure.source) for figure in known)
    pairs = {figure.pair: figure.recipe for figure in known}
    assert {figure.recipe for figure in known if pairs[figure.pair] != figure.recipe} == set()  # one of each pair


def test_no_figure_is_there_twice():
    counts = Counter((*figure.pair, figure.method, figure.top1) for figure in figures())
    assert [key for key, times in counts.items() if times > 1] == []


def test_every_pair_of_the_benchmark_has_its_student_its_teacher_and_kd():
    tables = Path(__file__).parents[2] / "experiments" / "tables"
    known = {(figure.pair, figure.method) for figure in figures()}
    for file in sorted(tables.glob("cifar100/*.yaml")):
        teacher, student = file.stem.split("-")
        for method in ("teacher", "Vanilla", "KD", "CRD", "RKD"):
            assert (("CIFAR100", teacher, student), method) in known
