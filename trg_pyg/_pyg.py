"""PyG, imported without its warning, about which nobody who sees it here can do anything."""

import warnings

with warnings.catch_warnings():
    # It calls torch.jit.script when it is imported. Elsewhere, the warning is whoever's who calls it.
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    import torch_geometric  # noqa: F401
