"""From the tapped features of two networks to their tokens at the same places."""

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.step import Share
from trg_pyg.tokens.maps import as_map, common_grid, pool_to_grid
from trg_pyg.tokens.patch import check_patch, patchify, sample_positions, take_tokens


class Tokenizer:
    """Cuts the features of a student and a teacher into tokens of the same image regions.

    Maps are brought to a common grid, cut in patches, and the same random positions of both are kept.

    Args:
        student: the student's tap.
        teacher: the teacher's tap.
        patch: edge of a patch, in cells of the common grid.
        tokens_per_image: at most so many tokens are sampled of each image, >= 1; ``None`` keeps all.

    Attributes:
        token_grid: rows and columns of all tokens of an image.
        num_tokens: tokens kept of an image, n.
        student_dim: width of a student token, C_S p^2.
        teacher_dim: width of a teacher token, C_T p^2.

    Raises:
        InputError: the patch does not divide the common grid, or no token is asked for.
    """

    def __init__(
        self, student: FeatureInfo, teacher: FeatureInfo, *, patch: int = 1, tokens_per_image: int | None = None
    ) -> None:
        self.student, self.teacher, self.patch = student, teacher, patch
        self.grid = common_grid(student.grid, teacher.grid)
        check_patch(self.grid, patch)
        self.token_grid = self.grid[0] // patch, self.grid[1] // patch
        self.grid_tokens = self.token_grid[0] * self.token_grid[1]
        self.asked = self.grid_tokens if tokens_per_image is None else tokens_per_image
        require(self.asked >= 1, f"tokens_per_image={tokens_per_image}: choose 1 or more, or null for all")
        self.num_tokens = min(self.asked, self.grid_tokens)
        self.student_dim = student.channels * patch**2
        self.teacher_dim = teacher.channels * patch**2

    def fitted(self) -> list[str]:
        """Say how many tokens are kept, if an image has fewer than were asked for."""
        few = "1 token" if self.num_tokens == 1 else f"{self.num_tokens} tokens"
        return [f"{few} an image ({self.asked} asked for)"] if self.num_tokens < self.asked else []

    def positions(self, images: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
        """Draw the tokens that are kept of each image, as a call does.

        Returns:
            Numbers of tokens, row by row of ``token_grid``, ``[images, n]``, ascending in each row.
        """
        return sample_positions(images, self.grid_tokens, self.num_tokens, generator, device)

    def __call__(
        self, student: Tensor, teacher: Tensor, generator: torch.Generator, share: Share | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens ``[B, n, D_S]`` and ``[B, n, D_T]`` of tapped features; of a share those of the batch."""
        if self.num_tokens == self.grid_tokens:
            positions = None
        elif share is None:
            positions = self.positions(student.shape[0], generator, student.device)
        else:
            positions = self.positions(share.batch, generator, student.device)[share.first : share.last]
        return self.of_student(student, positions), self.of_teacher(teacher, positions)

    def of_student(self, feature: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the tokens ``[B, n, D_S]`` of a student's features at positions ``[B, n]``, or all of them."""
        return self._tokens(feature, self.student, positions)

    def of_teacher(self, feature: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the tokens ``[B, n, D_T]`` of a teacher's features at positions ``[B, n]``, or all of them."""
        return self._tokens(feature, self.teacher, positions)

    def _tokens(self, feature: Tensor, info: FeatureInfo, positions: Tensor | None) -> Tensor:
        tokens = patchify(pool_to_grid(as_map(feature, info), self.grid), self.patch)
        return tokens if positions is None else take_tokens(tokens, positions)
