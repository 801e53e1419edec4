"""Features of clips: tokens are cells in time and place."""

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.losses import AttentionLoss
from trg_pyg.models import FeatureInfo
from trg_pyg.tokens import Tokenizer, common_grid, patchify, plane_of, pool_to_grid


def volume(channels: int, *grid: int, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, *grid, generator=draws, dtype=torch.float64)


def test_patches_are_of_one_time_each_and_come_time_by_time():
    x = volume(3, 2, 4, 6)
    each = [patchify(x[:, :, time], 2) for time in range(2)]
    assert torch.equal(patchify(x, 2), torch.cat(each, dim=1))


def test_a_volume_is_averaged_to_a_coarser_grid_in_time_and_place():
    x = volume(3, 4, 4, 6)
    blocks = x.unflatten(4, (3, 2)).unflatten(3, (2, 2)).unflatten(2, (2, 2))
    torch.testing.assert_close(pool_to_grid(x, (2, 2, 3)), blocks.mean((3, 5, 7)))
    assert pool_to_grid(x, (4, 4, 6)) is x


def test_student_and_teacher_of_other_grids_have_tokens_of_the_same_cells():
    student, teacher = FeatureInfo("a", "volume", 3, (2, 4, 4)), FeatureInfo("b", "volume", 5, (4, 2, 4))
    tokenize = Tokenizer(student, teacher, patch=2, tokens_per_image=3)
    assert tokenize.token_grid == (2, 1, 2)
    assert (tokenize.student_dim, tokenize.teacher_dim) == (12, 20)
    s, t = volume(3, 2, 4, 4), volume(5, 4, 2, 4, seed=1)
    draws = torch.Generator().manual_seed(2)
    positions = tokenize.positions(2, torch.Generator().manual_seed(2))
    ours, theirs = tokenize(s, t, draws)
    for image, places in enumerate(positions.tolist()):
        for row, place in enumerate(places):
            time, column = divmod(place, 2)
            cells = slice(2 * column, 2 * column + 2)
            pooled = s[image, :, time].view(3, 2, 2, 4).mean(2)[:, :, cells]
            torch.testing.assert_close(ours[image, row], pooled.flatten())
            pooled = t[image, :, 2 * time : 2 * time + 2].mean(1)[:, :, cells]
            torch.testing.assert_close(theirs[image, row], pooled.flatten())


def test_attention_is_over_all_times_together():
    s, t = volume(3, 2, 4, 5), volume(6, 2, 4, 5, seed=1)
    found = AttentionLoss()(s, t)
    torch.testing.assert_close(found, AttentionLoss()(s.flatten(2, 3), t.flatten(2, 3)))


def test_maps_and_volumes_are_not_compared():
    with pytest.raises(InputError, match="features on 2x4x4 and on 4x4 have other axes"):
        common_grid((2, 4, 4), (4, 4))
    with pytest.raises(InputError, match="features on 2x4x4, cells in time and place, where maps of images are needed"):
        plane_of((2, 4, 4))
    with pytest.raises(InputError, match="grid 2x2 for a map on 2x4x4"):
        pool_to_grid(volume(3, 2, 4, 4), (2, 2))
