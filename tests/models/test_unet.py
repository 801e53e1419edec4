import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, build_model, unet
from trg_pyg.models.unet import PIXEL_EMBEDDING


def test_each_level_halves_the_grid():
    info = TappedModel(unet(2, (4, 6, 8)), "stages").describe((24, 32))
    found = [(tap.path, tap.channels, tap.grid) for tap in info.features]
    assert found == [("down.2", 8, (6, 8)), ("up.1", 6, (12, 16)), ("up.0", 4, (24, 32))]
    assert (info.num_classes, info.pixels) == (2 + PIXEL_EMBEDDING, (24, 32))


def test_sides_that_do_not_halve_change_nothing_far_from_the_border():
    torch.manual_seed(0)
    network = unet(2, (2, 3)).eval()
    images = torch.rand(1, 3, 40, 40)
    cut = network(images[:, :, :39, :37])
    assert cut.shape == (1, 2 + PIXEL_EMBEDDING, 39, 37)
    torch.testing.assert_close(cut[:, :, :24, :24], network(images)[:, :, :24, :24])


@pytest.mark.parametrize("widths", [[8], [8, 0]])
def test_widths_that_make_no_network_are_named(widths):
    with pytest.raises(InputError, match=rf"unet widths \[{', '.join(map(str, widths))}\]: give two levels or more"):
        build_model("unet", 2, widths=widths)


def test_a_student_of_a_quarter_of_the_widths_has_a_fifteenth_of_the_parameters():
    sizes = [sum(p.numel() for p in unet(2, widths).parameters()) for widths in ((4, 8, 16, 32), (16, 32, 64, 128))]
    assert 14 < sizes[1] / sizes[0] < 16
