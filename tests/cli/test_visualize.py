import json
import re
import shutil

import pytest
import torch
from PIL import Image
from sklearn.metrics import silhouette_score

from tests.conftest import write_images
from trg_pyg.cli import visualize
from trg_pyg.cli.run import main as run
from trg_pyg.cli.visualize import main
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.recall import edge_recall
from trg_pyg.look import album, pictures
from trg_pyg.look.networks import load_run_networks
from trg_pyg.relations.kernels import Gaussian
from trg_pyg.runs import read_history
from trg_pyg.use.load import TrainedNetwork

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from trg_pyg.viz.cross_image import cross_image_lines
from trg_pyg.viz.drawing import SHARED, joined_too
from trg_pyg.viz.neighbours import ranked_neighbours

METHODS = ["Vanilla", "KD", "TRG", "TRGPaper"]
ALL = [
    "neighbours",
    "token_graph",
    "cross_image",
    "similarity_cosine",
    "similarity_softmax",
    "embedding",
    "edge_recall",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by method."""
    root = tmp_path_factory.mktemp("study")
    counts = {"red": 12, "green": 12, "blue": 12}
    write_images(root / "images", {"train": counts, "test": dict.fromkeys(counts, 6)})
    given = [
        *("--data=ImageFolder", f"--data.root={root / 'images'}", "--data.size=16"),
        *("--student.name=resnet8", "--teacher.name=resnet8"),
        *("--train.epochs=2", "--train.batch_size=18", "--teacher.train.epochs=1", "--teacher.train.batch_size=18"),
        *("--wandb=disabled", "--device=cpu", "--quiet", f"--output={root / 'runs'}"),
        "--method_options={TRG: {k: 4, tokens_per_image: 10, sigma: 0.5}, TRGPaper: {k: 5}}",
    ]
    assert run([*given, "--methods", *METHODS]) == 0
    return {method: next((root / "runs").glob(f"ImageFolder/resnet8-resnet8/{method}-*/seed0")) for method in METHODS}


@pytest.fixture
def figures(monkeypatch):
    """Figures of the pictures that are drawn, by name, with their captions."""
    drawn = {}
    save = visualize._save

    def remember(picture, folder, formats):
        drawn[picture.name] = picture
        return save(picture, folder, formats)

    monkeypatch.setattr(visualize, "_save", remember)
    return drawn


def collections(axes):
    """Edges that are drawn in axes."""
    return [each for each in axes.collections if type(each).__name__ == "LineCollection"]


def panels(picture):
    """Axes of a picture but for those of colour bars."""
    return [axes for axes in picture.figure.axes if axes.get_label() != "<colorbar>"]


def test_all_pictures_of_a_run_with_captions_and_index(runs, figures, tmp_path, capsys):
    given = [str(runs["TRG"]), "--compare", str(runs["TRGPaper"]), "--output", str(tmp_path), "--format", "png", "svg"]
    assert main(given) == 0
    assert list(figures) == ALL
    index = (tmp_path / "index.md").read_text()
    command = "trg visualize " + " ".join(given)
    for name, picture in figures.items():
        assert Image.open(tmp_path / f"{name}.png").size[0] > 500
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()
        assert f"![{name}]({name}.png)\n\n{picture.caption}\n\n`{command}`\n" in index
        assert picture.figure.get_supxlabel() == ""
        assert "TRG's by default" not in picture.caption
    assert str(tmp_path / "token_graph.svg") in capsys.readouterr().out


def test_a_caption_is_in_the_picture_where_that_is_asked_for(runs, figures):
    # In the folder of the run, where no other is named.
    given = [str(runs["TRG"]), "--pictures", "edge_recall", "--caption"]
    assert main(given) == 0
    assert (runs["TRG"] / "pictures" / "edge_recall.png").is_file()
    told = f"{figures['edge_recall'].caption}trg visualize {' '.join(given)}"
    # Lines are broken to fit, long paths within a word.
    assert "".join(figures["edge_recall"].figure.get_supxlabel().split()) == "".join(told.split())


def test_token_graphs_are_those_of_the_run_before_and_after(runs, figures, tmp_path):
    assert main([str(runs["TRG"]), "--pictures", "token_graph", "--test", "2", "--output", str(tmp_path)]) == 0
    networks = load_run_networks(runs["TRG"])
    test = networks.trained.read_data().test
    index = pictures.choose_examples(test.targets, 2)
    images = test.images[index]
    positions = networks.graphs.tokenize.positions(2, torch.Generator().manual_seed(0))
    build = KNNGraph(4, Gaussian(0.5))
    graphs = [build(networks.tokens(seen, positions)) for seen in networks.see(images)]
    axes = panels(figures["token_graph"])
    assert len(axes) == 2 * 4
    for row in range(2):
        of_teacher = lines_of(graphs[0][row], 2)
        for column, graph in enumerate(graphs):
            (drawn,) = collections(axes[4 * row + 1 + column])
            lines = lines_of(graph[row], 2)
            shared = len(lines.keys() & of_teacher.keys())
            assert sorted(drawn.get_linewidths()) == [1.1] * (len(lines) - sum(lines.values())) + [2.6] * sum(
                lines.values()
            )
            assert [to_hex(colour) for colour in drawn.get_colors()].count(SHARED) == shared
            title = axes[4 * row + 1 + column].get_title()
            if column > 0:
                chance = len(lines) * len(of_teacher) / 45
                assert f"{shared} of {len(lines)} lines are the teacher's\n(by chance {chance:.0f})" in title
    assert [axes[i].get_title().split("\n")[0] for i in (1, 2, 3)] == list(networks.names())
    caption = figures["token_graph"].caption
    for name, graph in list(zip(networks.names(), graphs, strict=True))[1:]:
        recall = edge_recall(graph, graphs[0]).item()
        corrected = (recall - 4 / 9) / (1 - 4 / 9)
        assert f"{name}: edge recall {recall:.2f}, chance 0.44, corrected {corrected:.2f}." in caption
    assert "10 of the 16 tokens" in caption
    assert "K = 4" in caption


def lines_of(graph, best):
    """Pairs of tokens that a graph's best edges join, and whether both ways, by a loop."""
    chosen = set()
    for token in range(graph.num_nodes):
        into = [edge for edge in range(graph.num_edges) if graph.edge_index[1, edge] == token]
        heaviest = sorted(into, key=lambda edge: -graph.edge_weight[edge].item())[:best]
        chosen |= {(int(graph.edge_index[0, edge]), token) for edge in heaviest}
    return {frozenset(pair): pair[::-1] in chosen for pair in chosen}


def test_lines_between_images_are_the_heaviest_of_each_token(runs, figures, tmp_path):
    given = [str(runs["TRGPaper"]), "--pictures", "cross_image", "--test", "3", "--edges", "7"]
    assert main([*given, "--output", str(tmp_path)]) == 0
    networks = load_run_networks(runs["TRGPaper"])
    test = networks.trained.read_data().test
    images = test.images[pictures.choose_examples(test.targets, 3)]
    build = KNNGraph(5, scope="batch")
    graphs = [build(networks.tokens(seen)) for seen in networks.see(images)]
    for axes, name, graph in zip(panels(figures["cross_image"]), networks.names(), graphs, strict=True):
        edges, _ = cross_image_lines(graph, 7)
        (lines,) = collections(axes)
        assert len(lines.get_segments()) == len(edges) == 7
        source, target = graph.image[graph.edge_index]
        share = 100 * (source != target).sum().item() / graph.num_edges
        assert f"{share:.0f} % ({name})" in figures["cross_image"].caption
        shared = joined_too(graph, edges, graphs[0], cross_image_lines(graphs[0])[0]).sum()
        assert [to_hex(colour) for colour in lines.get_colors()].count(SHARED) == shared
        assert (f"{shared} of 7 lines are the teacher's" in axes.get_title()) == (graph is not graphs[0])
        assert len(axes.images) == 3
    assert "of these the 7 heaviest of each network" in figures["cross_image"].caption


def test_nearest_patches_are_those_of_all_images_and_hits_are_framed(runs, figures, tmp_path):
    given = [str(runs["TRG"]), "--pictures", "neighbours", "--test", "2", "--token", "1", "3"]
    assert main([*given, "--output", str(tmp_path)]) == 0
    networks = load_run_networks(runs["TRG"])
    test = networks.trained.read_data().test
    images = test.images[pictures.choose_examples(test.targets, 2)]
    build = KNNGraph(4, Gaussian(0.5), scope="batch")
    graphs = [build(networks.tokens(seen)) for seen in networks.see(images)]
    # Of each image itself, and of each network its name and the four nearest.
    axes = panels(figures["neighbours"])
    assert len(axes) == 2 * (1 + 3 * 5)
    for number in range(2):
        nearest = [ranked_neighbours(graph, 16 * number + 7).tolist() for graph in graphs]
        for place, of_network in enumerate(nearest):
            *row, name = axes[16 * number + 1 + 5 * place :][:5]
            hits = [panel.axison for panel in row]
            assert hits == [place > 0 and node in nearest[0] for node in of_network]
            told = name.texts[0].get_text().split("\n")
            assert " ".join(told[: len(told) - (place > 0)]) == list(networks.names())[place]
            assert (told[-1] == f"{sum(hits)} of 4 found") == (place > 0)
    (key,) = figures["neighbours"].figure.legends
    assert key.get_texts()[1].get_text() == "the teacher has it among its 4 nearest too (by chance 0.5 of 4)"


@pytest.mark.parametrize(("method", "dense"), [("TRG", False), ("TRGPaper", True)])
def test_similarity_maps_are_those_of_the_transcription(method, dense, runs, figures, tmp_path):
    given = [str(runs[method]), "--pictures", "similarity", "--test", "1", "--token", "1", "3"]
    assert main([*given, "--output", str(tmp_path)]) == 0
    networks = load_run_networks(runs[method])
    test = networks.trained.read_data().test
    images = test.images[pictures.choose_examples(test.targets, 1)]
    tokens = [networks.tokens(seen)[0] for seen in networks.see(images)]
    token = 1 * 4 + 3
    neighbours = KNNGraph(4)(tokens[0][None]).edge_index
    neighbours = neighbours[0][neighbours[1] == token]
    for name in ("similarity_cosine", "similarity_softmax"):
        axes = panels(figures[name])
        assert len(axes) == 4
        for panel, x in zip(axes[1:], tokens, strict=True):
            found = torch.tensor(panel.images[-1].get_array().filled(torch.nan)).flatten()
            if name == "similarity_cosine":
                expected = torch.cosine_similarity(x, x[token : token + 1])
            elif dense:
                expected = torch.softmax(x @ x[token] / x.shape[1] ** 0.5, dim=0)
            else:
                expected = torch.full((16,), torch.nan)
                expected[neighbours] = torch.softmax(x[neighbours] @ x[token] / x.shape[1] ** 0.5, dim=0)
            torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-4, atol=1e-6)
            # Each network's scale spans its own values, the token itself left out.
            others = torch.cat([expected[:token], expected[token + 1 :]])
            others = others[~others.isnan()]
            limits = panel.images[-1].get_clim()
            assert limits == pytest.approx((others.min().item(), others.max().item()), rel=1e-3)
    support = "inner_structure=dense" if dense else "inner_structure=graph"
    assert support in figures["similarity_softmax"].caption
    assert "row 1, column 3" in figures["similarity_cosine"].caption


