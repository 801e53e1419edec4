import json

from experiments.run_folder import RunFolder, environment


def test_metrics_are_one_line_an_epoch(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_history([])
    folder.append({"epoch": 1, "test/top1": 50.0})
    folder.append({"epoch": 2, "test/top1": 60.0})
    assert folder.metrics.read_text() == '{"epoch": 1, "test/top1": 50.0}\n{"epoch": 2, "test/top1": 60.0}\n'


def test_a_folder_can_be_resumed_once_it_has_a_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.has_checkpoint
    (tmp_path / "checkpoint.pt").touch()
    assert folder.has_checkpoint


def test_description_leaves_no_temporary_files(tmp_path):
    RunFolder(tmp_path).describe({"train": {"lr": 0.1}}, {"command": "typed"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.yaml", "environment.json"]
    assert (tmp_path / "config.yaml").read_text() == "train:\n  lr: 0.1\n"
    assert json.loads((tmp_path / "environment.json").read_text()) == {"command": "typed"}


def test_environment_names_versions_commit_and_hardware():
    found = environment("typed")
    assert {"command", "commit", "python", "packages", "processor", "cores", "threads", "gpu"} <= set(found)
    assert found["packages"]["torch"] is not None
    assert found["threads"] >= 1
