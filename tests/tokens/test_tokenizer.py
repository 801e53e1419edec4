import pytest
import torch
from inputs import generator
from torch.nn.functional import avg_pool2d

from trg_pyg.errors import InputError
from trg_pyg.models.taps import FeatureInfo
from trg_pyg.tokens import Tokenizer

CNN = FeatureInfo("layer3", "map", 3, (8, 8))
VIT = FeatureInfo("blocks.11", "sequence", 5, (4, 4), prefix_tokens=1)


def test_a_fine_convolutional_student_meets_a_coarse_transformer():
    tokenize = Tokenizer(CNN, VIT)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    tokens_s, tokens_t = tokenize(student, teacher, generator())
    assert (tokenize.num_tokens, tokenize.student_dim, tokenize.teacher_dim) == (16, 3, 5)
    torch.testing.assert_close(tokens_s, avg_pool2d(student, 2).flatten(2).mT)
    # The class token takes no part; a ViT's patch tokens are the tokens.
    assert torch.equal(tokens_t, teacher[:, 1:])


def test_patches_of_both_are_cut_on_the_common_grid():
    tokenize = Tokenizer(CNN, VIT, patch=2)
    tokens_s, tokens_t = tokenize(torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5), generator())
    assert tokens_s.shape == (2, 4, 3 * 4)
    assert tokens_t.shape == (2, 4, 5 * 4)
    assert (tokenize.grid, tokenize.student_dim, tokenize.teacher_dim) == ((4, 4), 12, 20)


def test_student_and_teacher_are_sampled_at_the_same_positions():
    # Both maps hold the number of the cell, so the tokens tell where they come from.
    cells = torch.arange(16.0).view(1, 1, 4, 4).expand(3, 1, 4, 4)
    info = FeatureInfo("layer3", "map", 1, (4, 4))
    sequence = FeatureInfo("blocks", "sequence", 1, (4, 4), prefix_tokens=1)
    tokenize = Tokenizer(info, sequence, tokens_per_image=6)
    teacher = torch.cat([torch.full((3, 1, 1), -1.0), cells.flatten(2).mT], dim=1)
    tokens_s, tokens_t = tokenize(cells, teacher, generator())
    assert tokens_s.shape == (3, 6, 1)
    assert torch.equal(tokens_s, tokens_t)
    assert (tokens_s.squeeze(-1).diff(dim=1) > 0).all()


def test_fresh_positions_each_step_and_the_same_for_the_same_seed():
    tokenize = Tokenizer(CNN, VIT, tokens_per_image=5)
    features = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    g = generator(1)
    first, second = tokenize(*features, g), tokenize(*features, g)
    again = tokenize(*features, generator(1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])


def test_all_tokens_do_not_touch_the_generator():
    g = generator()
    before = g.get_state()
    Tokenizer(CNN, VIT, tokens_per_image=16)(torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5), g)
    assert torch.equal(g.get_state(), before)


def test_gradient_reaches_the_features():
    student = torch.randn(2, 3, 8, 8, requires_grad=True)
    tokens, _ = Tokenizer(CNN, VIT, tokens_per_image=4)(student, torch.randn(2, 17, 5), generator())
    tokens.sum().backward()
    # 4 tokens of 2 x 2 pooled cells and 3 channels, in each of 2 images
    assert (student.grad != 0).sum() == 2 * 4 * 4 * 3


def test_patch_that_does_not_divide_is_refused_when_built():
    with pytest.raises(InputError, match="patch=3 does not divide the 4x4 feature grid"):
        Tokenizer(CNN, VIT, patch=3)


def test_where_an_image_has_fewer_tokens_than_are_asked_for_all_are_taken():
    tokenize = Tokenizer(CNN, VIT, patch=2, tokens_per_image=5)
    assert (tokenize.num_tokens, tokenize.fitted()) == (4, ["4 tokens an image (5 asked for)"])
    features = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    every = Tokenizer(CNN, VIT, patch=2)
    for found, wanted in zip(tokenize(*features, generator()), every(*features, generator()), strict=True):
        assert torch.equal(found, wanted)
    assert Tokenizer(CNN, VIT, tokens_per_image=16).fitted() == every.fitted() == []
    with pytest.raises(InputError, match="tokens_per_image=0: choose 1 or more, or null for all"):
        Tokenizer(CNN, VIT, tokens_per_image=0)


def test_a_feature_of_another_image_size_names_the_tap():
    with pytest.raises(InputError, match="tap layer3"):
        Tokenizer(CNN, VIT)(torch.randn(2, 3, 7, 7), torch.randn(2, 17, 5), generator())


def test_tokens_of_one_network_are_those_of_a_call_at_the_positions_that_it_draws():
    tokenize = Tokenizer(CNN, VIT, patch=2, tokens_per_image=3)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    tokens_s, tokens_t = tokenize(student, teacher, generator(4))
    positions = tokenize.positions(2, generator(4))
    assert positions.shape == (2, 3)
    assert torch.equal(tokenize.of_student(student, positions), tokens_s)
    assert torch.equal(tokenize.of_teacher(teacher, positions), tokens_t)
    every = Tokenizer(CNN, VIT, patch=2)(student, teacher, generator())
    assert torch.equal(tokenize.of_student(student), every[0])
    assert torch.equal(tokenize.of_teacher(teacher), every[1])
    assert tokenize.token_grid == (2, 2)
