"""The README.md of an exported network: what it is, how good, how it was made, how to use it, and its limits."""

from collections.abc import Sequence
from typing import Any

import yaml

import trg_pyg
from trg_pyg._program import markdown_table
from trg_pyg._size import shown_size, sides
from trg_pyg.data.splits.long_tail import SHOTS
from trg_pyg.errors import count, few
from trg_pyg.metrics import metrics_of, score_of
from trg_pyg.models.cost import cost
from trg_pyg.runs import method_of, read_environment, read_history
from trg_pyg.tasks.image_classification import ImageClassification
from trg_pyg.use.formats import BATCHES, FORMATS, FormatName
from trg_pyg.use.load import TrainedNetwork

_SHOWN_CLASSES = 20
_PACKAGES = ("torch", "torchvision", "timm")
# What a program of Hugging Face's hub calls what they do.
_TASKS = {"images": "image-classification", "clips": "video-classification", "pixels": "image-segmentation"}
# What a program needs to read an image that this package prepares, and how it does.
_FILES = (
    "from trg_pyg.data import read_images",
    """how = (about[name] for name in ("image_size", "resize", "interpolation", "background"))
images, unreadable = read_images([Path("image.png")], *how)""",
)
_CLIPS = (
    "from trg_pyg.data import read_clips",
    """# A folder of frames, or a video file.
images, unreadable = read_clips([Path("clip")], about["frames"], about["image_size"])""",
)
_PIXELS = (
    "import torch\n\nfrom trg_pyg.data import read_image\nfrom trg_pyg.tasks import instances_of",
    """# Of any size.
images = torch.from_numpy(read_image(Path("image.png")).copy())[None]""",
)
_CLASSIFIED = """probabilities = classifier(images.float() / 255).softmax(dim=1)
print(about["classes"][probabilities[0].argmax()], probabilities[0].max().item())"""
_FOUND = """instances = instances_of(classifier(images.float() / 255))  # 0 of background
print(instances.max().item())"""
_TENSORS = (
    "import numpy as np\nimport torch\n",
    """# Channels, height and width, 0 to 255.
images = torch.from_numpy(np.load("image.npy"))[None]""",
)
_ARRAYS = """The other files take arrays of channels, height and width, 0 to 255 before they are prepared:

```python
import numpy as np


def prepare(file):
    return np.load(file)[None].astype(np.float32) / 255
```"""
_TILES = """The other files take images of the size above, as they are; of larger ones a part:

```python
import numpy as np
from PIL import Image


def prepare(file, height={height}, width={width}):
    image = Image.open(file).convert("RGB").crop((0, 0, width, height))
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
```"""
_OF_FRAMES = """

def in_order(file):
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\\d+)", file.name)]


def prepare(folder, frames={frames}):
    files = sorted(Path(folder).iterdir(), key=in_order)
    chosen = [files[(2 * i + 1) * len(files) // (2 * frames)] for i in range(frames)]
    return np.stack([prepare_frame(file)[0] for file in chosen], axis=1)[None]
"""
_WITH_TIMM = """timm alone, from this folder or, once it is there, from the hub (`hf-hub:USER/NAME`):

```python
import timm
from PIL import Image

network = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
logits_of_timm = network(transform(Image.open("image.png").convert("RGB"))[None])
```"""


def model_card(trained: TrainedNetwork, formats: Sequence[FormatName], tolerance: float) -> str:
    """Return the text of the card, in Markdown.

    Args:
        trained: the network of a run.
        formats: in which it was written.
        tolerance: difference of logits that was allowed when the files were verified.

    Raises:
        InputError: the network is of no run, or a file of the run's folder is damaged.
    """
    environment = read_environment(trained.folder)
    teacher = environment.get("teacher")
    title = f"# {trained.name} trained on {_data(trained)}" + (f", distilled by {trained.method}" if teacher else "")
    sections = [
        f"{title}\n\n{_what(trained)}, trained with trg_pyg {trg_pyg.__version__}. "
        "`model.json` has what a program needs to know of it.",
        _facts(trained),
        _accuracy(trained, teacher),
        _use(trained, formats),
        _training(trained, environment, teacher),
        _limits(trained, formats, tolerance),
    ]
    return _front(trained) + "\n\n".join(sections) + "\n"


