"""The guide's notebook runs, what it says is so, and what it has stored is what it computes."""

import base64
import json
import re
from pathlib import Path

import pytest

from experiments.guide import notebook as module
from experiments.guide.notebook import NOTEBOOK, execute, main
from trg_pyg.errors import InputError

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("matplotlib")

STORED = nbformat.read(NOTEBOOK, as_version=4)
CODE = [cell for cell in STORED.cells if cell.cell_type == "code"]
TEXT = "\n\n".join(cell.source for cell in STORED.cells if cell.cell_type == "markdown")
SOURCE = "\n\n".join(cell.source for cell in CODE)
PICTURES = ["tokens", "image-graph", "batch-graph", "distil", "after", "similarity"]

# What the text says, and the same in terms of the notebook's variables. Every number of the text is in one of them.
CLAIMS = {
    "$S$ is a resnet8": "len(student.model.layer1) == 1",
    "$T$ a resnet20": "len(teacher.model.layer1) == 3",
    "by default the last map": "student.taps == teacher.taps == ('layer3',)",
    "60 steps of 32 images": "'train(teacher.parameters(), 60,' in SOURCE and 'batch_size=32' in SOURCE",
    "in evaluation mode": "not any(m.training for m in teacher.modules())"
    " and not any(p.requires_grad for p in teacher.parameters())",
    "here $p = 2$": "tokenize.patch == 2",
    "$N = 16$ of an image": "teacher_tokens.shape[1] == tokenize.grid_tokens == 16",
    "$D_T = 256$ numbers": "teacher_tokens.shape[2] == tokenize.teacher_dim == 256",
    "Here $n = N$": "tokenize.num_tokens == tokenize.grid_tokens",
    "They differ much": "lengths.max() > 2 * lengths.min()",
    "here $K = 4$": "of_images.k == of_batch.k == 4",
    r"$A_{ij} = \exp(-\lVert t_i - t_j \rVert^2 / 2 \sigma)$": "torch.allclose(teacher_graph.edge_weight, "
    "(-torch.nn.functional.normalize(teacher_graph.x, dim=1)[teacher_graph.edge_index].diff(dim=0)[0]"
    ".square().sum(1) / 2 / of_batch.weight.sigma).exp(), atol=1e-5)",
    "one graph an image": "teacher_graphs.num_graphs == len(images)",
    r"$9 \cdot 16 = 144$": "len(images) == 9 and teacher_graph.num_nodes == 144 and teacher_graph.num_graphs == 1",
    "Like patterns of different images are joined": "share > 0.5",
    "the 60 heaviest": "'strongest=60' in SOURCE",
    "one in four": "((digits[:, None] == digits).sum(1) - 1 == (len(digits) - 1) / 4).all().item()",
    "`edge_index` is the same tensor": "on_edges_of_batch.edge_index is teacher_graph.edge_index",
    "so they reach the student": "all(torch.autograd.grad(loss, first_layer, retain_graph=True)[0].norm() > 1e-3"
    " for loss in losses.values())",
    # L_global and L_graph have projections of their own.
    "makes tokens, graphs and losses of a batch": "all(torch.isclose(losses[f'L_{name}'], "
    "distillers['TRG'].relations(student_tokens, teacher_tokens, 0.0)[name][1]) for name in ('inner', 'local'))",
    "64 test images": "len(probe) == 64",
    "$K / (M - 1)$": "chance == 4 / (64 * 16 - 1)",
    "45 steps": "all(history[-1]['epoch'] == 45 for history in histories.values())",
    "A few steps of distillation": "histories['TRG'][0]['recall'] == histories['KD'][0]['recall'] > 10 * chance"
    " and histories['TRG'][-1]['recall'] > histories['TRG'][0]['recall'] + 0.05",
    "of the teacher the softmax all but chooses one": "torch.stack([contextual_similarity(teacher_tokens[i], j,"
    " teacher_graphs[i]).nan_to_num().max() for i in range(9) for j in range(16)]).median() > 0.9",
    "other patches stay bare": "all((~value.isnan()).sum() == 4 for value in maps['CS'])",
}


