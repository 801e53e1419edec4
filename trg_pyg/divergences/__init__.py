import sys

from trg_pyg._discover import export

__all__ = export(sys.modules[__name__])
