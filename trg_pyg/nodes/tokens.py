"""Patches of images as nodes."""

from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.tokenizer import Tokenizer


class Tokens(Nodes):
    """The tokens of each image at the same places in both networks, from one tap of each.

    Args:
        student: the student's features.
        teacher: the teacher's.
        patch: edge of a token, in cells of the feature grid common to both networks.
        tokens_per_image: tokens sampled of each image in each step; ``None`` for all.
        stage: index of the tap of both networks: -1 is the last.

    Attributes:
        grid: rows and columns of all tokens of an image; of a clip times before them.

    Raises:
        InputError: as :class:`~trg_pyg.tokens.tokenizer.Tokenizer`, or a network has no such tap.
    """

    per_image = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo,
        patch: int = 1,
        tokens_per_image: int | None = None,
        stage: int = -1,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.tokenize = Tokenizer(
            at_stage(student, stage, "student"),
            at_stage(teacher, stage, "teacher"),
            patch=patch,
            tokens_per_image=tokens_per_image,
        )
        self.student_dim, self.teacher_dim = self.tokenize.student_dim, self.tokenize.teacher_dim
        self.num_tokens = self.tokenize.num_tokens
        self.grid = self.tokenize.token_grid

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[B, n, D_S]`` and ``[B, n, D_T]``."""
        tapped = student.features[self.stage], teacher.features[self.stage].detach()
        return NodePair(*self.tokenize(*tapped, step.generator, step.share, step.mask))
