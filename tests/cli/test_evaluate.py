import json
from argparse import Namespace

import pytest
import torch

from tests.conftest import write_images
from trg_pyg.cli.evaluate import main
from trg_pyg.cli.export import export
from trg_pyg.data.corruption import CORRUPTIONS
from trg_pyg.use.load import load


def rows(out):
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in out.splitlines() if row.startswith("| ")]


def images_of(run):
    return run.parents[4] / "images"


def test_runs_stand_in_one_table(finished_run, capsys):
    (teacher,) = (finished_run.parents[3] / "teachers").glob("*/resnet14-*")
    assert main([str(finished_run), str(finished_run / "best.safetensors"), str(teacher)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"ImageFolder-LT3 in {images_of(finished_run)}, 12 test images of 16x16, 3 classes\n\n")
    head, *shown = rows(out)
    assert [row[head.index("network")] for row in shown] == ["resnet8", "resnet8", "resnet14"]
    assert [row[head.index("method")] for row in shown] == ["KD", "KD", "Vanilla"]
    assert "few" in head
    last = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert shown[0][head.index("top-1")] == f"{last['test/top1']:.2f}"


def test_all_figures_go_to_a_file(finished_run, tmp_path, capsys):
    output = tmp_path / "deep" / "figures.json"
    given = [
        str(finished_run),
        "--corruptions",
        "all",
        "--severities",
        "5",
        "1",
        "--seed",
        "3",
        "--output",
        str(output),
    ]
    assert main(given) == 0
    written = json.loads(output.read_text())
    assert written["corruption_seed"] == 3
    assert "--corruptions all" in written["command"]
    assert written["environment"]["packages"]["torch"]
    (result,) = written["results"]
    assert (result["network"], result["method"], result["seed"]) == ("resnet8", "KD", "0")
    assert result["sha256"] == load(finished_run).weights.sha256
    assert {name: list(by) for name, by in result["corrupted"].items()} == {name: ["1", "5"] for name in CORRUPTIONS}
    assert len(rows(capsys.readouterr().out)) == 2 + 1 + len(CORRUPTIONS) + 1


def test_other_data_with_the_same_classes(finished_run, tmp_path, capsys):
    other = write_images(tmp_path, {"": {"blue": 5, "green": 5, "red": 5}})
    given = ["--data", "ImageFolder", "--data.root", str(other), "--data.size", "16", "--data.crop_share", "0.8"]
    assert main([str(finished_run), *given, "--split", "all"]) == 0
    assert f"ImageFolder in {other}, 15 training and test images" in capsys.readouterr().out


def test_networks_are_attacked(finished_run, tmp_path, capsys):
    output = tmp_path / "figures.json"
    assert main([str(finished_run), "--attack", "4", "--eps", "0.1", "--restarts", "2", f"--output={output}"]) == 0
    out = capsys.readouterr().out
    head, row = rows(out)
    metrics = json.loads(output.read_text())["results"][0]["metrics"]
    for title, name in (("top-1", "top1"), ("robust", "robust_top1"), ("ECE", "ece"), ("robust ECE", "robust_ece")):
        assert row[head.index(title)] == f"{metrics[name]:.2f}"
    assert "robust: PGD of 4 steps of 0.0625 within 0.1 of each pixel, 2 starts of seed 0; of each image the wor" in out
    told = {"steps": 4, "eps": 0.1, "step": 0.0625, "restarts": 2, "seed": 0}
    assert json.loads(output.read_text())["attack"] == told


def test_an_exported_folder_takes_data(finished_run, tmp_path, capsys):
    exported = tmp_path / "exported"
    export(load(finished_run), exported, ["safetensors"])
    assert main([str(exported)]) == 2
    assert capsys.readouterr().err == (
        f"trg evaluate: error: {exported}: an exported network does not know its data; give --data\n"
    )
    data = ["--data=ImageFolder", f"--data.root={images_of(finished_run)}", "--data.size=16", "--data.crop_share=0.8"]
    assert main([str(finished_run), str(exported), *data]) == 0
    head, run, export_row = rows(capsys.readouterr().out)
    for title in ("network", "method", "seed", "top-1", "loss"):
        assert run[head.index(title)] == export_row[head.index(title)]


def test_weights_of_another_program(finished_run, tmp_path, capsys):
    trained = load(finished_run)
    file = tmp_path / "resnet8.pth"
    # As RepDistiller writes them.
    torch.save({"model": trained.network.model.state_dict(), "opt": Namespace(lr=0.1), "best_acc": 50.0}, file)
    facts = trained.facts
    given = [
        *("--weights", str(file), "--student.name", "resnet8"),
        *(f"--student.mean={list(facts.mean)}", f"--student.std={list(facts.std)}"),
        *("--data=ImageFolder", f"--data.root={images_of(finished_run)}", "--data.size=16", "--data.crop_share=0.8"),
    ]
    assert main([*given, str(finished_run)]) == 0
    head, run, other = rows(capsys.readouterr().out)
    assert other[:4] == ["resnet8", "", "", "resnet8"]
    assert [run[head.index(title)] for title in ("top-1", "loss", "ECE")] == [
        other[head.index(title)] for title in ("top-1", "loss", "ECE")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate: name the folder of a run, or --weights"),
        (["{folder}"], "{folder}: no config.yaml in {folder}, so this is no run"),
        (["{run}", "--split", "dev"], "split=dev: expected test, validation, heldout, train, all"),
        (["{run}", "--split", "validation"], "--split validation: nothing is held out of these data"),
        (["{run}", "--data", "Digits"], "{run} takes images of 16x16, the data have 32x32; set --data.size 16"),
        (["{run}", "--data", "Digit"], "data=Digit: no such class; did you mean Digits?"),
        (["{run}", "--student.name", "resnet8"], "--student belongs to --weights; a run knows its network"),
        (["--weights", "{folder}/x.pth"], "--weights: say of which network they are"),
        (["--weights", "{folder}/x.pth", "--student.name", "resnet8"], "--weights: say what to evaluate on"),
        (
            ["--weights", "{folder}/x.pth", "--student.name", "resnet8", "--data", "Digits"],
            "weights {folder}/x.pth: no such file",
        ),
        (["{run}", "--corruptions", "fog"], "--corruptions=fog: choose all or gaussian_noise or"),
        (["{run}", "--corruptions", "contrast", "--severities", "6"], "severity 6 is not one of 1 to 5"),
        (["{run}", "--eps", "0.1"], "--eps belongs to --attack: give its steps, such as --attack 20"),
        (["{run}", "--attack", "20", "--eps", "8"], "eps=8.0: it is a share of the range of a pixel"),
        (["{run}", "--batch_size", "0"], "--batch_size 0: give 1 or more"),
        (["{run}", "--output", "{folder}"], "--output {folder}: that is a folder; name a file"),
        (["{run}", "--batchsize", "3"], "unknown key batchsize; did you mean batch_size?"),
    ],
)
def test_a_mistake_ends_in_one_line(finished_run, tmp_path, capsys, arguments, message):
    places = {"run": finished_run, "folder": tmp_path}
    assert main([each.format(**places) for each in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"trg evaluate: error: {message.format(**places)}")