def test_silhouettes_are_those_of_the_features_and_not_of_the_picture(runs, figures, tmp_path):
    given = [str(runs["TRG"]), "--compare", str(runs["KD"]), "--pictures", "embedding", "--classes", "red", "blue"]
    assert main([*given, "--output", str(tmp_path)]) == 0
    networks, other = load_run_networks(runs["TRG"]), load_run_networks(runs["KD"])
    splits = networks.trained.read_data()
    chosen = [splits.classes.index(name) for name in ("red", "blue")]
    index = torch.isin(splits.test.targets, torch.tensor(chosen))
    images, targets = splits.test.images[index], splits.test.targets[index]
    wanted = {
        "teacher resnet8": networks.teacher,
        "resnet8 after TRG": networks.after,
        "resnet8 after KD": other.after,
    }
    axes = panels(figures["embedding"])
    for panel, (name, network) in zip(axes, wanted.items(), strict=True):
        with torch.no_grad():
            features = network(images).embedding
        score = silhouette_score(features.double().numpy(), targets.numpy())
        assert panel.get_title() == f"{name}\nsilhouette {score:.3f}"
        assert [len(each.get_offsets()) for each in panel.collections] == [6, 6]
    (legend,) = figures["embedding"].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["red", "blue"]
    assert "of 12 test images of 2 of 3 classes" in figures["embedding"].caption
    assert "not on the picture" in " ".join(figures["embedding"].caption.split())


