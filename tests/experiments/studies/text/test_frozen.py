import re

import torch
from safetensors.torch import load_file, save_file

from experiments.studies.text.frozen import features, main
from trg_pyg.config.choices import read_choices
from trg_pyg.data import Reviews, Texts
from trg_pyg.models import load_weights
from trg_pyg.study.study import build_network


def test_the_teacher_that_is_written_has_the_classifier_that_was_measured(tmp_path, monkeypatch, capsys):
    read = Reviews._texts
    monkeypatch.setattr(Reviews, "_texts", lambda self: (Texts(*(part[:90] for part in read(self)[0])), None))
    file, begun, output = (tmp_path / name for name in ("study.yaml", "begun.safetensors", "probe.safetensors"))
    args = "name: text_transformer, args: {width: 16, depth: 1, heads: 2}"
    file.write_text(
        f"data: {{class_path: Reviews}}\nstudent: {{{args}}}\nteacher: {{{args}, weights: {output}, trained: false}}\n"
        "methods: [KD]\n"
    )
    config = read_choices(["--config", str(file), "--dry_run"]).config
    splits = config.data.load()
    config.teacher.weights = None
    network = build_network(config.teacher, splits, seed=5).eval()
    body = {name: each for name, each in network.model.state_dict().items() if not name.startswith("classifier")}
    save_file(body, begun)
    main(str(file), str(begun), str(output))
    said = re.fullmatch(r"(\d+) of 18 test texts, [\d.]+ %\n", capsys.readouterr().out)
    load_weights(network.model, output)
    with torch.inference_mode():
        guesses = network(splits.test.inputs).logits.argmax(1)
    assert int(said[1]) == int((guesses == splits.test.targets).sum())
    assert all(torch.equal(load_file(output)[name], each) for name, each in body.items())
    assert features(network, splits.test).shape == (18, 16)
