"""Pictures of graphs, trainings and predictions; each function imports matplotlib (extra ``viz``) when it is called."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.viz.bars import plot_bars, plot_changes
from trg_pyg.viz.class_size import plot_class_size
from trg_pyg.viz.confusion import plot_confusion
from trg_pyg.viz.contours import contours
from trg_pyg.viz.cross_image import cross_image_edges, cross_image_lines, draw_cross_image_graph, thumbnail_corners
from trg_pyg.viz.curves import plot_curves
from trg_pyg.viz.drawing import (
    arcs,
    check_positions,
    dimmed,
    draw_edges,
    edge_weights,
    faded,
    importing_matplotlib,
    in_legend,
    joined_too,
    patch_centres,
    pixels_of,
    strong_lines,
    weight_norm,
)
from trg_pyg.viz.embedding import check_colours, draw_embedding, perplexity_of, silhouette, tsne_points
from trg_pyg.viz.figure import figure_style, label_rows, new_figure, shown_name, styled, to_png, to_svg
from trg_pyg.viz.intervals import Interval, plot_intervals
from trg_pyg.viz.line_style import LineStyle, line_styles
from trg_pyg.viz.neighbours import draw_neighbours, draw_patch, ranked_neighbours
from trg_pyg.viz.recall import draw_edge_recall
from trg_pyg.viz.reliability import plot_reliability
from trg_pyg.viz.similarity import contextual_similarity, cosine_similarity, draw_similarity
from trg_pyg.viz.strips import plot_strips
from trg_pyg.viz.token_graph import draw_token_graph
from trg_pyg.viz.words import draw_words, text_height, text_width

__all__ = [
    "Interval",
    "LineStyle",
    "arcs",
    "check_colours",
    "check_positions",
    "contextual_similarity",
    "contours",
    "cosine_similarity",
    "cross_image_edges",
    "cross_image_lines",
    "dimmed",
    "draw_cross_image_graph",
    "draw_edge_recall",
    "draw_edges",
    "draw_embedding",
    "draw_neighbours",
    "draw_patch",
    "draw_similarity",
    "draw_token_graph",
    "draw_words",
    "edge_weights",
    "faded",
    "figure_style",
    "importing_matplotlib",
    "in_legend",
    "joined_too",
    "label_rows",
    "line_styles",
    "new_figure",
    "patch_centres",
    "perplexity_of",
    "pixels_of",
    "plot_bars",
    "plot_changes",
    "plot_class_size",
    "plot_confusion",
    "plot_curves",
    "plot_intervals",
    "plot_reliability",
    "plot_strips",
    "ranked_neighbours",
    "shown_name",
    "silhouette",
    "strong_lines",
    "styled",
    "text_height",
    "text_width",
    "thumbnail_corners",
    "to_png",
    "to_svg",
    "tsne_points",
    "weight_norm",
]