def test_edge_recall_is_that_of_metrics_and_runs_without_it_are_named(runs, figures, tmp_path, capsys):
    given = [str(runs["TRG"]), "--compare", str(runs["TRGPaper"]), str(runs["KD"]), "--pictures", "edge_recall"]
    assert main([*given, "--output", str(tmp_path)]) == 0
    lines = panels(figures["edge_recall"])[0].lines
    chances, lines = lines[::2], lines[1::2]
    for line, chance, method in zip(lines, chances, ("TRG", "TRGPaper"), strict=True):
        assert set(chance.get_ydata()) == {read_history(runs[method])[-1]["graph/edge_recall_chance"]}
        assert ", corrected " in line.get_label()
    for line, method in zip(lines, ("TRG", "TRGPaper"), strict=True):
        history = read_history(runs[method])
        assert line.get_xdata().tolist() == [1, 2]
        assert line.get_ydata().tolist() == [epoch["graph/edge_recall"] for epoch in history]
        assert line.get_label().startswith(f"resnet8 after {method}: ")
    reason = "edge_recall has no line of resnet8 after KD: no graph/edge_recall in metrics.jsonl"
    assert reason in capsys.readouterr().out
    assert reason in (tmp_path / "index.md").read_text()


def test_a_method_without_a_teacher_is_drawn_alone_and_it_is_said(runs, figures, tmp_path, capsys):
    assert main([str(runs["Vanilla"]), "--test", "2", "--output", str(tmp_path)]) == 0
    assert list(figures) == ALL[:-1]
    for axes in panels(figures["cross_image"]):
        (lines,) = collections(axes)
        weights = lines.get_array()
        assert lines.get_clim() == pytest.approx((weights.min(), weights.max()))
    assert "edge_recall is left out: no run has graph/edge_recall" in capsys.readouterr().out
    assert len(panels(figures["token_graph"])) == 2 * 3
    for name in ALL[:5]:
        assert "Vanilla has no teacher, so the student alone is shown" in figures[name].caption
        assert "Vanilla has no token graphs, these are TRG's by default" in figures[name].caption
        assert "Edge recall" not in figures[name].caption
    assert "(Vanilla has no teacher)" in figures["embedding"].caption


