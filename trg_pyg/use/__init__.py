"""What a trained student is for: loading, evaluating, predicting, exporting, its cost."""

from trg_pyg.use.card import model_card
from trg_pyg.use.cost import compare_cost, cost_table, measure_cost
from trg_pyg.use.evaluate import Evaluation, Images, check_fits, evaluate_on, evaluation_tables, read_images_of
from trg_pyg.use.export import export
from trg_pyg.use.load import TrainedNetwork, load
from trg_pyg.use.predict import Prediction, predict
from trg_pyg.use.within import FoundBox, FoundBoxes, FoundInstances, predict_boxes, predict_instances

__all__ = [
    "Evaluation",
    "FoundBox",
    "FoundBoxes",
    "FoundInstances",
    "Images",
    "Prediction",
    "TrainedNetwork",
    "check_fits",
    "compare_cost",
    "cost_table",
    "evaluate_on",
    "evaluation_tables",
    "export",
    "load",
    "measure_cost",
    "model_card",
    "predict",
    "predict_boxes",
    "predict_instances",
    "read_images_of",
]
