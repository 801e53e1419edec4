"""What students know of the teacher's token graphs, for images that they were trained on and for others.

    python experiments/studies/lasting/why.py RUN [RUN ...]

Folders of runs, as ``trg run`` writes them. There are as many images of each class, so that chance is the same for
both; of a long tail, others also of the classes with many, medium and few training images alone.
"""

import sys

import torch
from torch import Tensor

from trg_pyg._program import markdown_table
from trg_pyg.data import ImageSet, shots
from trg_pyg.graphs.token_graphs import Measures
from trg_pyg.look.networks import RunNetworks, load_run_networks

OF_A_CLASS, BATCH, SEED = 4, 60, 0
COLUMNS = {
    "cross/same_class": "teacher's edges to the same class",
    "recall/batch_corrected": "recall, batch",
    "recall/image_corrected": "recall, image",
}


def balanced(targets: Tensor, of_a_class: int, generator: torch.Generator) -> Tensor:
    """Return the places of as many images of each class, in random order; all of a class that has fewer."""
    order = torch.randperm(len(targets), generator=generator)
    chosen = torch.cat([order[targets[order] == label][:of_a_class] for label in targets.unique()])
    return chosen[torch.randperm(len(chosen), generator=generator)]


def measure(networks: RunNetworks, source: ImageSet, of_a_class: int = OF_A_CLASS, batch: int = BATCH) -> Measures:
    """Return means over batches of :meth:`~trg_pyg.graphs.TokenGraphs.measure`; what is left of a batch is not used."""
    assert networks.teacher is not None
    generator = torch.Generator().manual_seed(SEED)
    found = []
    for part in balanced(source.targets, of_a_class, generator).split(batch):
        if len(part) == batch:
            student, teacher = (each(source.images[part]) for each in (networks.after, networks.teacher))
            tokens = networks.graphs.tokenize(student.features[-1], teacher.features[-1], generator)
            found.append(networks.graphs.measure(*tokens, source.targets[part], None))
    return {name: sum(each[name] or 0.0 for each in found) / len(found) for name in COLUMNS}


@torch.no_grad()
def main(runs: list[str]) -> None:
    """Print the table."""
    rows = [["teacher, method", "images", *COLUMNS.values()]]
    for run in runs:
        networks = load_run_networks(run)
        splits = networks.trained.read_data()
        train, test = splits.train, splits.test
        assert isinstance(train, ImageSet)
        assert isinstance(test, ImageSet)
        shown = {"of the training": train, "others": test}
        for group, classes in shots(splits.class_counts).items() if networks.trained.data.long_tailed else ():
            shown[f"others, {group}"] = test.select(torch.isin(test.targets, torch.tensor(classes)))
        name = f"{networks.trained.settings['teacher']['name']}, {networks.trained.method}"
        for images, source in shown.items():
            found = measure(networks, source)
            rows.append([name, images, *(f"{found[column]:.3f}" for column in COLUMNS)])
    print(markdown_table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
