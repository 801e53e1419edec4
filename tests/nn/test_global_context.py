import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.nn import GlobalContext


def test_it_changes_nothing_at_the_start():
    features = torch.randn(2, 4, 3, 5)
    assert torch.equal(GlobalContext(4)(features), features)


def test_it_is_the_equation():
    torch.manual_seed(0)
    block, features = GlobalContext(4).double(), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    inner, norm, _, last = block.change
    torch.nn.init.normal_(last.weight)
    for image, found in zip(features, block(features), strict=True):
        cells = [image[:, y, x] for y in range(3) for x in range(5)]
        scores = torch.stack([(block.score.weight[0, :, 0, 0] * cell).sum() for cell in cells])
        context = sum(share * cell for share, cell in zip(scores.exp() / scores.exp().sum(), cells, strict=True))
        hidden = inner.weight @ context + inner.bias
        hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + norm.eps).sqrt()
        added = last.weight @ hidden.relu() + last.bias
        torch.testing.assert_close(found, image + added[:, None, None])


def test_one_channel_has_no_half():
    with pytest.raises(InputError, match="GlobalContext of 1 channels"):
        GlobalContext(1)
