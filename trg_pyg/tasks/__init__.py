"""What is learnt of data: the loss of the labels, what logits are, and how a network is scored."""

from trg_pyg.tasks.base import Task
from trg_pyg.tasks.detection import Detection, average_precision, boxes_of, check_scorer, counted_boxes
from trg_pyg.tasks.image_classification import ImageClassification
from trg_pyg.tasks.instance_segmentation import InstanceSegmentation, instances_of
from trg_pyg.tasks.text_classification import TextClassification
from trg_pyg.tasks.video_classification import VideoClassification

__all__ = [
    "Detection",
    "ImageClassification",
    "InstanceSegmentation",
    "Task",
    "TextClassification",
    "VideoClassification",
    "average_precision",
    "boxes_of",
    "check_scorer",
    "counted_boxes",
    "instances_of",
]
