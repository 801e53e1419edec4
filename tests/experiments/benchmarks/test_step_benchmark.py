from experiments.benchmarks.step import main


def test_a_row_for_the_floor_and_for_every_method(capsys):
    main(["KD", "TRG"], teacher="resnet8", student="resnet8", batch_size=4, steps=2, num_classes=3)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| ")
    ]
    assert [row[0] for row in rows] == ["method", "floor", "KD", "TRG", "KD + TRG"]
    assert rows[2][4] == "1.000"
    assert all(float(row[2]) > 0 for row in rows[1:])
