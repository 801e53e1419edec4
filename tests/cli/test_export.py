import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from trg_pyg.cli.export import export, main
from trg_pyg.cli.run import main as run_study
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
        **{name: json.dumps(getattr(exported.facts, name)) for name in ("mean", "std")},
        "format": "pt",
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


def test_a_network_of_timm_goes_out_and_comes_back_as_timms_own(small, tmp_path, capsys):
    timm, hub = pytest.importorskip("timm"), pytest.importorskip("huggingface_hub")
    given = [argument for argument in small if not argument.startswith(("--student.name", "--data.size"))]
    chosen = [*given, "--methods=Vanilla", "--train.epochs=1", "--student.name=timm:test_vit"]
    assert run_study([*chosen, "--data.size=32", "--student.args={img_size: 32}", "--data.interpolation=bicubic"]) == 0
    (folder,) = tmp_path.glob("runs/ImageFolder/*/Vanilla-*/seed0")
    output = tmp_path / "out"
    assert main([str(folder), "--output", str(output), "--formats", "safetensors"]) == 0
    assert "verified: timm loads the folder" in capsys.readouterr().out
    trained, images = load(output), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = trained.network(images).logits
        network = timm.create_model(f"local-dir:{output}", pretrained=True).eval()
        prepared = timm.data.resolve_model_data_config(network)
        mean, std = (torch.tensor(prepared[name]).view(3, 1, 1) for name in ("mean", "std"))
        assert torch.allclose(network((images - mean) / std), expected, atol=1e-5)
    assert (prepared["input_size"], prepared["interpolation"], prepared["crop_pct"]) == ((3, 32, 32), "bicubic", 1.0)
    hub.load_torch_model(network, output)
    assert hub.ModelCard.load(output / "README.md").data.library_name == "timm"
    # And in again, with the same classes and with others.
    (tmp_path / "images" / "train" / "blue").rename(tmp_path / "blue")
    (tmp_path / "images" / "test" / "blue").rename(tmp_path / "blue_too")
    assert run_study([*chosen, f"--student.weights=local-dir:{output}", "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert "of 32x32, 2 classes" in printed
    assert f"from weights local-dir:{output}, head from zero (3 classes there, 2 here), mean" in printed


def test_a_push_asks_for_a_token_before_any_work_and_uploads_the_folder(finished_run, tmp_path, monkeypatch, capsys):
    hub = pytest.importorskip("huggingface_hub")
    given = [str(finished_run), "--output", str(tmp_path / "out"), "--formats", "safetensors", "--push_to", "me/net"]
    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert main(given) == 2
    assert "--push_to me/net: no token of Hugging Face is there; run hf auth login" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(hub, "get_token", lambda: "token")
    sent: list[tuple] = []
    monkeypatch.setattr(hub.HfApi, "create_repo", lambda api, name, **given: sent.append((name, given["private"])))
    monkeypatch.setattr(hub.HfApi, "upload_folder", lambda api, **given: sent.append((given["folder_path"],)))
    assert main(given) == 0
    assert sent == [("me/net", True), (tmp_path / "out",)]
    assert "pushed to https://huggingface.co/me/net" in capsys.readouterr().out
