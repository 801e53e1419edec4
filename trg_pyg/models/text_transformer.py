"""Transformers for texts, in the shape of BERT."""

import math

from torch import Tensor, nn
from torch.nn.functional import gelu

from trg_pyg.errors import require
from trg_pyg.models._probe import ends_of_quarters


def text_transformer(
    num_classes: int = 10,
    vocabulary_size: int = 30522,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    max_positions: int = 512,
    dropout: float = 0.1,
) -> "TextTransformer":
    """A transformer encoder with the layers and the names of BERT (Devlin et al., arXiv 1810.04805).

    The logits are those of a linear layer on the mean of all tokens, as sentence encoders pool; BERT's own pooler and
    heads are passed over in a file of weights. MiniLM with 6 layers is width 384, depth 6, heads 12.

    Args:
        num_classes: width of the logits.
        vocabulary_size: numbers that a piece of a text can have.
        width: of the features of a token.
        depth: layers.
        heads: of each attention; they divide the width.
        hidden: width within a layer's perceptron; ``None`` for 4 times the width.
        max_positions: pieces of a text, at most.
        dropout: probability, in training.

    Returns:
        A network whose default taps are the last layers of each quarter of the depth, ``[B, n, width]``. Its first
        token stands for the text and is a prefix.

    Raises:
        InputError: the heads do not divide the width, or a number is below 1.
    """
    hidden = 4 * width if hidden is None else hidden
    numbers = {"vocabulary_size": vocabulary_size, "width": width, "depth": depth, "heads": heads, "hidden": hidden}
    for name, value in (numbers | {"max_positions": max_positions}).items():
        require(value >= 1, f"text_transformer {name} {value}: give 1 or more")
    require(width % heads == 0, f"text_transformer width {width} is no multiple of heads {heads}")
    require(0 <= dropout < 1, f"text_transformer dropout {dropout}: give a probability from 0 to below 1")
    return TextTransformer(num_classes, vocabulary_size, width, depth, heads, hidden, max_positions, dropout)


class TextTransformer(nn.Module):
    """See :func:`text_transformer`, whose arguments these are."""

    classifier_path = "classifier"
    num_prefix_tokens = 1
    # What the attribution of a text is of.
    embeddings_path = "embeddings"
    # Parts of names in files of BERT's weights that have no place here.
    unused_weights = ("pooler.", "position_ids", "cls.")

    def __init__(
        self,
        num_classes: int,
        vocabulary_size: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        max_positions: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embeddings = _Embeddings(vocabulary_size, width, max_positions, dropout)
        layers = [_Layer(width, heads, hidden, dropout) for _ in range(depth)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.classifier = nn.Linear(width, num_classes)
        self.default_taps = tuple(f"encoder.layer.{index}" for index in ends_of_quarters(depth))
        self.apply(_start)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the logits ``[B, classes]``.

        Args:
            input_ids: numbers of the pieces, int64 ``[B, n]``.
            attention_mask: 1 at pieces and 0 at padding, int64 ``[B, n]``.

        Raises:
            InputError: texts are longer than the network has positions.
        """
        x = self.embeddings(input_ids)
        there = attention_mask.to(x.dtype).unsqueeze(2)
        # Added to scores: finite, so that the softmax of a text without a piece is no NaN.
        hidden = (1 - there.mT).unsqueeze(1) * -1e4
        for layer in self.encoder.get_submodule("layer").children():
            x = layer(x, hidden)
        logits: Tensor = self.classifier((x * there).sum(1) / there.sum(1).clamp(min=1))
        return logits


class _Embeddings(nn.Module):
    def __init__(self, vocabulary_size: int, width: int, max_positions: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary_size, width)
        self.position_embeddings = nn.Embedding(max_positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        length, most = ids.shape[1], self.position_embeddings.num_embeddings
        require(length <= most, f"texts of {length} pieces, and the network has {most} positions: lower max_tokens")
        # Every text is a first part: BERT's second is that of a pair.
        places = self.position_embeddings.weight[:length] + self.token_type_embeddings.weight[0]
        x: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(ids) + places))
        return x


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")}),
                "output": _dense(width, width),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = _dense(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        of = self.attention["self"]
        query, key, value = (
            of[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[index]
            for name in ("query", "key", "value")
        )
        # Written out, since fused attention cannot be differentiated twice.
        scores = query @ key.mT / math.sqrt(query.shape[-1]) + hidden
        taken = self.dropout(scores.softmax(-1)) @ value
        x = self._added(self.attention["output"], taken.transpose(1, 2).flatten(2), x)
        return self._added(self.output, gelu(self.intermediate["dense"](x)), x)

    def _added(self, part: nn.Module, inner: Tensor, x: Tensor) -> Tensor:
        out: Tensor = part["LayerNorm"](x + self.dropout(part["dense"](inner)))  # type: ignore[index]
        return out


def _dense(inner: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
