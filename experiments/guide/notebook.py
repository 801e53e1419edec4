"""Executes the guide's notebook and stores its outputs: ``python experiments/guide/notebook.py``.

What changes from run to run, such as times, is left out of the file.
"""

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trg_pyg.errors import InputError, require

ROOT = Path(__file__).resolve().parents[2]

NOTEBOOK = Path(__file__).with_name("token_graphs.ipynb")
_CELL_SECONDS = 600


def execute(notebook: Any, folder: Path) -> None:
    """Run the cells of a notebook in their order, in a new kernel on one thread, and keep what they print and draw.

    Args:
        notebook: of nbformat, version 4; changed in place.
        folder: where the kernel works.

    Raises:
        InputError: what it takes is not installed.
        CellExecutionError: a cell fails; nbclient's, with the cell and its traceback.
    """
    for module in ("nbclient", "ipykernel"):
        require(find_spec(module) is not None, f"{module} is not installed: pip install 'trg_pyg[dev]'")
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=_CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,  # what is printed comes in pieces, as it happens
        resources={"metadata": {"path": str(folder)}},
    )
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # A profile of one's own would run code first, and may draw in another style.
    with tempfile.TemporaryDirectory() as profile:
        client.execute(env={**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": profile, "OMP_NUM_THREADS": "1"})
    # It says which Python that was.
    notebook.metadata.pop("language_info", None)


def main() -> int:
    """Execute the notebook in place and return the exit code: 0, or 2 where that takes more than is installed."""
    try:
        require(find_spec("nbformat") is not None, "nbformat is not installed: pip install 'trg_pyg[dev]'")
        import nbformat

        notebook = nbformat.read(NOTEBOOK, as_version=4)
        execute(notebook, NOTEBOOK.parent)
    except InputError as error:
        print(f"notebook.py: error: {error}", file=sys.stderr)
        return 2
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
