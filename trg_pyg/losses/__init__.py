"""Losses: (student, teacher) to a scalar."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.batch import check_target
from trg_pyg.losses.aekt import ExplicitKnowledgeLoss
from trg_pyg.losses.affinity import AffinityLoss, affinities, affinity_loss, label_affinities, pixel_embedding
from trg_pyg.losses.attention import AttentionLoss
from trg_pyg.losses.base import DistillationLoss, check_logits, check_maps, check_rows
from trg_pyg.losses.class_counts import class_counts
from trg_pyg.losses.contextual import ContextualLoss
from trg_pyg.losses.contrast import TokenContrast
from trg_pyg.losses.correlation import CorrelationLoss
from trg_pyg.losses.crd import CRDLoss
from trg_pyg.losses.dcd import DCDLoss
from trg_pyg.losses.dkd import DKDLoss, decouple
from trg_pyg.losses.fisher import FisherFeatureLoss, FisherLogitLoss
from trg_pyg.losses.focal import attention_masks, box_masks, focal_errors
from trg_pyg.losses.gram import ProbabilityGram
from trg_pyg.losses.graph_match import GraphMatch
from trg_pyg.losses.hint import HintLoss
from trg_pyg.losses.instance_graphs import (
    bank_edge_error,
    bank_pixel_error,
    edge_error,
    instance_means,
    node_error,
    window_means,
)
from trg_pyg.losses.local import LocalStructureLoss
from trg_pyg.losses.logit import LogitKD, standardized
from trg_pyg.losses.ltkd import LTKDLoss
from trg_pyg.losses.nkd import NKDLoss
from trg_pyg.losses.projector_ensemble import ProjectorEnsembleLoss
from trg_pyg.losses.pyramid import PyramidLoss
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.losses.sdd import SDDLoss
from trg_pyg.losses.selected import SelectedKL
from trg_pyg.losses.temperature import TemperatureSchedule
from trg_pyg.losses.vid import VIDLoss
from trg_pyg.losses.wkd import WKDLoss
from trg_pyg.losses.wttm import WTTMLoss

__all__ = [
    "AffinityLoss",
    "AttentionLoss",
    "CRDLoss",
    "ContextualLoss",
    "CorrelationLoss",
    "DCDLoss",
    "DKDLoss",
    "DistillationLoss",
    "ExplicitKnowledgeLoss",
    "FisherFeatureLoss",
    "FisherLogitLoss",
    "GraphMatch",
    "HintLoss",
    "LTKDLoss",
    "LocalStructureLoss",
    "LogitKD",
    "NKDLoss",
    "ProbabilityGram",
    "ProjectorEnsembleLoss",
    "PyramidLoss",
    "RelationalLoss",
    "SDDLoss",
    "SelectedKL",
    "TemperatureSchedule",
    "TokenContrast",
    "VIDLoss",
    "WKDLoss",
    "WTTMLoss",
    "affinities",
    "affinity_loss",
    "attention_masks",
    "bank_edge_error",
    "bank_pixel_error",
    "box_masks",
    "check_logits",
    "check_maps",
    "check_rows",
    "check_target",
    "class_counts",
    "decouple",
    "edge_error",
    "focal_errors",
    "instance_means",
    "label_affinities",
    "node_error",
    "pixel_embedding",
    "standardized",
    "window_means",
]
