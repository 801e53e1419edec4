import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import Request

import pytest
import torch
import torchvision
import yaml

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.models import build_model, published, resnet8, save_weights
from trg_pyg.models.published import fetch, find_published, published_teachers, record, sha256_of

ENTRIES = published_teachers()
NAME = "mine/resnet8_colours"


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_of_a_network_that_there_is(name):
    if ENTRIES[name].network.startswith("timm:"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        model = build_model(ENTRIES[name].network, 100, **ENTRIES[name].args)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("torchvision/")])
def test_torchvision_says_the_same_of_its_weights(name):
    entry = ENTRIES[name]
    weights = torchvision.models.get_weight(entry.source.removeprefix("torchvision "))
    assert entry.network == f"torchvision:{type(weights).__name__.removesuffix('_Weights').lower()}"
    assert (entry.url, entry.accuracy) == (weights.url, weights.meta["_metrics"]["ImageNet-1K"]["acc@1"])
    assert entry.url.endswith(f"-{entry.sha256}.pth")
    transforms = weights.transforms()
    assert (list(entry.mean), list(entry.std)) == (transforms.mean, transforms.std)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("timm/")])
def test_timm_says_the_same_of_its_weights(name):
    entry = ENTRIES[name]
    config = pytest.importorskip("timm").models.get_pretrained_cfg(entry.source.removeprefix("timm "))
    assert entry.network == f"timm:{config.architecture}"
    assert (entry.url, entry.mean, entry.std) == (config.url, config.mean, config.std)
    assert entry.url.endswith(f"-{entry.sha256}.pth")


