import re

from experiments.text.frozen import main
from trg_pyg.data import Reviews


def test_all_test_texts_are_measured(tmp_path, monkeypatch, capsys):
    read = Reviews._texts
    monkeypatch.setattr(
        Reviews, "_texts", lambda self: (type(read(self)[0])(*(part[:90] for part in read(self)[0])), None)
    )
    file = tmp_path / "study.yaml"
    args = "{name: text_transformer, args: {width: 16, depth: 1, heads: 2}}"
    file.write_text(f"data: {{class_path: Reviews}}\nstudent: {args}\nteacher: {args}\nmethods: [KD]\n")
    main(str(file))
    right, whole, share = re.fullmatch(r"(\d+) of (\d+) test texts, ([\d.]+) %\n", capsys.readouterr().out).groups()
    assert int(whole) == 18
    assert float(share) == round(100 * int(right) / 18, 2)
