import pytest
import torch
from sklearn.metrics import silhouette_score

from trg_pyg.errors import InputError

pytest.importorskip("matplotlib")

from trg_pyg.viz.embedding import CLASS_COLOURS, CLASS_MARKERS, draw_embedding, perplexity_of, silhouette, tsne_points


def features(classes=3, each=12, apart=8.0):
    generator = torch.Generator().manual_seed(0)
    centres = apart * torch.randn(classes, 6, generator=generator)
    labels = torch.arange(classes).repeat_interleave(each)
    return centres[labels] + torch.randn(classes * each, 6, generator=generator), labels


def test_the_silhouette_is_scikit_learns_of_the_features():
    x, labels = features(apart=1.0)
    assert silhouette(x, labels) == pytest.approx(silhouette_score(x.double().numpy(), labels.numpy()))
    far, _ = features(apart=50.0)
    assert silhouette(far, labels) > 0.9 > silhouette(x, labels)
    with pytest.raises(InputError, match="36 features of 1 classes"):
        silhouette(x, torch.zeros(36, dtype=torch.long))
    with pytest.raises(InputError, match="36 features of 36 classes"):
        silhouette(x, torch.arange(36))


def test_points_are_the_same_each_time_and_keep_classes_together():
    x, labels = features(apart=30.0)
    points = tsne_points(x)
    assert points.shape == (36, 2)
    assert torch.equal(points, tsne_points(x))
    assert silhouette(points, labels) > 0.5
    assert (perplexity_of(36), perplexity_of(1000)) == (pytest.approx(35 / 3), 30)
    assert tsne_points(x[:4]).isfinite().all()
    for bad in (x[:3], x[:, :1], x[0]):
        with pytest.raises(InputError, match="t-SNE needs at least 4 of at least 2 dimensions"):
            tsne_points(bad)


def test_each_class_has_its_colour_marker_and_points(axes):
    points, labels = torch.randn(9, 2), torch.tensor([0, 2, 2, 1, 0, 1, 1, 2, 1])
    draw_embedding(axes, points, labels, ["cat", "dog", "_cow"])
    assert [each.get_label() for each in axes.collections] == ["cat", "dog", "\u200b_cow"]
    for label, drawn in enumerate(axes.collections):
        assert torch.equal(torch.tensor(drawn.get_offsets().data).float(), points[labels == label])
    assert len({tuple(each.get_facecolor()[0]) for each in axes.collections}) == 3
    assert len(axes.get_legend_handles_labels()[0]) == 3
    assert len(CLASS_COLOURS) == len(set(CLASS_COLOURS)) == len(set(CLASS_MARKERS)) == len(CLASS_MARKERS)


def test_more_classes_than_colours_and_labels_without_names_are_refused(axes):
    points = torch.randn(11, 2)
    with pytest.raises(InputError, match="11 classes: 10 colours can be told apart"):
        draw_embedding(axes, points, torch.arange(11), list("abcdefghijk"))
    with pytest.raises(InputError, match="labels from 0 to 10 for 2 names"):
        draw_embedding(axes, points, torch.arange(11), ["a", "b"])