def _what(trained: TrainedNetwork) -> str:
    if trained.kind == "pixels":
        return "A network that finds the instances in an image"
    return f"{'A clip' if trained.facts.frames else 'An image'} classifier of {len(trained.facts.classes)} classes"


def _front(trained: TrainedNetwork) -> str:
    """Return what Hugging Face's hub reads of a card."""
    library = "timm" if trained.name.startswith("timm:") else "pytorch"
    task = _TASKS[trained.kind]
    about = {"library_name": library, "pipeline_tag": task, "tags": [task, library]}
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n"


def _facts(trained: TrainedNetwork) -> str:
    facts = trained.expected
    counted = cost(trained.network.model, facts.example, facts.channels)
    height, width = sides(facts.image_size)
    kind = "RGB" if facts.channels == 3 else count(facts.channels, "channel")
    axes, frames = ("T, H, W", f"{facts.frames} frames of ") if facts.frames else ("H, W", "")
    outputs = trained.network.describe(facts.example).num_classes
    answer = f"logits `[N, {outputs}]`; their softmax is the probabilities"
    if trained.kind == "pixels":
        answer = f"`[N, {outputs}, H, W]`, of each pixel a logit of each class, then its embedding"
    arguments = f", arguments {_code(trained.config.args)}" if trained.config.args else ""
    names = few([f"`{name}`" for name in facts.classes], _SHOWN_CLASSES)
    rows = [
        ("network", f"`{trained.name}`{arguments}"),
        ("parameters", f"{counted.parameters:,}"),
        ("operations", f"{counted.flops:,} FLOPs of one input, a multiply-add counted as two"),
        (
            "input",
            f"{kind}, {frames}{height} x {width} pixels, float in [0, 1], `[N, {facts.channels}, {axes}]`",
        ),
        ("preparation", _prepared(trained)),
        ("normalisation", f"(pixel - mean) / std, mean {_numbers(facts.mean)}, std {_numbers(facts.std)}"),
        ("output", answer),
        ("classes", f"{names}, in the order of the logits"),
    ]
    return _about(rows)


def _prepared(trained: TrainedNetwork) -> str:
    facts = trained.facts
    if facts.channels != 3:
        return "that of the data it was trained on"
    how = f"{trained.background} where it is transparent, turned upright by EXIF data"
    if trained.kind == "pixels":
        return f"{how}; not resized"
    square = isinstance(trained.resize, int) and not facts.frames
    resizing = (
        f"shorter side resized to {trained.resize} pixels"
        if square
        else f"resized to cover {shown_size(trained.resize)}"
    )
    spaced = f"{facts.frames} frames, each in the middle of one of as many equal parts; " if facts.frames else ""
    height, width = sides(facts.image_size)
    return f"{spaced}{how}, {resizing} ({trained.interpolation}, antialiased), centre of {height} x {width} cut out"


def _accuracy(trained: TrainedNetwork, teacher: dict[str, Any] | None) -> str:
    metrics, epoch = _metrics(trained)
    if not metrics:
        return "## Accuracy\n\nNot known: the run has not kept it."
    validation = _data_options(trained).get("validation")
    item = trained.facts.item
    images = f"the test {item}s"
    if validation is not None:
        images = f"training {item}s that were held out ({validation:g} of each)"
    # Percentages first.
    columns = sorted(metrics_of("score", "shots", "fit"), key=lambda metric: metric.unit != "%")
    shown = {metric.title: metrics[metric.name] for metric in columns if metric.name in metrics}
    table = markdown_table([list(shown), [f"{value:.2f}" for value in shown.values()]])
    others = [
        f"{metric.title} in {metric.unit}" for metric in columns if metric.title in shown and metric.unit not in "%"
    ]
    text = f"## Accuracy\n\nOn {images}, after epoch {epoch}; percent, {', '.join(others)}:\n\n{table}"
    text += "".join(
        f"\n\n{metric.title}: {metric.about}." for metric in columns if metric.title in shown and metric.about
    )
    if trained.weights.path.stem == "best" and _data_options(trained).get("heldout") is not None:
        text += f"\n\nThese weights are those of the best epoch, chosen on training {item}s that were held out."
    elif trained.weights.path.stem == "best":
        text += f"\n\nThese weights are those of the best epoch on the same {item}s, so that the figures are too good."
    if SHOTS.keys() & shown.keys():
        *others, last = SHOTS.values()
        text += f"\n\n{', '.join(SHOTS).capitalize()}: classes with {', '.join(others)}, and {last} training {item}s."
    if teacher is not None:
        score = score_of(read_history(trained.folder))
        measured = {
            name.removesuffix(f"_{score.name}"): value
            for name, value in teacher.items()
            if name.endswith(f"_{score.name}")
        }
        of_teacher = ", ".join(
            f"{value:.2f} % {score.title} on the {split} {item}s" for split, value in measured.items()
        )
        text += f"\n\nIts teacher, `{trained.settings['teacher']['name']}`, has {of_teacher}."
    return text


