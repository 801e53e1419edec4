"""Knowledge distillation with token-level relationship graphs, in PyTorch Geometric.

Data flows one way, and so do imports:
models -> tokens -> graphs -> nn -> losses -> distillers -> data -> training.
"""

from importlib.metadata import version

__version__ = version("trg_pyg")
