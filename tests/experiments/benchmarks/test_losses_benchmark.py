from experiments.benchmarks.losses import measure


def test_a_row_for_a_method_with_the_same_gradients():
    options = {"teacher": "resnet8", "student": "resnet8", "batch_size": 4, "num_classes": 3, "train_images": 30}
    (row,) = measure(("PKT",), repeats=2, backend="aot_eager", **options)
    assert row.method == "PKT"
    assert row.largest_difference < 1e-5
    assert row.seconds_to_compile > 0
