"""Data sets: images in memory or streamed from files, long-tailed, held-out splits, augmentation, batches."""

from trg_pyg.data.base import Data, ImageData, ImageSet, Splits, channel_statistics
from trg_pyg.data.cifar import CIFAR10, CIFAR100
from trg_pyg.data.corruption import Corruption
from trg_pyg.data.detection.box_folder import AnnotatedImage, Box, BoxFolder, read_boxes
from trg_pyg.data.detection.detection_data import DetectionData, DetectionSet, MirroredBoxes, padded
from trg_pyg.data.detection.pasted_digits import PastedDigits
from trg_pyg.data.digits import Digits
from trg_pyg.data.facts import DataFacts
from trg_pyg.data.fashion_mnist import FashionMNIST
from trg_pyg.data.files.bad_images import BadImage, BadImages, described, unreadable
from trg_pyg.data.files.file_set import FileSet, encode_paths
from trg_pyg.data.files.image_files import ImageFiles, Listing
from trg_pyg.data.files.loose_images import find_images, read_images
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.data.image_list import ImageList
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.instances.instance_data import InstanceData, InstanceSet, Turn
from trg_pyg.data.instances.label_maps import LabelMaps, read_image, read_labels
from trg_pyg.data.instances.touching_digits import TouchingDigits
from trg_pyg.data.loading.augment import Augment
from trg_pyg.data.loading.file_loader import FileLoader
from trg_pyg.data.loading.loader import BatchLoader, make_loader
from trg_pyg.data.loading.lost_worker import WorkerLost, worker_lost
from trg_pyg.data.loading.pool import Pools
from trg_pyg.data.splits.holdout import check_fraction, holdout_indices
from trg_pyg.data.splits.long_tail import check_imbalance, long_tail_counts, long_tail_indices, shots
from trg_pyg.data.text.reviews import Reviews
from trg_pyg.data.text.text_data import TextData, Texts, TextSet
from trg_pyg.data.text.text_files import TextFiles, read_texts
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.data.unlabelled import check_not_measured, read_unlabelled
from trg_pyg.data.video.clips import find_clips, read_clips
from trg_pyg.data.video.moving_digits import MovingDigits
from trg_pyg.data.video.video_data import VideoData, VideoSet
from trg_pyg.data.video.video_folder import VideoFolder

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "AnnotatedImage",
    "Augment",
    "BadImage",
    "BadImages",
    "BatchLoader",
    "Box",
    "BoxFolder",
    "Corruption",
    "Data",
    "DataFacts",
    "DetectionData",
    "DetectionSet",
    "Digits",
    "FashionMNIST",
    "FileLoader",
    "FileSet",
    "ImageData",
    "ImageFiles",
    "ImageFolder",
    "ImageList",
    "ImageSet",
    "InputSet",
    "InstanceData",
    "InstanceSet",
    "LabelMaps",
    "Listing",
    "MirroredBoxes",
    "MovingDigits",
    "PastedDigits",
    "Pools",
    "RandomResizedCrop",
    "Reviews",
    "Splits",
    "TextData",
    "TextFiles",
    "TextSet",
    "Texts",
    "TouchingDigits",
    "Turn",
    "VideoData",
    "VideoFolder",
    "VideoSet",
    "Vocabulary",
    "WorkerLost",
    "channel_statistics",
    "check_fraction",
    "check_imbalance",
    "check_not_measured",
    "described",
    "encode_paths",
    "find_clips",
    "find_images",
    "holdout_indices",
    "long_tail_counts",
    "long_tail_indices",
    "make_loader",
    "padded",
    "read_boxes",
    "read_clips",
    "read_image",
    "read_images",
    "read_labels",
    "read_texts",
    "read_unlabelled",
    "shots",
    "unreadable",
    "worker_lost",
]
