"""A study: its teacher, its students, their folders, and how it tells of itself."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.study.agenda import Agenda, Training, planned
from trg_pyg.study.distil import distil_all
from trg_pyg.study.folder import RunFolder, environment
from trg_pyg.study.opening import announce
from trg_pyg.study.study import Objective, Pair, Study, build_network, pick_device, prepare, prepare_process, tapped
from trg_pyg.study.teacher import Teacher, obtain_teacher
from trg_pyg.study.train import train_together

__all__ = [
    "Agenda",
    "Objective",
    "Pair",
    "RunFolder",
    "Study",
    "Teacher",
    "Training",
    "announce",
    "build_network",
    "distil_all",
    "environment",
    "obtain_teacher",
    "pick_device",
    "planned",
    "prepare",
    "prepare_process",
    "tapped",
    "train_together",
]
