"""From the tapped features of two networks to their tokens at the same places."""

import math

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.errors import require
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.step import Share
from trg_pyg.tokens.maps import as_map, common_grid, pool_to_grid
from trg_pyg.tokens.patch import check_patch, patchify, sample_positions, sample_present, take_tokens


class Tokenizer:
    """Cuts the features of a student and a teacher into tokens of the same image regions.

    Maps are brought to a common grid, cut in patches, and the same random positions of both are kept. Of clips, patches
    lie in time and place: each is of one time. Of texts, whose
    tokens are those of the networks, padding is never kept: a text with too few tokens gives some of them twice.

    Args:
        student: the student's tap.
        teacher: the teacher's tap.
        patch: edge of a patch, in cells of the common grid.
        tokens_per_image: at most so many tokens are sampled of each image, >= 1; ``None`` keeps all.

    Attributes:
        token_grid: rows and columns of all tokens of an image; of a clip times before them.
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
        self.token_grid = (*self.grid[:-2], *(side // patch for side in self.grid[-2:]))
        self.grid_tokens = math.prod(self.token_grid)
        self.asked = self.grid_tokens if tokens_per_image is None else tokens_per_image
        require(self.asked >= 1, f"tokens_per_image={tokens_per_image}: choose 1 or more, or null for all")
        self.num_tokens = min(self.asked, self.grid_tokens)
        self.student_dim = student.channels * patch**2
        self.teacher_dim = teacher.channels * patch**2

    def fitted(self) -> list[str]:
        """Say how many tokens are kept, if an image has fewer than were asked for."""
        few = "1 token" if self.num_tokens == 1 else f"{self.num_tokens} tokens"
        return [f"{few} an image ({self.asked} asked for)"] if self.num_tokens < self.asked else []

    def positions(
        self,
        images: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        mask: Tensor | None = None,
        share: Share | None = None,
    ) -> Tensor:
        """Draw the tokens that are kept of each image, as a call does.

        Args:
            images: how many there are; of a share those of the batch.
            generator: CPU generator of the draws.
            device: where the positions are needed.
            mask: which tokens of each text are no padding, bool ``[images, prefix + tokens]``; of a share its own ones.
            share: whose images are asked for.

        Returns:
            Numbers of tokens, row by row of ``token_grid``, ``[images, n]``, ascending in each row.
        """
        if mask is None:
            positions = sample_positions(images, self.grid_tokens, self.num_tokens, generator, device)
            return positions if share is None else positions[share.first : share.last]
        present = mask[:, self.teacher.prefix_tokens :]
        require(
            self.patch == 1 and present.shape[1] == self.grid_tokens,
            f"{self.grid_tokens} tokens of patch {self.patch} for texts of {present.shape[1]}: a mask says which of a "
            "network's own tokens are padding; take patch 1, and networks that keep all tokens",
        )
        noise = torch.rand(images, self.grid_tokens, generator=generator)
        noise = noise if share is None else noise[share.first : share.last]
        return sample_present(present, self.num_tokens, to_device(noise, torch.device(device)))

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        generator: torch.Generator,
        share: Share | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens ``[B, n, D_S]`` and ``[B, n, D_T]`` of tapped features; of a share those of the batch."""
        positions = None
        if mask is not None or self.num_tokens < self.grid_tokens:
            images = student.shape[0] if share is None else share.batch
            positions = self.positions(images, generator, student.device, mask, share)
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
