import contextlib
import io
import string
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import yaml
from fuzzing import file_of, fuzz, judged

from trg_pyg.config.choices import read_choices
from trg_pyg.config.parser import build_parser
from trg_pyg.config.variants import class_names

CONFIGS = sorted((Path(__file__).parents[2] / "experiments").glob("configs/**/*.yaml"))
# Help and print_config end the program, as they should.
KEYS = sorted(set(build_parser().get_defaults().keys(branches=True)) - {"config"})
PARTS = sorted({part for key in KEYS for part in key.split(".")} | {"class_path", "init_args", "k", "alpha", "root"})
CLASSES = [*class_names(), "Digits", "CIFAR100", "ImageFolder", "ImageList", "trg_pyg.distillers.KD"]

words = st.one_of(
    st.sampled_from([*CLASSES, *PARTS, "TRG+KD", "Vanila", "os.system", "torch.nn.Linear", "no.such.Class", "a..b"]),
    st.text(max_size=12),
    st.text(string.printable, max_size=12),
)
scalars = st.one_of(
    words,
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([10**30, -(10**30), 1e-300, 1e300, float("nan"), float("inf"), -0.0]),
    st.floats(),
    st.dates(),
    st.binary(max_size=6),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(words, inner, max_size=4),
        st.dictionaries(st.one_of(st.integers(), st.none(), st.booleans()), inner, max_size=2),
        st.fixed_dictionaries({"class_path": words}, optional={"init_args": inner}),
    ),
    max_leaves=8,
)


def put(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set a dotted key in nested dictionaries, in the place of what is there."""
    here = tree
    *path, last = key.split(".")
    for part in path:
        if not isinstance(here.get(part), dict):
            here[part] = {}
        here = here[part]
    here[last] = value
    return tree


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A valid file, or an empty one, with some keys changed or added; or values of any form; or any bytes."""
    form = draw(st.sampled_from(["keys", "keys", "keys", "twice", "changed", "values", "text", "bytes"]))
    if form == "bytes":
        return draw(st.binary(max_size=60))
    if form == "text":
        return draw(st.text(string.printable, max_size=60)).encode()
    if form == "values":
        return yaml.safe_dump(draw(values), allow_unicode=True).encode("utf-8", "surrogatepass")
    if form == "changed":
        text = bytearray(draw(st.sampled_from(CONFIGS)).read_bytes())
        for _ in range(draw(st.integers(1, 3))):
            place = draw(st.integers(0, len(text) - 1))
            text[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        return bytes(text)
    tree = yaml.safe_load(draw(st.sampled_from(CONFIGS)).read_text()) if draw(st.booleans()) else {}
    for _ in range(draw(st.integers(1, 3))):
        put(tree, draw(st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), words)), draw(values))
    content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    if form == "twice":  # keys that may be there already, beside their groups, and what YAML 1.1 makes of numbers
        content += draw(st.sampled_from([b"train: {epochs: 1}\n", b"train.lr: 1\n", b"seeds: 010\n", b"seeds: 1:30\n"]))
    return content


@fuzz(5, 500, content=files())
def test_a_configuration_file_is_read_or_refused(content: bytes) -> None:
    with file_of(content, "study.yaml") as file, judged("configuration files"):
        read_choices([f"--config={file}"])


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    """Known options with any value, unknown ones, values without an option."""
    option = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), words)
    # An argument of a process has no zero byte.
    value = st.one_of(words, scalars.map(str), values.map(lambda tree: yaml.safe_dump(tree, default_flow_style=True)))
    argv = []
    for _ in range(draw(st.integers(1, 4))):
        form = draw(st.sampled_from(["--{}={}", "--{}={}", "--{} {}", "--{}", "{}", "-{}={}"]))
        argv += form.replace("{}", "\0").split(" ")
        argv = [part.replace("\0", draw(option).replace("\0", ""), 1) for part in argv]
        argv = [part.replace("\0", draw(value).replace("\0", ""), 1) for part in argv]
    return [argument for argument in argv if argument[:3] not in ("--h", "--p", "-h")]


@fuzz(5, 400, argv=arguments())
def test_a_command_line_is_read_or_refused(argv: list[str]) -> None:
    with judged("command lines"), contextlib.redirect_stdout(io.StringIO()):
        try:
            read_choices(argv)
        except SystemExit as end:  # --data.help and the like
            if end.code != 0:
                raise