def test_files_of_one_publisher_without_a_hash_are_expected_alike():
    entries = [entry for name, entry in ENTRIES.items() if name.startswith("repdistiller/")]
    assert len(entries) == 6
    assert {(entry.sha256, entry.data, entry.mean, entry.std) for entry in entries} == {
        (None, "CIFAR100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    }


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "elsewhere" / "resnet8.pth"
    file.parent.mkdir()
    torch.save({"model": resnet8(3).state_dict(), "epoch": 240}, file)
    return file


@pytest.fixture
def publish(tmp_path, monkeypatch, source):
    """Makes a ``teachers.yaml`` of one entry with the given changes, and returns the entry."""
    monkeypatch.setattr(published, "TEACHERS", tmp_path / "teachers.yaml")

    def make(**changes):
        entry = {
            "network": "resnet8",
            "data": "colours",
            "url": source.as_uri(),
            "sha256": None,
            "accuracy": None,
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "source": "a README",
        } | changes
        entry = {key: value for key, value in entry.items() if value != "left out"}
        published.TEACHERS.write_text(yaml.safe_dump({NAME: entry}))
        return published_teachers()[NAME]

    return make


@pytest.mark.parametrize("digits", [64, 8])
def test_a_file_is_downloaded_once_and_held_to_its_hash(publish, source, tmp_path, digits, capsys):
    teacher = publish(sha256=sha256_of(source)[:digits])
    file = fetch(teacher, tmp_path / "kept")
    assert file == tmp_path / "kept" / "mine_resnet8_colours.pth"
    assert file.read_bytes() == source.read_bytes()
    assert "unverified" not in capsys.readouterr().out
    source.unlink()
    assert fetch(teacher, tmp_path / "kept") == file
    record(teacher, file, sha256_of(file))
    assert list(file.parent.iterdir()) == [file]


def test_a_download_of_another_hash_is_refused_and_not_kept(publish, source, tmp_path):
    teacher = publish(sha256="0" * 64)
    with pytest.raises(InputError, match=f"is {sha256_of(source)}, teachers.yaml has 0000"):
        fetch(teacher, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_put_there_by_hand_is_taken_if_its_hash_is_the_known_one(publish, source, tmp_path):
    teacher = publish(sha256=sha256_of(source)[:8], url="http://127.0.0.1:9/ckpt.pth")
    file = teacher.file(tmp_path)
    file.write_bytes(source.read_bytes())
    assert fetch(teacher, tmp_path) == file
    file.write_bytes(b"something else")
    with pytest.raises(InputError, match="was not read and is removed"):
        fetch(teacher, tmp_path)
    assert not file.exists()


def test_a_hash_that_nobody_published_is_written_down_for_the_next_start(publish, source, tmp_path, capsys):
    teacher = publish()
    file = fetch(teacher, tmp_path, quiet=False)
    assert "unverified" in capsys.readouterr().out
    record(teacher, file, sha256_of(file))
    assert sha256_of(source) in capsys.readouterr().out
    written = file.with_name("mine_resnet8_colours.pth.sha256")
    assert written.read_text() == f"{sha256_of(source)}  {file.name}\n"
    fetch(teacher, tmp_path)
    record(teacher, file, sha256_of(file))
    assert capsys.readouterr().out == ""
    file.write_bytes(b"something else")
    with pytest.raises(InputError, match=str(written)):
        fetch(teacher, tmp_path)
    assert not file.exists()
    # A later download is held to the record as well.
    source.write_bytes(b"yet another")
    with pytest.raises(InputError, match=hashlib.sha256(b"yet another").hexdigest()):
        fetch(teacher, tmp_path)


def test_a_record_that_holds_no_hash_is_not_taken_for_one(publish, tmp_path):
    teacher = publish()
    file = fetch(teacher, tmp_path)
    file.with_name(f"{file.name}.sha256").write_text("\n")
    with pytest.raises(InputError, match="has none"):
        fetch(teacher, tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/ckpt.pth", "file:///nowhere/ckpt.pth"])
def test_a_failed_download_is_one_line_with_the_address_and_the_place_for_a_file(publish, tmp_path, url, capsys):
    with pytest.raises(InputError) as error:
        fetch(publish(url=url), tmp_path / "kept", quiet=False)
    for piece in (url, "failed", str(tmp_path / "kept" / "mine_resnet8_colours.pth")):
        assert piece in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "kept").iterdir()) == []
    assert ("on its way" in capsys.readouterr().out) == url.startswith("http:")


def test_a_connection_that_breaks_off_leaves_nothing(publish, tmp_path):
    class Half(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Half)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with pytest.raises(InputError, match=r"4 of 1,000 bytes|IncompleteRead"):
        fetch(publish(url=f"http://127.0.0.1:{server.server_port}/ckpt.pth"), tmp_path / "kept")
    thread.join()
    server.server_close()
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.fixture
def serve():
    """Answers each request of a path by a redirection there or by some bytes, on this machine; returns its address."""
    servers = []

    def make(answers: dict[str, str | bytes]) -> str:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                answer = answers[self.path]
                if isinstance(answer, str):
                    self.send_response(302)
                    self.send_header("Location", answer)
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Answers)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield make
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_redirection_is_followed_and_its_content_held_to_the_hash(publish, source, serve, tmp_path):
    address = serve({"/ckpt.pth": "/moved.pth", "/moved.pth": source.read_bytes()})
    teacher = publish(url=f"{address}/ckpt.pth", sha256=sha256_of(source))
    assert fetch(teacher, tmp_path / "kept").read_bytes() == source.read_bytes()
    teacher = publish(url=f"{address}/ckpt.pth", sha256="0" * 64)
    with pytest.raises(InputError, match=r"teachers\.yaml has 0000"):
        fetch(teacher, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("there", ["ftp://127.0.0.1/ckpt.pth", "file:///etc/passwd", "data:,text"])
def test_a_redirection_to_what_is_no_web_address_is_refused(publish, serve, tmp_path, there):
    teacher = publish(url=f"{serve({'/ckpt.pth': there})}/ckpt.pth")
    with pytest.raises(
        InputError, match=r"failed: (it is redirected from http to ftp, |HTTP Error 302: .* Redirection to url )"
    ) as error:
        fetch(teacher, tmp_path / "kept")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_redirection_from_https_to_http_is_refused_and_one_to_https_is_not():
    def follow(here, there):
        return published._NoWeakerRedirect().redirect_request(Request(here), None, 302, "Found", {}, there)

    with pytest.raises(OSError, match="redirected from https to http, http://b/x, which is not followed"):
        follow("https://a/x", "http://b/x")
    for here, there in (("https://a/x", "https://b/x"), ("http://a/x", "https://b/x"), ("http://a/x", "http://b/x")):
        assert follow(here, there).full_url == there


def test_nothing_has_the_files_name_before_its_hash_is_known_to_be_right(publish, source, tmp_path, monkeypatch):
    seen = []

    def look(content, known, by, file):
        seen.append((content, content.parent == file.parent, file.exists()))
        verify(content, known, by, file)

    verify = published._verify
    monkeypatch.setattr(published, "_verify", look)
    file = fetch(publish(sha256=sha256_of(source)), tmp_path / "kept")
    assert [each[1:] for each in seen] == [(True, False)]
    assert seen[0][0] != file


def test_no_name_of_an_entry_leads_out_of_the_folder(publish, tmp_path):
    teacher = replace(publish(), name="../../outside/..", url="https://a/b.pth/../..%2f..%2fx.pth?/../y")
    assert teacher.file(tmp_path).parent == tmp_path
    assert teacher.file(tmp_path).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.sha256 is not None])
def test_what_has_a_hash_comes_over_https(name):
    assert ENTRIES[name].url.startswith("https://")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"sha256": "no hash"}, "sha256=no hash: give 8 to 64"),
        ({"sha256": "abc"}, "sha256=abc"),
        ({"colour": "red"}, "'colour'"),
        ({"url": "left out"}, "'url'"),
        ({"url": "ftp://somewhere/ckpt.pth"}, "url=ftp://somewhere/ckpt.pth: give an address of https, http, file"),
        ({"url": "/etc/passwd"}, "url=/etc/passwd: give an address of https"),
        ({"mean": "left out"}, "'mean' is missing"),
    ],
)
def test_a_bad_entry_is_one_line_that_names_it(publish, changes, line):
    with pytest.raises(InputError) as error:
        publish(**changes)
    assert NAME in str(error.value)
    assert line in str(error.value)


