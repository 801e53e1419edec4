"""Methods: compositions of losses with their weights, as a training calls them."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.distillers.ad_kd import ADKD, Attribution
from trg_pyg.distillers.adversarial_kd import AdversarialKD, AdversarialTraining
from trg_pyg.distillers.aekt import AEKT
from trg_pyg.distillers.annealing_kd import AnnealingKD
from trg_pyg.distillers.at import AT
from trg_pyg.distillers.base import Distiller, GraphSize, Losses, check_networks, check_weights, graph_size
from trg_pyg.distillers.cc import CC
from trg_pyg.distillers.crd import CRD
from trg_pyg.distillers.dkd import DKD
from trg_pyg.distillers.fitnet import FitNet
from trg_pyg.distillers.gradient_kd import GradientKD
from trg_pyg.distillers.hint_dynamic import HintDynamic
from trg_pyg.distillers.hkd import HKD
from trg_pyg.distillers.irg import IRG
from trg_pyg.distillers.kd import KD
from trg_pyg.distillers.lsp import LSP
from trg_pyg.distillers.map_term import MapTerm, stage_pairs
from trg_pyg.distillers.pkt import PKT
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.rkd import RKD
from trg_pyg.distillers.sp import SP
from trg_pyg.distillers.srd import SRD
from trg_pyg.distillers.sskd import SSKD
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.distillers.trg import TRG, default_token_graphs
from trg_pyg.distillers.trg_paper import TRGPaper
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.distillers.vid import VID

__all__ = [
    "ADKD",
    "AEKT",
    "AT",
    "CC",
    "CRD",
    "DKD",
    "HKD",
    "IRG",
    "KD",
    "LSP",
    "PKT",
    "RKD",
    "SP",
    "SRD",
    "SSKD",
    "TRG",
    "VID",
    "AdversarialKD",
    "AdversarialTraining",
    "AnnealingKD",
    "Attribution",
    "Distiller",
    "FitNet",
    "GradientKD",
    "GraphSize",
    "HintDynamic",
    "Losses",
    "MapTerm",
    "Relational",
    "TRGPaper",
    "Term",
    "TermDistiller",
    "Vanilla",
    "check_networks",
    "check_weights",
    "default_token_graphs",
    "graph_size",
    "stage_pairs",
]
