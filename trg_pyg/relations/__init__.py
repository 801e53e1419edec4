"""What an edge or a node of a graph stands for: a differentiable function of the graph."""

import sys
from typing import TYPE_CHECKING, Any

from trg_pyg._discover import export

__all__ = export(sys.modules[__name__])

if TYPE_CHECKING:
    # What is exported is found when the package is imported, where no type checker sees it.
    def __getattr__(name: str) -> Any: ...
