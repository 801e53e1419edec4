import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from trg_pyg.cli.export import export, main
from trg_pyg.models import resnet8
from trg_pyg.use import formats
from trg_pyg.use.load import load

WITHOUT_ONNX = ["--formats", "safetensors", "torch_export"]


def test_the_folder_has_all_that_it_takes(finished_run, tmp_path, capsys):
    output = tmp_path / "deep" / "exported"
    assert main([str(finished_run), "--output", str(output), *WITHOUT_ONNX]) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "README.md",
        "model.json",
        "model.pt2",
        "model.safetensors",
    ]
    assert list(output.parent.iterdir()) == [output]
    exported = load(output)
    assert (exported.name, exported.config.args, exported.resize) == ("resnet8", {}, 20)
    assert exported.facts == replace(load(finished_run).facts, digest=None)
    metadata = exported.weights.metadata
    assert json.loads(metadata.pop("classes")) == ["blue", "green", "red"]
    assert metadata == {
        **load(finished_run).weights.metadata,
        "network": "resnet8",
        "method": "KD",
        "seed": "0",
    }
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["model.safetensors", "model.pt2", "exported"]
    assert all("verified: logits differ by" in line for line in out[:2])


def test_the_normalisation_that_the_student_was_given_is_exported(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = run / "config.yaml"
    text = config.read_text()
    student, rest = text.split("train:\n", 1)
    given = student.replace("mean: null", "mean: [0.1, 0.2, 0.3]").replace("std: null", "std: [0.5, 0.6, 0.7]")
    config.write_text(f"{given}train:\n{rest}")
    export(load(run), tmp_path / "exported", ["safetensors"])
    facts = load(tmp_path / "exported").facts
    assert (facts.mean, facts.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def test_the_code_of_the_card_runs(finished_run, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    output = tmp_path / "exported"
    export(load(finished_run), output, ["safetensors", "onnx", "torch_export"])
    Image.effect_noise((31, 24), 80).convert("RGBA").save(output / "image.png")
    monkeypatch.chdir(output)
    card = (output / "README.md").read_text()
    blocks = [block.split("```")[0] for block in card.split("```python\n")[1:]]
    assert len(blocks) == 4
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    # Three ways to the same answer, two of them with a preparation of their own.
    of_weights = scope["probabilities"]
    assert of_weights.shape == (1, 3)
    exported = scope["program"](torch.from_numpy(scope["prepare"]("image.png")))
    session = torch.from_numpy(scope["session"].run(["logits"], {"images": scope["prepare"]("image.png")})[0])
    for logits in (exported, session):
        assert torch.allclose(logits.softmax(dim=1), of_weights, atol=1e-5)


def test_a_file_that_gives_other_logits_makes_no_folder(finished_run, tmp_path, monkeypatch, capsys):
    def wrong(classifier, size, about, folder):
        torch.manual_seed(1)
        other = resnet8(3)
        formats.save_weights(other, folder / "model.safetensors", about)

    wrong_format = formats.Format("model.safetensors", (), wrong, formats._read_safetensors)
    monkeypatch.setitem(formats.FORMATS, "safetensors", wrong_format)
    (tmp_path / "mine").touch()
    output = tmp_path / "exported"
    assert main([str(finished_run), "--output", str(output), "--formats", "safetensors"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trg export: error: model.safetensors, loaded again, gives logits that differ by ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_there_is_refused_before_any_work(finished_run, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert main(["no run at all", "--output", str(tmp_path), "--formats", "safetensors"]) == 2
    assert (
        capsys.readouterr().err == f"trg export: error: --output {tmp_path}: it is there already; name a new folder\n"
    )
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_missing_package_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    assert main(["no run at all", "--output", str(tmp_path / "exported")]) == 2
    assert capsys.readouterr().err == (
        "trg export: error: format onnx needs onnx, onnxscript, onnxruntime: pip install 'trg_pyg[export]', or choose "
        "--formats safetensors torch_export\n"
    )


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--output", str(tmp_path / "exported"), *WITHOUT_ONNX]) == 2
    assert "so this is no run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything can be written by root")
def test_a_folder_that_cannot_be_written_is_named(finished_run, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main([str(finished_run), "--output", str(tmp_path / "exported"), *WITHOUT_ONNX]) == 2
    assert "trg export: error: cannot write" in capsys.readouterr().err


def test_outputs_that_are_not_finite_are_refused(finished_run, tmp_path):
    trained = load(finished_run)
    next(trained.network.model.parameters()).fill_(torch.nan)
    with pytest.raises(formats.InputError, match="its outputs are not finite; the training diverged"):
        export(trained, tmp_path / "exported", ["safetensors"])
    assert list(tmp_path.iterdir()) == []
