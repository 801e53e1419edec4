"""Losses: (student, teacher) to a scalar."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.batch import check_target
from trg_pyg.losses.aekt import ExplicitKnowledgeLoss
from trg_pyg.losses.attention import AttentionLoss
from trg_pyg.losses.base import DistillationLoss, check_logits, check_maps, check_rows
from trg_pyg.losses.contextual import ContextualLoss
from trg_pyg.losses.contrast import TokenContrast
from trg_pyg.losses.correlation import CorrelationLoss
from trg_pyg.losses.crd import CRDLoss
from trg_pyg.losses.dcd import DCDLoss
from trg_pyg.losses.dkd import DKDLoss, decouple
from trg_pyg.losses.fisher import FisherFeatureLoss, FisherLogitLoss
from trg_pyg.losses.graph_match import GraphMatch
from trg_pyg.losses.hint import HintLoss
from trg_pyg.losses.local import LocalStructureLoss
from trg_pyg.losses.logit import LogitKD
from trg_pyg.losses.projector_ensemble import ProjectorEnsembleLoss
from trg_pyg.losses.pyramid import PyramidLoss
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.losses.selected import SelectedKL
from trg_pyg.losses.temperature import TemperatureSchedule
from trg_pyg.losses.vid import VIDLoss

__all__ = [
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
    "LocalStructureLoss",
    "LogitKD",
    "ProjectorEnsembleLoss",
    "PyramidLoss",
    "RelationalLoss",
    "SelectedKL",
    "TemperatureSchedule",
    "TokenContrast",
    "VIDLoss",
    "check_logits",
    "check_maps",
    "check_rows",
    "check_target",
    "decouple",
]
