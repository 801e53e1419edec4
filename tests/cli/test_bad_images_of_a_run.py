import multiprocessing
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from trg_pyg.cli.run import main
from trg_pyg.study.progress import Display


@pytest.fixture
def streamed(small):
    return [*small, "--data.stream=true", "--methods", "Vanilla"]


def weights(tmp_path):
    (folder,) = (tmp_path / "runs").glob("ImageFolder/resnet8-resnet8/Vanilla-*/seed0")
    return load_file(folder / "last.safetensors")


def test_bad_images_end_a_run_before_it_begins_unless_they_are_to_be_skipped(streamed, images, tmp_path, capsys):
    (images / "train" / "red" / "3.png").write_bytes(b"")
    assert main(streamed) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trg run: error: 1 of 48 images under {images} cannot be read: ")
    assert not (tmp_path / "runs").exists()
    with pytest.warns(UserWarning, match="1 of 48 images .* are left out"):
        assert main([*streamed, "--data.skip_bad_images", "true"]) == 0


def test_a_worker_that_is_killed_ends_a_run_with_a_line_and_it_resumes_with_other_workers(
    streamed, tmp_path, monkeypatch, capsys
):
    assert main(streamed) == 0
    whole = weights(tmp_path)

    def kill_a_worker(display, metrics):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Display, "epoch", kill_a_worker)
        assert main([*streamed, "--data.workers=1", "--overwrite"]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("trg run: error: a process that decodes images is lost, most often for lack of memory")
    assert main([*streamed, "--data.workers=0", "--data.check=never", "--resume"]) == 0
    assert "epoch 2/2" in (printed := capsys.readouterr().out)
    assert "epoch 1/2" not in printed
    resumed = weights(tmp_path)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
