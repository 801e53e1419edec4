"""Knowledge distillation with token-level relationship graphs, in PyTorch Geometric.

Data flows one way, and so do imports:
models -> tokens -> graphs -> nn -> losses -> distillers -> data -> training.
"""

__version__ = "0.1.0"