def test_a_name_is_looked_up_and_a_file_comes_first(publish, tmp_path, monkeypatch):
    teacher = publish()
    assert find_published(None) is None
    assert find_published(Path(NAME)) == teacher
    assert find_published(Path("later.pth")) is None  # its reader says that it is missing
    with pytest.raises(InputError, match=f"teacher.weights=mine/resnet8_colour: .*; did you mean {NAME}?"):
        find_published(Path("mine/resnet8_colour"))
    monkeypatch.chdir(tmp_path)
    Path(NAME).parent.mkdir()
    Path(NAME).touch()
    assert find_published(Path(NAME)) is None


def test_network_and_normalisation_are_those_of_the_entry_unless_given(publish, tmp_path):
    publish(args={"a": 1, "b": 2})
    choices = read_choices([f"--teacher.weights={NAME}", "--teacher.std=[1,1,1]", "--teacher.args={b: 3}"])
    teacher = choices.config.teacher
    assert (teacher.name, teacher.args, teacher.weights) == ("resnet8", {"a": 1, "b": 3}, None)
    assert (teacher.mean, teacher.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert choices.published is not None
    written = choices.settings["teacher"]
    assert (written["name"], written["weights"], written["mean"]) == ("resnet8", NAME, [0.1, 0.2, 0.3])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(choices.settings))
    again = read_choices([f"--config={tmp_path / 'config.yaml'}"])
    assert (again.settings, again.config.teacher) == (choices.settings, teacher)


def test_another_network_than_that_of_the_entry_is_refused_where_it_was_named(publish, tmp_path):
    publish()
    assert read_choices([f"--teacher.weights={NAME}", "--teacher.name=resnet8"]).config.teacher.name == "resnet8"
    with pytest.raises(InputError, match=r"teacher\.name=resnet20: mine/resnet8_colours has the weights of resnet8"):
        read_choices([f"--teacher.weights={NAME}", "--teacher.name=resnet20"])
    (tmp_path / "pair.yaml").write_text("teacher: {name: resnet20}\n")
    with pytest.raises(InputError, match=r"teacher\.name=resnet20"):
        read_choices([f"--config={tmp_path / 'pair.yaml'}", f"--teacher.weights={NAME}"])


@pytest.fixture
def study(small):
    """Arguments of a study with the published teacher."""
    given = [argument for argument in small if not argument.startswith("--teacher.name")]
    return [*given, "--methods", "KD", "--train.epochs=1", f"--teacher.weights={NAME}"]


def test_a_study_takes_the_published_teacher_and_writes_down_its_hash(publish, study, source, tmp_path, capsys):
    publish()
    assert main(study) == 0
    printed = capsys.readouterr().out
    assert "downloading" in printed
    assert "states no accuracy" in printed
    (notes,) = (tmp_path / "runs").glob("ImageFolder/resnet8-resnet8/KD-*/seed0/environment.json")
    assert sha256_of(source) in notes.read_text()
    kept = sorted(file.name for file in (tmp_path / "runs" / "teachers" / "published").iterdir())
    assert kept == ["mine_resnet8_colours.pth", "mine_resnet8_colours.pth.sha256"]
    source.unlink()
    assert main(study) == 0
    assert "downloading" not in capsys.readouterr().out


def test_the_accuracy_of_the_entry_is_checked_where_the_file_states_none(publish, study, capsys):
    publish(accuracy=99.0)
    assert main(study) == 2
    assert "where a README (mine/resnet8_colours) states 99.00 %" in capsys.readouterr().err


def test_the_accuracy_of_the_file_comes_before_that_of_the_entry(publish, study, source, tmp_path, capsys):
    other = source.with_name("resnet8.safetensors")
    save_weights(resnet8(3), other, {"accuracy": "98.00"})
    publish(accuracy=99.0, url=other.as_uri())
    assert main(study) == 2
    assert "mine_resnet8_colours.safetensors states 98.00 %" in capsys.readouterr().err


def test_what_could_not_be_read_does_not_become_the_known_content(publish, study, source, tmp_path, capsys):
    source.write_text("<html>an error page</html>")
    publish()
    assert main(study) == 2
    folder = tmp_path / "runs" / "teachers" / "published"
    assert f"or delete {folder / 'mine_resnet8_colours.pth'} to download it again" in capsys.readouterr().err
    assert not (folder / "mine_resnet8_colours.pth.sha256").exists()


def test_a_file_of_another_hash_is_not_read(publish, study, monkeypatch, capsys):
    def read(*arguments):
        raise AssertionError("read")

    monkeypatch.setattr("trg_pyg.study.teacher.load_weights", read)
    publish(sha256="0" * 8)
    assert main(study) == 2
    assert "was not read" in capsys.readouterr().err


def test_quiet_leaves_the_warning_of_a_hash_that_nobody_published(publish, source, tmp_path, capsys):
    entry = publish()
    file = fetch(entry, tmp_path / "kept", quiet=True)
    record(entry, file, sha256_of(file), quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "nobody published its hash, so its content is unverified" in err
    fetch(publish(sha256=sha256_of(source)), tmp_path / "pinned", quiet=True)
    assert capsys.readouterr() == ("", "")
