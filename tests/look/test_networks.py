import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from trg_pyg.cli.run import main
from trg_pyg.distillers.trg import TRG
from trg_pyg.errors import InputError
from trg_pyg.look.networks import load_run_networks, use_batch_statistics
from trg_pyg.training.loop import fit_together
from trg_pyg.use.load import load

METHODS = ["Vanilla", "KD", "TRG", "AT"]


@pytest.fixture(scope="module")
def initial():
    """Weights of the students as their trainings begin, by method."""
    return {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, initial):
    """Finished runs by method, with seed 3."""
    from tests.conftest import write_images

    root = tmp_path_factory.mktemp("study")
    counts = {"red": 12, "green": 12, "blue": 12}
    write_images(root / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})

    def watched(trainees, *args, **kwargs):
        for trainee in trainees:
            state = {name: value.clone() for name, value in trainee.student.model.state_dict().items()}
            initial[type(trainee.distiller).__name__] = state
        return fit_together(trainees, *args, **kwargs)

    given = [
        *("--data=ImageFolder", f"--data.root={root / 'images'}", "--data.size=16"),
        *("--student.name=resnet8", "--teacher.name=resnet14", "--seeds", "3"),
        *("--train.epochs=2", "--train.batch_size=18", "--teacher.train.epochs=1", "--teacher.train.batch_size=18"),
        *("--wandb=disabled", "--device=cpu", "--quiet", f"--output={root / 'runs'}"),
        *("--method_options={TRG: {k: 3, patch: 2, tokens_per_image: null, inner_structure: dense, sigma: 0.5}}",),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trg_pyg.study.train.fit_together", watched)
        assert main([*given, "--methods", *METHODS]) == 0
    return {method: next((root / "runs").glob(f"ImageFolder/resnet14-resnet8/{method}-*/seed3")) for method in METHODS}


def same(network, state):
    own = network.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in state)


@pytest.mark.parametrize("method", METHODS)
def test_before_is_what_the_training_began_with_and_after_what_it_ended_with(method, runs, initial):
    networks = load_run_networks(runs[method])
    assert same(networks.before, initial[method])
    assert same(networks.after, load_file(runs[method] / "last.safetensors"))
    assert not same(networks.after, initial[method])
    assert not any(module.training for network in networks.names().values() for module in network.modules())
    names = ["resnet8 before training", f"resnet8 after {method}"]
    assert list(networks.names()) == (names if method == "Vanilla" else ["teacher resnet14", *names])


def test_before_takes_the_statistics_of_the_images_shown_and_looking_changes_nothing(runs, initial):
    networks = load_run_networks(runs["KD"])
    images = networks.trained.read_data().test.images[:3]
    state = {name: value.clone() for name, value in networks.before.model.state_dict().items() if "tracked" not in name}
    training = load_run_networks(runs["KD"]).before.train()
    for _ in range(2):
        _, before, _ = networks.see(images)
        torch.testing.assert_close(before.features, training(images).features[-1])
    now = networks.before.model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    # Those that were loaded, as with weights of a file, are taken as they are.
    use_batch_statistics(networks.after)
    torch.testing.assert_close(networks.see(images[:1])[2].features, networks.see(images)[2].features[:1])


def test_statistics_of_a_single_value_are_not_taken():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm1d(3)).eval()
    use_batch_statistics(network)
    assert torch.equal(network[0](torch.ones(1, 3, 1, 1)), torch.nn.BatchNorm2d(3).eval()(torch.ones(1, 3, 1, 1)))
    assert network[0](torch.randn(1, 3, 4, 4) * 1e3).std() < 2
    assert network[1](torch.randn(8, 3) * 1e3).std() < 2


def test_zero_tokens_are_told_of_by_the_networks_name(runs, monkeypatch):
    monkeypatch.setattr("trg_pyg.tokens.normalize._told", set())
    networks = load_run_networks(runs["KD"])
    images = networks.trained.read_data().test.images[:2]
    with torch.no_grad():
        for parameter in networks.after.parameters():
            parameter.zero_()
    with pytest.warns(UserWarning, match="32 of 32 tokens of resnet8 after KD are zero vectors"):
        networks.see(images)


