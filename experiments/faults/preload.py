"""What a training imports, imported once: trainings are forked from the process that has done so."""

import warnings

# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import sklearn.datasets  # noqa: E402, F401

import experiments.faults.nan_distiller  # noqa: E402
import experiments.faults.tiny_net  # noqa: E402
import experiments.run  # noqa: E402, F401
