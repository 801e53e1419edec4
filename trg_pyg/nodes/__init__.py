"""What the graphs of a relational method are made of: tokens, images, stages, embeddings."""

from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.channels import Channels
from trg_pyg.nodes.derived import Embedded, UnitLength
from trg_pyg.nodes.images import FlattenedMaps, Instances, Probabilities
from trg_pyg.nodes.stages import StageMaps, at_stage
from trg_pyg.nodes.tokens import Tokens

__all__ = [
    "Channels",
    "Embedded",
    "FlattenedMaps",
    "Instances",
    "NodePair",
    "Nodes",
    "Probabilities",
    "StageMaps",
    "Tokens",
    "UnitLength",
    "at_stage",
]
