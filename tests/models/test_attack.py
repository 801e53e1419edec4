import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg.errors import InputError
from trg_pyg.models import Attack, TappedModel, build_model, pgd


def case(images: int = 16):
    torch.manual_seed(0)
    network = TappedModel(build_model("resnet8", 5), []).eval()
    x = torch.randint(256, (images, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return lambda x: network(x).logits, x, torch.arange(images) % 5


def attack(network, images, target, seed: int = 0, **options):
    sizes = {"eps": 0.1, "step": 0.04, "steps": 3} | options
    start = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) - 1
    return pgd(network, images, target, start=start, **sizes)


def test_a_linear_network_is_attacked_against_the_sign_of_its_weights():
    """Whatever the start: the worst image of class 0 is x - eps sign(w), as far as it is in range."""
    w = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1)
    images = torch.tensor([[0.5, 0.5, 0.02]]).view(1, 3, 1, 1)

    def network(x):
        score = (w * x).sum((1, 2, 3))
        return torch.stack([score, -score], dim=1)

    found = attack(network, images, torch.tensor([0]), steps=10)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.4, 0.6, 0.0]))


def test_images_stay_near_and_in_range_and_are_harder():
    network, images, target = case()
    found = attack(network, images, target)
    assert (found - images / 255).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad
    clean, hard = (cross_entropy(network(x), target, reduction="none") for x in (images, found))
    assert (hard > clean).float().mean() > 0.95


def test_an_image_is_attacked_alike_in_any_company_and_from_any_type():
    network, images, target = case()
    alone = attack(network, images[:1], target[:1])
    among = attack(network, images, target)
    torch.testing.assert_close(alone, among[:1])
    torch.testing.assert_close(attack(network, images / 255, target), among)


@pytest.mark.parametrize("options", [{"eps": 0}, {"eps": 8}, {"step": 0}, {"steps": 0}], ids=str)
def test_sizes_that_are_none_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        attack(*case(), **options)


def test_of_each_image_the_worst_of_all_starts_counts_and_of_more_starts_none_is_better():
    network, images, target = case()

    def behind(restarts: int) -> torch.Tensor:
        attack = Attack(steps=2, eps=0.02, restarts=restarts)
        logits = network(attack(network, images, target, attack.generators())).detach()
        own = logits.gather(1, target[:, None])[:, 0]
        return logits.scatter(1, target[:, None], -torch.inf).amax(1) - own

    once, often = behind(1), behind(4)
    assert (often >= once).all()
    assert (often > once).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: an attack takes 1 step at least"),
        ({"eps": 8.0}, "eps=8.0: it is a share of the range of a pixel"),
        ({"step": 0.0}, "step=0.0: it is a share of the range of a pixel"),
        ({"restarts": 0}, "restarts=0: an attack starts once at least"),
        ({"seed": -1}, "seed=-1: give 0 or more"),
    ],
)
def test_an_attack_that_is_none_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Attack(**options)