def test_the_teacher_is_that_of_the_run(runs):
    teacher = load_run_networks(runs["KD"]).teacher
    file = json.loads((runs["KD"] / "environment.json").read_text())["teacher"]["weights"]
    assert same(teacher, load_file(file))


def test_graphs_are_those_of_the_method_and_trgs_defaults_where_it_has_none(runs):
    graphs = load_run_networks(runs["TRG"]).graphs
    assert (graphs.k, graphs.tokenize.patch, graphs.tokenize.num_tokens, graphs.inner_on_graph) == (3, 2, 4, False)
    assert graphs.edges.weight.sigma == 0.5
    usual = load_run_networks(runs["AT"]).graphs
    assert (usual.k, usual.tokenize.patch, usual.tokenize.num_tokens, usual.inner_on_graph) == (8, 1, 16, True)


def test_tokens_are_those_that_the_distiller_sees(runs):
    networks = load_run_networks(runs["TRG"])
    images = networks.trained.read_data().test.images[:3]
    teacher, before, after = networks.see(images)
    assert (teacher.is_teacher, before.is_teacher, after.is_teacher) == (True, False, False)
    stored = networks.trained.settings["distiller"]
    infos = [network.describe(16) for network in (networks.after, networks.teacher)]
    distiller = TRG(*infos, **stored["init_args"])
    outputs = networks.after(images), networks.teacher(images)
    tokens = distiller.tokenize(outputs[0].features[-1], outputs[1].features[-1], torch.Generator())
    assert torch.equal(networks.tokens(after), tokens[0])
    assert torch.equal(networks.tokens(teacher), tokens[1])
    assert torch.equal(after.embedding, outputs[0].embedding)


def test_a_student_without_a_teacher_is_looked_at_alone(runs):
    networks = load_run_networks(runs["Vanilla"])
    assert networks.teacher is None
    assert networks.graphs.tokenize.num_tokens == 16
    with pytest.raises(InputError, match="Vanilla has no teacher; leave it out"):
        load_run_networks(runs["Vanilla"], teacher=runs["KD"] / "last.safetensors")
    file = json.loads((runs["KD"] / "environment.json").read_text())["teacher"]["weights"]
    folder = file.rpartition("/")[0]
    assert load_run_networks(folder).teacher is None
    assert load(folder).method == "Vanilla"


def test_runs_that_were_moved_find_their_teacher(runs, tmp_path, monkeypatch):
    root = runs["KD"].parents[3]
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    folder = moved / runs["KD"].relative_to(root)
    file = folder / "environment.json"
    file.write_text(file.read_text().replace(str(root), "/no/such/folder/runs"))
    assert same(load_run_networks(folder).teacher, load_run_networks(runs["KD"]).teacher.model.state_dict())
    shutil.rmtree(moved / "teachers")
    with pytest.raises(InputError, match=r"no such file from here; name it with --teacher"):
        load_run_networks(folder)
    (teacher,) = root.glob("teachers/ImageFolder/*/last.safetensors")
    assert load_run_networks(folder, teacher=teacher).teacher is not None


def test_another_teacher_and_a_damaged_folder_are_refused(runs, tmp_path):
    folder = tmp_path / "seed3"
    shutil.copytree(runs["KD"], folder)
    (teacher,) = runs["KD"].parents[3].glob("teachers/ImageFolder/*/last.safetensors")
    other = tmp_path / "other.safetensors"
    shutil.copy(teacher, other)
    state = load_file(other)
    from safetensors.torch import save_file

    save_file({name: value + 1 for name, value in state.items()}, other)
    with pytest.raises(InputError, match=r"the run's teacher had .*; name its file with --teacher"):
        load_run_networks(folder, teacher=other)
    for content, message in (
        ("{", "cannot be read"),
        ("[]", "is none of a run"),
        ('{"teacher": {}}', "does not say which teacher the run had"),
    ):
        (folder / "environment.json").write_text(content)
        with pytest.raises(InputError, match=message):
            load_run_networks(folder)
