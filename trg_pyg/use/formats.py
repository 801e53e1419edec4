"""The files that a trained network is exported to: how each is written, and read again to be verified."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trg_pyg._files import replaced_whole
from trg_pyg.errors import InputError, require
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.models.weights import save_weights
from trg_pyg.use.load import KINDS, WEIGHTS, load

FormatName = Literal["safetensors", "onnx", "torch_export"]
# Images float [N, C, H, W], or clips [N, C, T, H, W], in [0, 1] to logits.
Classify = Callable[[Tensor], Tensor]
BATCHES = (1, 2, 7)
# Of the largest logit; rounding of float32 through some hundred layers stays far below it.
_RELATIVE = 1e-4
_ABSOLUTE = 1e-6
# What a protocol buffer can hold, less some room for the graph.
_MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        file: its name.
        needs: packages that it takes, which are no requirement of this one.
        write: writes a network, which takes images or clips of a shape, with strings about it, into a folder.
        read: returns the network of a folder as a function.
    """

    file: str
    needs: tuple[str, ...]
    write: Callable[[ImageClassifier, Sequence[int], dict[str, str], Path], None]
    read: Callable[[Path], Classify]


def check_packages(names: Sequence[FormatName]) -> None:
    """Refuse formats whose packages are not installed.

    Raises:
        InputError: one is missing.
    """
    for name in names:
        missing = [package for package in FORMATS[name].needs if find_spec(package) is None]
        others = " ".join(each for each in names if each != name) or "safetensors"
        require(
            not missing,
            f"format {name} needs {', '.join(missing)}: pip install 'trg_pyg[export]', or choose --formats {others}",
        )


def difference(classify: Classify, images: Tensor, expected: Tensor) -> float:
    """Return the largest difference of logits over batches of ``BATCHES`` images.

    Args:
        classify: the network that was read again.
        images: float ``[N, C, H, W]``, or clips, in [0, 1], N at least the largest batch.
        expected: the logits of the original, ``[N, classes]``, or of each pixel.

    Raises:
        InputError: the logits of a batch have another shape, or the network does not take such a batch.
    """
    largest = 0.0
    for count in BATCHES:
        try:
            logits = classify(images[:count])
        except Exception as error:  # each runtime raises errors of its own
            raise InputError(f"does not take a batch of {count}: {_line(error)}") from error
        wanted = expected[:count]
        require(logits.shape == wanted.shape, f"gives {list(logits.shape)} for a batch of {count}")
        gap = (logits - wanted).abs().max().item()
        # NaN is larger than nothing, so that a maximum would lose it.
        largest = gap if gap != gap else max(largest, gap)
        if largest != largest:
            break
    return largest


def tolerance(expected: Tensor) -> float:
    """Return the difference of logits that is taken for rounding: 1e-4 of the largest logit, plus 1e-6."""
    return _RELATIVE * expected.abs().max().item() + _ABSOLUTE


def _write_safetensors(classifier: ImageClassifier, shape: Sequence[int], about: dict[str, str], folder: Path) -> None:
    save_weights(classifier.network, folder / WEIGHTS, about)


def _read_safetensors(folder: Path) -> Classify:
    network = load(folder, own_code=True, kinds=KINDS).network  # what was trained here
    return lambda images: network(images).logits


def _write_torch_export(classifier: ImageClassifier, shape: Sequence[int], about: dict[str, str], folder: Path) -> None:
    stream = io.BytesIO()
    program = torch.export.export(classifier, (_example(shape),), dynamic_shapes=(_any_batch(),))
    torch.export.save(program, stream)
    with replaced_whole(folder / "model.pt2") as temporary:
        temporary.write_bytes(stream.getvalue())


def _read_torch_export(folder: Path) -> Classify:
    # Written by this process a moment ago; a stranger's would be code.
    return torch.export.load(folder / "model.pt2").module()


def _write_onnx(classifier: ImageClassifier, shape: Sequence[int], about: dict[str, str], folder: Path) -> None:
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in classifier.state_dict().values())
    require(numbers < _MOST_BYTES, f"a single .onnx file holds at most 2 GB, and the weights have {numbers:,} bytes")
    program = torch.onnx.export(
        classifier,
        (_example(shape),),
        dynamo=True,
        dynamic_shapes=(_any_batch(),),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    model: Any = program.model_proto
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    with replaced_whole(folder / "model.onnx") as temporary:
        temporary.write_bytes(model.SerializeToString())


def _read_onnx(folder: Path) -> Classify:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _example(shape: Sequence[int]) -> Tensor:
    return torch.full((2, *shape), 0.5)


def _any_batch() -> dict[int, Any]:
    return {0: torch.export.Dim("batch")}


def write(
    name: FormatName, classifier: ImageClassifier, shape: Sequence[int], about: dict[str, str], folder: Path
) -> None:
    """Write a network in one format.

    Args:
        name: of the format.
        classifier: on the CPU, in evaluation mode.
        shape: of each of its images, ``(C, H, W)``, or clips, ``(C, T, H, W)``.
        about: strings that a file carries, where its format can.
        folder: that exists.

    Raises:
        InputError: the network cannot be written in that format.
        OSError: the disk is full, and the like.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own exporters
            FORMATS[name].write(classifier, shape, about, folder)
    except (InputError, OSError):
        raise
    except Exception as error:  # exporters raise what the network makes them raise
        raise InputError(f"the network cannot be written as {name}: {_line(error)}") from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


FORMATS: dict[FormatName, Format] = {
    "safetensors": Format(WEIGHTS, (), _write_safetensors, _read_safetensors),
    "onnx": Format("model.onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _read_onnx),
    "torch_export": Format("model.pt2", (), _write_torch_export, _read_torch_export),
}