def outputs(cell) -> list[str]:
    """What a cell gives, with figures that rounding may change left open."""
    found = []
    for output in cell.outputs:
        text = output.text if output.output_type == "stream" else f"{sorted(output.data)} {output.data['text/plain']}"
        found.append(f"{output.get('name', output.output_type)}: " + re.sub(r"\d+\.\d+(e[+-]\d+)?|\d+(?=%)", "#", text))
    return found


def test_every_cell_gives_what_is_stored_and_what_the_text_says_is_so(tmp_path, monkeypatch):
    """In a run far from the notebook's folder, with a last cell that says which claims hold."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    holds = ", ".join(f"bool({claim})" for claim in CLAIMS.values())
    code = f"import json\nSOURCE = {SOURCE!r}\nprint(json.dumps([{holds}]))"
    notebook.cells.append(nbformat.v4.new_code_cell(code, id="claims"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    execute(notebook, folder)
    assert list(folder.iterdir()) == []
    (said,) = notebook.cells.pop().outputs
    assert dict(zip(CLAIMS, json.loads(said.text), strict=True)) == dict.fromkeys(CLAIMS, True)
    now = {cell.id: outputs(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert now == {cell.id: outputs(cell) for cell in CODE}


def test_every_number_of_the_text_is_a_claim():
    text = TEXT
    for claim in CLAIMS:
        assert claim in text
        text = text.replace(claim, "")
    assert re.findall(r"\d", text) == []


def test_the_stored_outputs_are_those_of_one_run_without_a_complaint():
    assert [cell.execution_count for cell in CODE] == list(range(1, len(CODE) + 1))
    given = [output for cell in CODE for output in cell.outputs]
    assert {output.output_type for output in given} == {"stream", "display_data"}
    assert {output.name for output in given if output.output_type == "stream"} == {"stdout"}
    assert [cell.id for cell in CODE if not cell.outputs] == []


def test_the_pictures_are_stored():
    assert [cell.id for cell in CODE if any("image/png" in each.get("data", {}) for each in cell.outputs)] == PICTURES
    for cell in CODE:
        for output in cell.outputs:
            if output.output_type == "display_data":
                picture = base64.b64decode(output.data["image/png"])
                assert picture.startswith(b"\x89PNG")
                assert len(picture) > 5000


def test_the_file_is_small_and_says_nothing_of_the_machine_that_made_it():
    assert NOTEBOOK.stat().st_size < 600_000
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert STORED.metadata == {"kernelspec": kernel}
    assert [cell.id for cell in STORED.cells if cell.metadata] == []
    shown = "\n".join(text for cell in CODE for text in outputs(cell))
    assert re.findall(r"(?:^|[\s'\"(])(?:/|[A-Z]:\\)\S+", SOURCE + TEXT + shown) == []


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert [link for link in links if not (NOTEBOOK.parent / link).is_file()] == []
    assert len(links) == 2


def test_a_cell_that_fails_is_said(tmp_path):
    from nbclient.exceptions import CellExecutionError

    cell = nbformat.v4.new_code_cell("1 / 0")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(nbformat.v4.new_notebook(cells=[cell]), tmp_path)


def test_the_command_stores_what_the_cells_give(tmp_path, monkeypatch, capsys):
    file = tmp_path / "small.ipynb"
    cell = nbformat.v4.new_code_cell("import os; print(6 * 7, os.path.isfile('small.ipynb'))")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
    monkeypatch.setattr(module, "NOTEBOOK", file)
    assert main() == 0
    assert capsys.readouterr().out.startswith("small.ipynb: ")
    stored = nbformat.read(file, as_version=4)
    assert stored.cells[0].outputs[0].text == "42 True\n"
    assert stored.metadata == {}
    assert stored.cells[0].metadata == {}


@pytest.mark.parametrize("missing", ["nbformat", "nbclient", "ipykernel"])
def test_what_is_not_installed_is_named(missing, monkeypatch, capsys):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else object())
    before = NOTEBOOK.read_bytes()
    assert main() == 2
    assert f"{missing} is not installed: pip install 'trg_pyg[dev]'" in capsys.readouterr().err
    assert NOTEBOOK.read_bytes() == before
    if missing != "nbformat":
        with pytest.raises(InputError, match=missing):
            execute(nbformat.v4.new_notebook(), Path())
