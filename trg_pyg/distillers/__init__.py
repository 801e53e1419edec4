"""Methods: compositions of losses with their weights, as a training calls them."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.distillers.ad_kd import ADKD, Attribution
from trg_pyg.distillers.adversarial_kd import AdversarialKD, AdversarialTraining
from trg_pyg.distillers.aekt import AEKT
from trg_pyg.distillers.annealing_kd import AnnealingKD
from trg_pyg.distillers.at import AT
from trg_pyg.distillers.base import Distiller, GraphSize, Losses, check_networks, check_weights, graph_size
from trg_pyg.distillers.bkd import BKD
from trg_pyg.distillers.cc import CC
from trg_pyg.distillers.crd import CRD
from trg_pyg.distillers.ctkd import CTKD
from trg_pyg.distillers.dcd import DCD
from trg_pyg.distillers.dist import DIST
from trg_pyg.distillers.dive import DiVE
from trg_pyg.distillers.dkd import DKD
from trg_pyg.distillers.fgd import FGD
from trg_pyg.distillers.fitnet import FitNet
from trg_pyg.distillers.gradient_kd import GradientKD
from trg_pyg.distillers.grd import GRD
from trg_pyg.distillers.hint_dynamic import HintDynamic
from trg_pyg.distillers.hkd import HKD
from trg_pyg.distillers.ickd import ICKD
from trg_pyg.distillers.ikd import IKD
from trg_pyg.distillers.irg import IRG
from trg_pyg.distillers.kd import KD
from trg_pyg.distillers.lskd import LSKD
from trg_pyg.distillers.lsp import LSP
from trg_pyg.distillers.ltkd import LTKD
from trg_pyg.distillers.manifold_kd import ManifoldKD
from trg_pyg.distillers.map_term import MapTerm, stage_pairs
from trg_pyg.distillers.mlkd import MLKD
from trg_pyg.distillers.nkd import NKD, Normalised
from trg_pyg.distillers.ofakd import OFAKD
from trg_pyg.distillers.pefd import PEFD
from trg_pyg.distillers.pkt import PKT
from trg_pyg.distillers.psrd import PSRD
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.review_kd import ReviewKD
from trg_pyg.distillers.rkd import RKD
from trg_pyg.distillers.rrd import RRD
from trg_pyg.distillers.sdd import SDD
from trg_pyg.distillers.simkd import SimKD
from trg_pyg.distillers.sp import SP
from trg_pyg.distillers.srd import SRD
from trg_pyg.distillers.sskd import SSKD
from trg_pyg.distillers.staged_kd import StagedKD
from trg_pyg.distillers.strong_view import check_magnitude, strong_view
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.distillers.trg import TRG, default_token_graphs
from trg_pyg.distillers.trg_paper import TRGPaper
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.distillers.vid import VID
from trg_pyg.distillers.vrm import VRM
from trg_pyg.distillers.wkd import WKD
from trg_pyg.distillers.wttm import WTTM

__all__ = [
    "ADKD",
    "AEKT",
    "AT",
    "BKD",
    "CC",
    "CRD",
    "CTKD",
    "DCD",
    "DIST",
    "DKD",
    "FGD",
    "GRD",
    "HKD",
    "ICKD",
    "IKD",
    "IRG",
    "KD",
    "LSKD",
    "LSP",
    "LTKD",
    "MLKD",
    "NKD",
    "OFAKD",
    "PEFD",
    "PKT",
    "PSRD",
    "RKD",
    "RRD",
    "SDD",
    "SP",
    "SRD",
    "SSKD",
    "TRG",
    "VID",
    "VRM",
    "WKD",
    "WTTM",
    "AdversarialKD",
    "AdversarialTraining",
    "AnnealingKD",
    "Attribution",
    "DiVE",
    "Distiller",
    "FitNet",
    "GradientKD",
    "GraphSize",
    "HintDynamic",
    "Losses",
    "ManifoldKD",
    "MapTerm",
    "Normalised",
    "Relational",
    "ReviewKD",
    "SimKD",
    "StagedKD",
    "TRGPaper",
    "Term",
    "TermDistiller",
    "Vanilla",
    "check_magnitude",
    "check_networks",
    "check_warmup",
    "check_weights",
    "default_token_graphs",
    "graph_size",
    "stage_pairs",
    "strong_view",
    "warmed_up",
]
