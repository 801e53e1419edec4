"""Write a trained student for others to use: safetensors, ONNX, torch.export, model card."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from trg_pyg._files import check_writable
from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.use.export import check, export, push
from trg_pyg.use.formats import FormatName
from trg_pyg.use.load import Which, load

_DESCRIPTION = """\
Export a trained student. The folder that is made holds

  README.md           a model card: what the network is, how good, how it was trained, how to load it
  model.json          network, classes, size and normalisation, for programs
  model.safetensors   the weights
  config.json         of a network of timm: timm.create_model("local-dir:FOLDER", pretrained=True) loads the folder
  model.onnx          the network with its normalisation, for ONNX Runtime and others (takes the extra "export")
  model.pt2           the same as a program of torch.export

model.onnx and model.pt2 take images float [N, C, H, W], or clips [N, C, T, H, W], in [0, 1] of any N. Every file is
loaded again and must give the logits of the original, in batches of 1, 2 and 7, but for rounding; otherwise there is
no folder. Networks that answer for each pixel are exported for images of the size that they were trained on."""


def main(argv: Sequence[str] | None = None) -> int:
    """Export the run of a command line and return the exit code: 0, or 2 where the input is at fault."""

    def work() -> None:
        chosen = _parser().parse_args(argv)
        check(chosen.output, chosen.formats, chosen.push_to)  # before the run is loaded, which may take its data
        check_writable(chosen.output, "--output")
        export(load(chosen.run, chosen.which, kinds=("images", "clips", "pixels")), chosen.output, chosen.formats)
        print(
            f"exported to {chosen.output}; read its README.md before you publish it: it has the paths of the training"
        )
        if chosen.push_to is not None:
            print(f"pushed to {push(chosen.output, chosen.push_to)}; where it is new, only you see it")

    return exit_code_of(work, "export")


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program("export"),
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="folder of one seed of a run, or a weights file in it")
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=get_args(FormatName),
        default=list(get_args(FormatName)),
        help="what to write beside README.md and model.json (default: all)",
    )
    parser.add_argument(
        "--which", choices=get_args(Which), default="last", help="weights of the last epoch (default) or the best"
    )
    parser.add_argument(
        "--push_to",
        metavar="USER/NAME",
        help="upload the folder to Hugging Face's hub as well, where you have signed in; a new model is private there",
    )
    return parser
