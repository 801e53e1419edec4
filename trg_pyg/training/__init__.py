"""The training loop, its options, checkpoints, several processes; it knows no method by name."""

from trg_pyg.training.calibration import Calibration, calibration
from trg_pyg.training.checkpoint import CheckpointNotWritten, has_checkpoint, load_checkpoint, save_checkpoint
from trg_pyg.training.class_balance import ClassBalance, bias_of
from trg_pyg.training.compiled import CompiledLosses, CompiledNetwork, convolutions_channels_last
from trg_pyg.training.config import TrainConfig, autocast, without_off
from trg_pyg.training.confusion import among, class_accuracy, confusion_matrix
from trg_pyg.training.deterministic import deterministic_algorithms, set_cublas_workspace
from trg_pyg.training.distributed import World, average_buffers, process_device, process_group, sync_batchnorm, wrap
from trg_pyg.training.ema import WeightAverage
from trg_pyg.training.guard import Buffers, Silence, TrainingDiverged, bad_images, explain, gradient_norm
from trg_pyg.training.learner import Learner, Progress, Seeds, Trainee
from trg_pyg.training.loop import check_batches, fit, fit_together
from trg_pyg.training.meter import Meter
from trg_pyg.training.metrics import evaluate, evaluating
from trg_pyg.training.mixing import Mixing, check_mixing
from trg_pyg.training.modules import (
    DistillationModule,
    FrozenTeacher,
    GatheredOutputs,
    check_loss_scope,
    compiled_sizes,
    least_images,
)
from trg_pyg.training.optim import advance, build_optimizer, build_schedule, lr_factor, phase_starts
from trg_pyg.training.predictions import Predictions, top_predictions
from trg_pyg.training.state import TrainingState
from trg_pyg.training.stop import StopRequest, TrainingStopped
from trg_pyg.training.stream import GlobalStream
from trg_pyg.training.teacher_store import StoredOutputs, StoredTeacher, TeacherStore, Views
from trg_pyg.training.teaching import Teaching

__all__ = [
    "Buffers",
    "Calibration",
    "CheckpointNotWritten",
    "ClassBalance",
    "CompiledLosses",
    "CompiledNetwork",
    "DistillationModule",
    "FrozenTeacher",
    "GatheredOutputs",
    "GlobalStream",
    "Learner",
    "Meter",
    "Mixing",
    "Predictions",
    "Progress",
    "Seeds",
    "Silence",
    "StopRequest",
    "StoredOutputs",
    "StoredTeacher",
    "TeacherStore",
    "Teaching",
    "TrainConfig",
    "Trainee",
    "TrainingDiverged",
    "TrainingState",
    "TrainingStopped",
    "Views",
    "WeightAverage",
    "World",
    "advance",
    "among",
    "autocast",
    "average_buffers",
    "bad_images",
    "bias_of",
    "build_optimizer",
    "build_schedule",
    "calibration",
    "check_batches",
    "check_loss_scope",
    "check_mixing",
    "class_accuracy",
    "compiled_sizes",
    "confusion_matrix",
    "convolutions_channels_last",
    "deterministic_algorithms",
    "evaluate",
    "evaluating",
    "explain",
    "fit",
    "fit_together",
    "gradient_norm",
    "has_checkpoint",
    "least_images",
    "load_checkpoint",
    "lr_factor",
    "phase_starts",
    "process_device",
    "process_group",
    "save_checkpoint",
    "set_cublas_workspace",
    "sync_batchnorm",
    "top_predictions",
    "without_off",
    "wrap",
]