def _use(trained: TrainedNetwork, formats: Sequence[FormatName]) -> str:
    rgb = trained.facts.channels == 3
    file = "clip" if trained.facts.frames else "image.png" if rgb else "image.npy"
    examples = {
        "safetensors": _with_this_package(trained, file),
        "onnx": _with_onnx(file),
        "torch_export": _with_torch_export(file),
    }
    prepared = _preparation(trained) if rgb else _ARRAYS
    used: list[str] = []
    for name in formats:
        if name != "safetensors" and prepared not in used:
            used.append(prepared)
        used.append(examples[name])
        if name == "safetensors" and trained.name.startswith("timm:") and rgb:
            used.append(_WITH_TIMM)
    return "\n\n".join(["## Use", *used]) if used else "## Use\n\nOnly `model.json` was exported."


def _with_this_package(trained: TrainedNetwork, file: str) -> str:
    kind, channels = trained.kind, trained.facts.channels
    rgb = channels == 3
    same = f" (`trg predict FOLDER {file}` does the same)" if rgb else ""
    told = "" if rgb else f", image_channels={channels}"
    needed, images = {"clips": _CLIPS, "pixels": _PIXELS}.get(kind, _FILES if rgb else _TENSORS)
    return f"""In this folder, with trg_pyg installed{same}:

```python
import json
from pathlib import Path

{needed}
from trg_pyg.models import ImageClassifier, Normalize, build_model, load_weights

about = json.loads(Path("model.json").read_text())
network = build_model(about["network"], len(about["classes"]){told}, **about["args"])
load_weights(network, "{FORMATS["safetensors"].file}")
classifier = ImageClassifier(network, Normalize(tuple(about["mean"]), tuple(about["std"]))).eval()

{images}
{_FOUND if kind == "pixels" else _CLASSIFIED}
```"""


def _preparation(trained: TrainedNetwork) -> str:
    facts = trained.facts
    if trained.kind == "pixels":
        height, width = sides(facts.image_size)
        return _TILES.format(height=height, width=width)
    imports = "import re\nfrom pathlib import Path\n\n" if facts.frames else ""
    name = "prepare_frame" if facts.frames else "prepare"
    of_frames = _OF_FRAMES.format(frames=facts.frames) if facts.frames else ""
    return f"""The other files take {facts.item}s that were prepared so:

```python
{imports}import numpy as np
from PIL import Image, ImageOps


def {name}(file, size={sides(trained.facts.image_size)}, resize={sides(trained.resize)}):
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "{trained.background}"), image).convert("RGB")
    by, over = max((resize[0], image.height), (resize[1], image.width), key=lambda pair: pair[0] / pair[1])
    width, height = (by * side // over for side in image.size)
    image = image.resize((width, height), Image.Resampling.{trained.interpolation.upper()})
    left, top = round((width - size[1]) / 2), round((height - size[0]) / 2)
    pixels = np.asarray(image.crop((left, top, left + size[1], top + size[0])), np.float32) / 255
    return pixels.transpose(2, 0, 1)[None]
{of_frames}```"""


def _with_onnx(file: str) -> str:
    return f"""ONNX Runtime; normalisation is part of the graph, N is free:

```python
import onnxruntime

session = onnxruntime.InferenceSession("{FORMATS["onnx"].file}")
(logits,) = session.run(["logits"], {{"images": prepare("{file}")}})
```"""


def _with_torch_export(file: str) -> str:
    return f"""PyTorch alone; normalisation is part of the program, N is free. Such a file is code: load one only from
somebody whose code you would run.

```python
import torch

program = torch.export.load("{FORMATS["torch_export"].file}").module()
logits = program(torch.from_numpy(prepare("{file}")))
```"""


