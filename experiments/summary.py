"""What a study is about to do, in a few lines."""

from experiments.config import NetworkConfig
from experiments.study import Study, build_network
from trg_pyg.models.taps import NetworkInfo


def announce(study: Study) -> None:
    """Print data, networks, methods and device."""
    config, splits = study.config, study.splits
    data = type(config.data).__name__
    counts = splits.class_counts
    origin = " (held out of the training set)" if splits.evaluated == "validation" else ""
    print(
        f"data     {data}: {len(splits.train):,} training and {len(splits.test):,} {splits.evaluated} images{origin} "
        f"of {splits.image_size}x{splits.image_size}, {len(splits.classes)} classes of {min(counts)} to {max(counts)}"
    )
    if study.shots:
        print("         classes: " + ", ".join(f"{len(ids)} {name}" for name, ids in study.shots.items()))
    # The pair with the most taps shows them all.
    pair = max(study.pairs.values(), key=lambda pair: len(pair.student.features))
    if pair.teacher is not None:
        print(f"teacher  {_network(config.teacher, study, pair.teacher)}")
    print(f"student  {_network(config.student, study, pair.student)}")
    names = ", ".join(method.name for method in study.choices.methods)
    print(f"methods  {names}; seeds {', '.join(map(str, study.choices.seeds))}; {config.train.epochs} epochs")
    print(f"runs     {study.folder} on {study.device}", flush=True)


def _network(config: NetworkConfig, study: Study, info: NetworkInfo) -> str:
    model = build_network(config, study.splits, seed=0)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    taps = ", ".join(f"{tap.path} {tap.channels}x{tap.grid[0]}x{tap.grid[1]}" for tap in info.features)
    return f"{config.name}: {parameters:,} parameters" + (f", taps {taps}" if taps else "")