def test_image_files_are_shown_as_the_run_reads_its_images(runs, figures, tmp_path):
    root = runs["TRG"].parents[4] / "images" / "test"
    files = [root / "red" / "0.png", root / "blue" / "1.png"]
    large = tmp_path / "large" / "one.png"
    large.parent.mkdir()
    Image.open(files[0]).resize((64, 32)).save(large)
    given = [str(runs["TRG"]), "--pictures", "token_graph", "--images", *map(str, [*files, large])]
    assert main([*given, "--output", str(tmp_path)]) == 0
    axes = panels(figures["token_graph"])
    splits = load_run_networks(runs["TRG"]).trained.read_data()
    shown = axes[0].images[0].get_array()
    reds = splits.test.images[splits.test.targets == splits.classes.index("red")]
    assert any(torch.equal(torch.tensor(shown), image.permute(1, 2, 0)) for image in reds)
    assert [axes[i].get_title() for i in (0, 4, 8)] == ["red/0.png", "blue/1.png", "large/one.png"]
    assert "Token graphs of 3 image files" in figures["token_graph"].caption


def test_a_folder_of_images_is_shown_and_too_many_are_refused(runs, figures, tmp_path, capsys):
    given = [str(runs["TRG"]), "--pictures", "token_graph", "--output", str(tmp_path / "pictures"), "--images"]
    assert main([*given, str(runs["TRG"].parents[4] / "images" / "test" / "red")]) == 0
    assert "Token graphs of 6 image files" in figures["token_graph"].caption
    for number in range(32):  # and the picture that was drawn
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number}.png")
    assert main([*given, str(tmp_path)]) == 2
    assert "--images: 33 files, and a picture has a row for each; name 32 at most" in capsys.readouterr().err


