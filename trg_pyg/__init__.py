"""Knowledge distillation with token-level relationship graphs, in PyTorch Geometric.

Data flows one way, and so do imports: models -> tokens -> nn -> relations -> graphs -> nodes -> divergences -> losses
-> distillers -> data (which imports none of them) -> training -> viz, then the laboratory: config -> study -> use ->
look -> report -> cli.

The names below are what a training loop of one's own needs first: two tapped networks, their tokens and graphs, TRG
with its losses, KD, and the error that bad input gets. Everything else is in the packages. They are loaded when they
are asked for, since PyTorch and PyG take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trg_pyg.distillers import KD, TRG
    from trg_pyg.errors import InputError
    from trg_pyg.graphs import GridGraph, KNNGraph
    from trg_pyg.losses import ContextualLoss, GraphMatch, LocalStructureLoss, TokenContrast
    from trg_pyg.models import TappedModel, build_model
    from trg_pyg.step import Step
    from trg_pyg.tokens import patchify

__version__ = "0.2.0"

__all__ = [
    "KD",
    "TRG",
    "ContextualLoss",
    "GraphMatch",
    "GridGraph",
    "InputError",
    "KNNGraph",
    "LocalStructureLoss",
    "Step",
    "TappedModel",
    "TokenContrast",
    "__version__",
    "build_model",
    "patchify",
]

if not TYPE_CHECKING:  # to a type checker, a module with this function has every name

    def __getattr__(name: str) -> object:
        if name in __all__:
            # In the order of imports, so that nothing is imported which the name does not need.
            for part in ("errors", "step", "models", "tokens", "graphs", "losses", "distillers"):
                module = import_module(f"{__name__}.{part}")
                if hasattr(module, name):
                    globals()[name] = getattr(module, name)
                    return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
