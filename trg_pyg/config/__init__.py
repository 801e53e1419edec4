"""What a study can be told: the schema of its configuration, and how a command line becomes choices."""

from trg_pyg.config.choices import Choices, read_choices
from trg_pyg.config.methods import Method
from trg_pyg.config.parser import build_parser
from trg_pyg.config.schema import Config, MethodsConfig, NetworkConfig, TeacherConfig
from trg_pyg.config.stored import read_network, read_part

__all__ = [
    "Choices",
    "Config",
    "Method",
    "MethodsConfig",
    "NetworkConfig",
    "TeacherConfig",
    "build_parser",
    "read_choices",
    "read_network",
    "read_part",
]
