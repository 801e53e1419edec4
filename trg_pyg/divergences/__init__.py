"""How far a student's relations are from its teacher's: squared error, KL, InfoNCE, memory banks."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.divergences.bank_info_nce import BankInfoNCE, bank_info_nce
from trg_pyg.divergences.base import Divergence, Related, reduce
from trg_pyg.divergences.class_negatives import ClassNegatives
from trg_pyg.divergences.info_nce import InfoNCE, info_nce, info_nce_of_cosines
from trg_pyg.divergences.kl import KL
from trg_pyg.divergences.memory_bank import MemoryBank
from trg_pyg.divergences.pair_memory import PairMemory, Recall
from trg_pyg.divergences.pointwise import MSE, PointwiseDivergence, SmoothL1

__all__ = [
    "KL",
    "MSE",
    "BankInfoNCE",
    "ClassNegatives",
    "Divergence",
    "InfoNCE",
    "MemoryBank",
    "PairMemory",
    "PointwiseDivergence",
    "Recall",
    "Related",
    "SmoothL1",
    "bank_info_nce",
    "info_nce",
    "info_nce_of_cosines",
    "reduce",
]
