"""How far a student's relations are from its teacher's: squared error, KL, InfoNCE, memory banks."""

import sys
from typing import TYPE_CHECKING, Any

from trg_pyg._discover import export

__all__ = export(sys.modules[__name__])

if TYPE_CHECKING:
    # What is exported is found when the package is imported, where no type checker sees it.
    def __getattr__(name: str) -> Any: ...
