"""Features of images in the plane."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.viz.drawing import in_legend

# Paul Tol's "muted" scheme, which the colour blind can tell apart, and black; each with a marker of its own.
CLASS_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000"),
)
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_PERPLEXITY = 30.0


def tsne_points(features: Tensor, seed: int = 0) -> Tensor:
    """Return the features in the plane by t-SNE (scikit-learn, from the two main components).

    Distances between far groups, and the sizes of groups, mean nothing in such a picture.

    Args:
        features: ``[N, d]``, d >= 2.
        seed: of the random state.

    Returns:
        ``[N, 2]``, the same for the same features and seed.

    Raises:
        InputError: there are fewer than 4 features, or they have one dimension.
    """
    require(
        features.dim() == 2 and features.shape[0] >= 4 and features.shape[1] >= 2,
        f"features {tuple(features.shape)}: t-SNE needs at least 4 of at least 2 dimensions",
    )
    from sklearn.manifold import TSNE  # takes seconds to import

    tsne = TSNE(2, perplexity=perplexity_of(len(features)), init="pca", random_state=seed)
    return features.new_tensor(tsne.fit_transform(features.detach().cpu().double().numpy()))


def perplexity_of(features: int) -> float:
    """Return t-SNE's perplexity for so many features: 30, or less where a third of them is less."""
    return min(_PERPLEXITY, (features - 1) / 3)


def silhouette(features: Tensor, labels: Tensor) -> float:
    """Return the mean silhouette coefficient of classes, by Euclidean distance of the features (scikit-learn).

    Args:
        features: ``[N, d]``.
        labels: class of each, ``[N]``.

    Returns:
        In [-1, 1]; 1 for classes that are far apart and small, about 0 for classes that overlap.

    Raises:
        InputError: the classes are fewer than 2, or as many as the features.
    """
    classes = len(labels.unique())
    require(
        2 <= classes < len(labels),
        f"{len(labels)} features of {classes} classes: a silhouette needs 2 classes or more, and more features",
    )
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features.detach().cpu().double().numpy(), labels.cpu().numpy()))


def draw_embedding(axes: Any, points: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Draw points in the plane, each class in a colour and with a marker of its own.

    Args:
        axes: matplotlib's, to draw in; a legend can be made of it.
        points: ``[N, 2]``.
        labels: ``[N]``, places in ``names``.
        names: of the classes, at most 10.

    Raises:
        InputError: there are more classes than colours, or a label has no name.
    """
    check_colours(len(names))
    require(
        int(labels.min()) >= 0 and int(labels.max()) < len(names),
        f"labels from {int(labels.min())} to {int(labels.max())} for {len(names)} names: they count from 0",
    )
    for label, name in enumerate(names):
        x, y = points[labels == label].cpu().T.numpy()
        axes.scatter(
            x, y, s=11, c=CLASS_COLOURS[label], marker=CLASS_MARKERS[label], linewidths=0, label=in_legend(name)
        )
    axes.set(xticks=[], yticks=[])


def check_colours(classes: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` where there are more classes than colours that can be told apart."""
    most = len(CLASS_COLOURS)
    require(classes <= most, f"{classes} classes: {most} colours can be told apart; choose at most {most} classes")
