import math

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, cost, load_weights, text_transformer

SMALL = {"vocabulary_size": 11, "width": 8, "depth": 2, "heads": 2, "max_positions": 7}
IDS = torch.tensor([[2, 5, 6, 7, 0, 0], [2, 9, 3, 4, 8, 10]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])


def network(**options):
    torch.manual_seed(0)
    return text_transformer(3, **(SMALL | options)).eval()


def transcribed(state, ids):
    """BERT's encoder (arXiv 1810.04805) on one text without padding, the mean of its tokens, and a linear layer."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        return (x - mean) / (var + 1e-12).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = torch.stack(
        [
            state["embeddings.word_embeddings.weight"][token]
            + state["embeddings.position_embeddings.weight"][place]
            + state["embeddings.token_type_embeddings.weight"][0]
            for place, token in enumerate(ids)
        ]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(2):
        at = f"encoder.layer.{layer}"
        query, key, value = (linear(x, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            scores = query[:, part] @ key[:, part].T / math.sqrt(4)
            heads.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ value[:, part])
        x = norm(x + linear(torch.cat(heads, 1), f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return linear(x.mean(0), "classifier")


def test_it_is_berts_encoder_and_padding_changes_nothing():
    model = network().double()
    expected = [transcribed(model.state_dict(), row[mask == 1].tolist()) for row, mask in zip(IDS, MASK, strict=True)]
    torch.testing.assert_close(model(IDS, MASK), torch.stack(expected))


def test_what_stands_in_the_place_of_padding_gets_no_gradient():
    model = network()
    seen = []
    model.embeddings.register_forward_hook(lambda module, args, x: seen.append(x))
    loss = F.cross_entropy(model(IDS, MASK), torch.tensor([0, 2]))
    (grad,) = torch.autograd.grad(loss, seen[0])
    assert (grad[MASK == 0] == 0).all()
    assert (grad[MASK == 1] != 0).any(dim=1).all()


def test_it_has_a_second_derivative():
    model = network().double()
    x = model.embeddings(IDS).detach()

    def gradient(x):
        x = x.requires_grad_()
        handle = model.embeddings.register_forward_hook(lambda module, args, out: x)
        loss = F.cross_entropy(model(IDS, MASK), torch.tensor([0, 2]))
        handle.remove()
        return torch.autograd.grad(loss, x, create_graph=True)[0]

    assert torch.autograd.gradcheck(lambda x: gradient(x)[:1, :2], (x.clone().requires_grad_(),), eps=1e-5, atol=1e-6)


def test_taps_are_layers_and_the_first_token_is_a_prefix():
    info = TappedModel(network(depth=4), "stages").describe({"input_ids": IDS[1:], "attention_mask": MASK[1:]})
    assert [(tap.path, tap.grid, tap.prefix_tokens) for tap in info.features] == [
        (f"encoder.layer.{layer}", (1, 5), 1) for layer in range(4)
    ]
    assert info.embedding == 8


def test_operations_are_counted():
    found = cost(network(), {"input_ids": IDS[1:], "attention_mask": MASK[1:]})
    a_layer = 2 * 6 * (4 * 8 * 8 + 2 * 8 * 32) + 2 * 2 * 6 * 6 * 8
    assert found.flops == 2 * a_layer + 2 * 8 * 3
    assert found.parameters == sum(parameter.numel() for parameter in network().parameters())


def test_weights_of_bert_are_read_without_its_pooler_and_with_a_new_classifier(tmp_path):
    torch.manual_seed(1)
    other = text_transformer(3, **SMALL)
    state = {f"bert.{name}": each.clone() for name, each in other.state_dict().items() if "classifier" not in name}
    state |= {"bert.pooler.dense.weight": torch.ones(8, 8), "cls.predictions.bias": torch.ones(11)}
    state["bert.embeddings.position_ids"] = torch.arange(7)
    save_file(state, tmp_path / "model.safetensors")
    model = network()
    loaded = load_weights(model, tmp_path / "model.safetensors", head="classifier")
    assert "classifier" in loaded.new_head
    assert (model.classifier.weight == 0).all()
    own = model.state_dict()
    assert all(torch.equal(own[name.removeprefix("bert.")], each) for name, each in state.items() if "enc" in name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width 8 is no multiple of heads 3"),
        ({"depth": 0}, "depth 0"),
        ({"hidden": 0}, "hidden 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        network(**options)


def test_texts_longer_than_the_positions_are_refused():
    with pytest.raises(InputError, match="texts of 6 pieces, and the network has 5 positions: lower max_tokens"):
        network(max_positions=5)(IDS, MASK)