def test_a_long_label_is_broken_after_the_folder_and_shows_the_end_of_names():
    assert pictures._in_lines("castle/IMG_1143.JPG", 30) == "castle/IMG_1143.JPG"
    assert pictures._in_lines("motorcycle/minibike_s_000052.png", 18) == "motorcycle/\n\u2026bike_s_000052.png"


def test_edge_recall_of_one_epoch_is_no_curve(runs, tmp_path, capsys):
    folder = shutil.copytree(runs["TRG"].parents[4], tmp_path / "study") / runs["TRG"].relative_to(
        runs["TRG"].parents[4]
    )
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    first = {name: value for name, value in json.loads(lines[0]).items() if not name.startswith("graph/")}
    (folder / "metrics.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]))
    given = ["--pictures", "edge_recall", "--output", str(tmp_path / "out")]
    assert main([str(folder), *given]) == 2
    assert "it was measured once, which makes no curve: resnet8 after TRG (epoch 2)" in capsys.readouterr().err
    assert main([str(runs["TRGPaper"]), "--compare", str(folder), *given]) == 0
    assert "edge_recall has no line of resnet8 after TRG (epoch 2): measured once" in capsys.readouterr().out


def test_long_names_are_broken_between_words():
    assert pictures._wrapped("resnet8 before training") == "resnet8 before training"
    name = "timm:mobilenetv3_small_050 before training"
    assert pictures._wrapped(name) == "timm:mobilenetv3_small_050\nbefore training"


@pytest.mark.parametrize(("times", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (5, 1, 5), (8, 2, 4)])
def test_frames_fill_the_rows_of_a_sheet(times, rows, columns):
    clips = torch.arange(16, dtype=torch.uint8).view(1, 1, 16, 1, 1).expand(2, 3, 16, 4, 6)
    sheet, across = pictures.sheets(clips, times)
    assert across == columns
    assert sheet.shape == (2, 3, 4 * rows, 6 * columns)
    assert sheet[0, 0, ::4, ::6].flatten().tolist() == [(2 * i + 1) * 16 // (2 * times) for i in range(times)]


def test_examples_are_two_of_a_class_and_classes_are_capped():
    targets = torch.arange(30) % 5
    chosen = pictures.choose_examples(targets, 6)
    assert torch.equal(chosen, pictures.choose_examples(targets, 6))
    assert targets[chosen].bincount().sort().values.tolist()[-3:] == [2, 2, 2]
    assert pictures.choose_examples(targets, 30).sort().values.tolist() == list(range(30))
    few = pictures.choose_of_classes(targets, [1, 3], 7)
    assert len(few) == 7
    assert set(targets[few].tolist()) == {1, 3}
    assert pictures.choose_of_classes(targets, [1, 3], 12).tolist() == [i for i in range(30) if i % 5 in (1, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", "4", "0"], r"--token 4 0: the token grid is 4x4; give row 0 to 3, column 0 to 3"),
        (["--token", "0", "-1"], r"--token 0 -1: the token grid is 4x4"),
        (["--token", "0"], r"--token 0: the token grid is 4x4; give row 0 to 3, column 0 to 3"),
        (["--images", "no.png"], "no.png: there is no such file or folder"),
        (["--images", __file__], r"--images: cannot be read: .*test_visualize.py \(it is no image of a known format\)"),
        (["--classes", *map(str, range(11))], "11 classes: 10 colours can be told apart"),
        (["--classes", "red", "blu"], r"--classes blu: no such class; did you mean blue\?"),
        (["--classes", "red"], "one class has no silhouette"),
        (["--classes", "red", "red"], "one is named twice"),
        (["--features", "3"], "an embedding needs 4 images or more"),
        (["--test", "0"], "--test 0: give 1 or more"),
        (["--test", "99"], "--test 99: the evaluated images are 18"),
        (["--edges", "0"], "--edges 0: give 1 or more"),
        (["--pictures", "cross_image", "--test", "1"], "cross_image needs 2 images or more"),
        (["--compare", "{TRG}"], "--compare: a run is named twice"),
        (["--teacher", "{TRG}/last.safetensors"], "the run's teacher had"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_any_work(arguments, message, runs, figures, tmp_path, capsys):
    arguments = [each.format(**{name: str(folder) for name, folder in runs.items()}) for each in arguments]
    assert main([str(runs["TRG"]), "--output", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not figures
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_shown_are_said_before_networks_and_data_are_read(runs, monkeypatch, capsys):
    monkeypatch.setattr(TrainedNetwork, "read_data", lambda self: pytest.fail("data were read"))
    assert main([str(runs["Vanilla"]), "--images", __file__]) == 2
    monkeypatch.setattr(album, "load_run_networks", lambda *args: pytest.fail("networks were read"))
    assert main([str(runs["Vanilla"]), "--images", "no.png"]) == 2
    assert "no.png: there is no such file" in capsys.readouterr().err


def test_a_picture_that_is_asked_for_by_name_must_be_there(runs, capsys):
    assert main([str(runs["KD"]), "--pictures", "edge_recall"]) == 2
    assert "no run has graph/edge_recall in its metrics.jsonl" in capsys.readouterr().err
    assert main([str(runs["KD"].parent)]) == 2
    assert "there are runs in it" in capsys.readouterr().err


def test_a_grid_of_one_token_has_no_graph(runs, capsys, monkeypatch):
    load = album.load_run_networks

    def coarse(*args):
        networks = load(*args)
        networks.graphs.tokenize.token_grid = (1, 1)
        return networks

    monkeypatch.setattr(album, "load_run_networks", coarse)
    for name in ("token_graph", "similarity"):
        assert main([str(runs["TRG"]), "--pictures", name]) == 2
        error = capsys.readouterr().err
        assert "the token grid is 1x1, and one token has no neighbours: choose --pictures embedding" in error


def test_other_classes_are_not_compared(runs, tmp_path, capsys):
    counts = {"cat": 12, "dog": 12}
    write_images(tmp_path / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})
    given = [
        *("--data=ImageFolder", f"--data.root={tmp_path / 'images'}", "--data.size=16", "--student.name=resnet8"),
        *("--train.epochs=1", "--wandb=disabled", "--device=cpu", "--quiet", f"--output={tmp_path / 'runs'}"),
    ]
    assert run([*given, "--methods", "Vanilla"]) == 0
    (other,) = tmp_path.glob("runs/ImageFolder/*/Vanilla-*/seed0")
    assert main([str(runs["TRG"]), "--compare", str(other)]) == 2
    assert "it has other classes or images of another size or kind than" in capsys.readouterr().err


def test_a_missing_matplotlib_is_said_before_a_run_is_read(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert main(["no such run"]) == 2
    assert "pip install 'trg_pyg[lab]'" in capsys.readouterr().err
