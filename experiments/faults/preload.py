"""What a training imports, imported once: trainings are forked from the process that has done so."""

import sklearn.datasets  # noqa: F401

import trg_pyg.cli.run  # noqa: F401
