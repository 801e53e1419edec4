"""What a trained student sees: token graphs, pictures, gradients of a loss's parts."""

import trg_pyg._pyg  # noqa: F401
from trg_pyg.look.album import Album
from trg_pyg.look.diagnosis import Diagnosis, diagnosis_table, draw_probe, gradient_measures
from trg_pyg.look.networks import RunNetworks, Seen, load_run_networks
from trg_pyg.look.pictures import Picture

__all__ = [
    "Album",
    "Diagnosis",
    "Picture",
    "RunNetworks",
    "Seen",
    "diagnosis_table",
    "draw_probe",
    "gradient_measures",
    "load_run_networks",
]