def _training(trained: TrainedNetwork, environment: dict[str, Any], teacher: dict[str, Any] | None) -> str:
    settings, recipe = trained.settings, trained.settings["train"]
    epochs = "1 epoch" if recipe["epochs"] == 1 else f"{recipe['epochs']} epochs"
    packages = environment.get("packages") or {}
    changed = ", with uncommitted changes" if environment.get("uncommitted_changes") else ""
    commit = environment.get("commit")
    rows = [
        ("method", f"{trained.method}, {_code(method_of(settings)[1])}"),
        ("data", _code(settings["data"])),
        ("seed", f"{trained.seed}"),
        (
            "recipe",
            f"{epochs}, batches of {recipe.get('batch_size')}, {recipe.get('optimizer')}, learning rate "
            f"{recipe.get('lr')} ({recipe.get('schedule')}), weight decay {recipe.get('weight_decay')}, "
            f"{recipe.get('precision')}",
        ),
        ("commit", f"`{commit}`{changed}" if commit else "not known"),
        (
            "packages",
            ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if packages.get(name)),
        ),
        ("device", str(environment.get("gpu") or environment.get("processor") or "not known")),
        ("weights", f"`{trained.weights.path.name}` of the run, sha256 `{trained.weights.sha256}`"),
    ]
    if teacher is not None:
        rows.insert(1, ("teacher", f"`{settings['teacher']['name']}`, weights of sha256 `{teacher.get('sha256')}`"))
    command = environment.get("command")
    typed = f"\n\n```bash\n{command}\n```" if command else ""
    return f"## Training{typed}\n\n{_about(rows)}"


def _limits(trained: TrainedNetwork, formats: Sequence[FormatName], tolerance: float) -> str:
    item = trained.facts.item
    limits = [f"The accuracy is that of {item}s like those it was trained on; on others it has not been measured."]
    if trained.kind != "pixels":
        known = f"It knows the classes above and gives one of them to every {item}, also to one that shows none."
        shares = (
            "Probabilities are the softmax of the logits: nothing was done to make them match how often they are right."
        )
        limits = [known, *limits, shares]
    imbalance = _data_options(trained).get("imbalance")
    if imbalance is not None:
        limits.append(
            f"It was trained on a long-tailed set of imbalance factor {imbalance:g}: rare classes are recognised less."
        )
    files = ", ".join(f"`{FORMATS[name].file}`" for name in formats)
    if files:
        limits.append(
            f"{files}: loaded again after they were written, their logits were those of the original but for rounding "
            f"({tolerance:.1e}), in batches of {', '.join(map(str, BATCHES))} {item}s on a CPU."
        )
    return "\n".join(["## Limits", "", *(f"* {limit}" for limit in limits)])


def _metrics(trained: TrainedNetwork) -> tuple[dict[str, float], str]:
    """Return the metrics of the epoch of the weights, without their prefix, and that epoch."""
    about = trained.weights.metadata
    epoch = about.get("epoch", "not known")
    of_epoch = [line for line in read_history(trained.folder) if str(line.get("epoch")) == epoch]
    if of_epoch and score_of(of_epoch).key in of_epoch[-1]:
        metrics = of_epoch[-1]
        return {name.removeprefix("test/"): metrics[name] for name in metrics if name.startswith("test/")}, epoch
    accuracy = trained.weights.accuracy
    return ({} if accuracy is None else {ImageClassification.score: accuracy}), epoch


def _data_options(trained: TrainedNetwork) -> dict[str, Any]:
    return trained.settings["data"].get("init_args") or {}


def _data(trained: TrainedNetwork) -> str:
    imbalance = _data_options(trained).get("imbalance")
    name = str(trained.settings["data"].get("class_path")).rpartition(".")[2]
    return name + ("" if imbalance is None else f", long-tailed by {imbalance:g}")


def _code(settings: Any) -> str:
    """Return settings on one line, without options that are not set."""
    return f"`{yaml.safe_dump(_set(settings), sort_keys=False, default_flow_style=True, width=10_000).strip()}`"


def _set(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _set(value) for name, value in settings.items() if value is not None}


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.4f}' for value in values)})"


def _about(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and what they are as a table without titles."""
    return markdown_table([["", ""], *([name, value.replace("|", "\\|").replace("\n", " ")] for name, value in rows)])
