import copy
import dataclasses
import inspect

import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg.distillers import KD, TRG, TRGPaper
from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import ContextualLoss, LocalStructureLoss, LogitKD, TemperatureSchedule
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.relations import Gaussian, GivenWeight, Softmax
from trg_pyg.tokens import Tokenizer

OPTIONS = [
    {},
    {"local_support": "all", "local_edges": "own", "local_direction": "student", "local_temperature": 1.0},
    {"local_support": "all", "local_edges": "teacher", "reduction": "sum", "scope": "image"},
    {"inner_structure": "dense", "symmetric": True, "sigma": "auto", "tokens_per_image": None},
    {"propagation": "gnn", "hops": 2, "readout": "max", "graph_temperature": 0.3},
    {"patch": 2, "tokens_per_image": 4, "k": 3, "normalize": False, "sigma": 7.0},
    {"tau_start": 0.9, "tau_end": 0.2, "tau_curve": "linear", "tau": 2.0, "projection_dim": 7},
    {"softness": 0.5, "local_temperature": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "defaults")
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_total_is_the_weighted_sum_of_the_public_losses_by_hand(options, progress, networks, outputs, step):
    """The same sampled tokens, through the public builders and losses; projections are the distiller's own."""
    options = {"tokens_per_image": 7, "k": 3} | options
    weights = {"alpha": 2.0, "beta": 3.0, "gamma": 5.0, "delta": 7.0}
    torch.manual_seed(0)
    distiller = TRG(*networks, ce_weight=11.0, kd_weight=13.0, **weights, **options)
    student, teacher = outputs()
    losses = distiller(student, teacher, step(progress=progress))

    option = {name: p.default for name, p in inspect.signature(TRG).parameters.items()} | options
    tokenize = Tokenizer(
        networks[0].features[-1],
        networks[1].features[-1],
        patch=option["patch"],
        tokens_per_image=option["tokens_per_image"],
    )
    tokens_s, tokens_t = tokenize(student.features[-1], teacher.features[-1], step().generator)
    how = {
        "weight": Gaussian(option["sigma"]),
        "normalize": option["normalize"],
        "symmetric": option["symmetric"],
    }
    image, joint = KNNGraph(option["k"], **how), KNNGraph(option["k"], scope=option["scope"], **how)
    image_t, joint_t = image(tokens_t), joint(tokens_t)
    joint_s = joint(tokens_s) if option["local_edges"] == "own" else joint.reweight(joint_t, tokens_s)
    local = LocalStructureLoss(
        option["local_support"], option["local_direction"], option["local_temperature"], option["reduction"]
    )
    of_teacher = copy.copy(joint_t)
    of_teacher.edge_weight = Softmax(GivenWeight(), option["local_temperature"])(joint_t)
    tau_g = TemperatureSchedule(option["tau_start"], option["tau_end"], option["tau_curve"])(progress)
    expected = {
        "ce": cross_entropy(student.logits, step().target),
        "kd": LogitKD(option["tau"])(student.logits, teacher.logits),
        "inner": ContextualLoss(option["inner_structure"])(image.reweight(image_t, tokens_s), image_t),
        "local": local(joint_s, joint_t),
        "global": distiller.contrast(tokens_s.flatten(0, 1), tokens_t.flatten(0, 1), tau_g, neighbors=of_teacher),
        "graph": distiller.match(image(tokens_s), image_t),
    }
    assert losses.parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses.parts[name], value.detach(), msg=name)
    total = sum(w * v for w, v in zip([11.0, 13.0, *weights.values()], expected.values(), strict=True))
    torch.testing.assert_close(losses.total, total)
    leaves = [student.logits, student.features[-1], *distiller.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(losses.total, leaves), torch.autograd.grad(total, leaves), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("weight", "part"), [("alpha", "inner"), ("beta", "local"), ("gamma", "global"), ("delta", "graph")]
)
def test_weight_zero_leaves_a_part_out_and_the_others_unchanged(weight, part, networks, outputs, step):
    options = {"tokens_per_image": 7, "k": 3, "propagation": "gnn"}
    torch.manual_seed(0)
    whole, without = TRG(*networks, **options), TRG(*networks, **options, **{weight: 0})
    without.load_state_dict(whole.state_dict(), strict=False)
    full, less = whole(*outputs(), step()), without(*outputs(), step())
    assert part in full.parts
    assert part not in less.parts
    for name, value in less.parts.items():
        torch.testing.assert_close(value, full.parts[name])


def test_parameters_exist_only_where_they_train(networks, outputs, step):
    options = {"tokens_per_image": 7, "k": 3, "propagation": "gnn"}
    assert not list(TRG(*networks, **options, gamma=0, delta=0).parameters())
    for weights in ({}, {"gamma": 0}, {"delta": 0}):
        distiller = TRG(*networks, **options, **weights)
        distiller(*outputs(), step()).total.backward()
        assert list(distiller.parameters())
        assert all(p.grad is not None and (p.grad != 0).any() for p in distiller.parameters())


def test_without_relations_it_is_kd(networks, outputs, step):
    off = {"alpha": 0, "beta": 0, "gamma": 0, "delta": 0}
    losses = TRG(*networks, ce_weight=0.1, kd_weight=0.9, **off)(*outputs(), step())
    torch.testing.assert_close(losses.total, KD(*networks)(*outputs(), step()).total)
    assert list(losses.parts) == ["ce", "kd"]


def test_the_last_tap_is_cut_in_tokens(networks, outputs, step):
    student, teacher = networks
    torch.manual_seed(0)
    one = TRG(student, teacher)
    torch.manual_seed(0)
    two = TRG(NetworkInfo(5, (dataclasses.replace(student.features[-1], channels=99), *student.features)), teacher)
    out_s, out_t = outputs()
    more = out_s._replace(features=(torch.zeros(3, 99, 8, 8), *out_s.features))
    torch.testing.assert_close(two(more, out_t, step()).total, one(out_s, out_t, step()).total)


def test_another_seed_samples_other_tokens(networks, outputs, step):
    distiller = TRG(*networks, tokens_per_image=7, k=3)
    first, second = (distiller(*outputs(), step(seed=seed)).parts for seed in (0, 1))
    assert first["local"] != second["local"]
    assert first["kd"] == second["kd"]


def test_progress_lowers_the_temperature_of_the_contrast_alone(networks, outputs, step):
    distiller = TRG(*networks, tokens_per_image=7, k=3, tau_start=0.5, tau_curve="cosine")
    early, late = (distiller(*outputs(), step(progress=p)).parts for p in (0.0, 1.0))
    changed = [name for name in early if early[name] != late[name]]
    assert changed == ["global"]


@pytest.mark.parametrize(
    ("cooldown", "progress", "share"),
    [
        *((0.0, 0.0, 0.0), (0.0, 0.1, 0.25), (0.0, 0.4, 1.0), (0.0, 0.9, 1.0)),
        *((0.5, 0.1, 0.25), (0.5, 0.5, 1.0), (0.5, 0.75, 0.5), (0.5, 1.0, 0.0), (1.0, 0.2, 0.5 * 0.8)),
    ],
)
def test_warmup_and_cooldown_change_the_relational_weights_alone(cooldown, progress, share, networks, outputs, step):
    options = {"tokens_per_image": 7, "k": 3, "alpha": 2.0, "beta": 3.0, "gamma": 5.0, "delta": 7.0}
    torch.manual_seed(0)
    distiller = TRG(*networks, **options, ce_weight=11.0, kd_weight=13.0, warmup=0.4, cooldown=cooldown)
    losses = distiller(*outputs(), step(progress=progress))
    relations = sum(
        options[w] * losses.parts[p]
        for w, p in (("alpha", "inner"), ("beta", "local"), ("gamma", "global"), ("delta", "graph"))
    )
    expected = 11 * losses.parts["ce"] + 13 * losses.parts["kd"] + share * relations
    torch.testing.assert_close(losses.total.detach(), expected)


@pytest.mark.parametrize("option", ["warmup", "cooldown"])
@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_warmup_and_cooldown_are_shares(option, share, networks):
    with pytest.raises(InputError, match=f"{option}={share}: it is a share of the training, from 0 to 1"):
        TRG(*networks, **{option: share})


def test_inner_compares_cosines_at_a_temperature(networks, outputs, step):
    options = {"tokens_per_image": None, "k": 3}
    with_cosines = TRG(*networks, **options, inner_temperature=0.1)(*outputs(), step()).parts
    student, teacher = outputs()
    longer = teacher._replace(features=tuple(9 * each for each in teacher.features))
    assert TRG(*networks, **options, inner_temperature=0.1)(student, longer, step()).parts["inner"] == pytest.approx(
        with_cosines["inner"].item()
    )
    assert TRG(*networks, **options)(student, longer, step()).parts["inner"] != with_cosines["inner"]
    with pytest.raises(InputError, match="inner_temperature"):
        TRG(*networks, inner_temperature=0.0)


@pytest.mark.parametrize("images", [1, 2])
def test_small_batches(images, networks, outputs, step):
    losses = TRG(*networks)(*outputs(images), step(images))
    losses.total.backward()
    assert losses.total.isfinite()


@pytest.mark.parametrize("kind", ["zero", "constant", "large", "negative"])
def test_degenerate_features_have_finite_gradients(kind, networks, outputs, step):
    """Dead channels, flat images, and features of thousands happen in training."""
    student, teacher = outputs()
    make = {
        "zero": lambda x: x * 0,
        "constant": lambda x: x * 0 + 1,
        "large": lambda x: x * 1e4,
        "negative": lambda x: -x.abs(),
    }[kind]
    hard = [side._replace(features=(side.features[0], make(side.features[-1]))) for side in (student, teacher)]
    distiller = TRG(*networks, propagation="gnn")
    losses = distiller(*hard, step())
    losses.total.backward()
    assert losses.total.isfinite()
    assert student.features[-1].grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in distiller.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tokens_per_image": 1, "beta": 0, "gamma": 0},
            r"inner and graph of images of 1 token \(patch 1 on the 4x4 grid\): nothing is left to compare; tap",
        ),
        ({"patch": 4, "scope": "image", "gamma": 0, "alpha": 0, "delta": 0}, r"local of images of 1 token \(patch 4 "),
        ({"k": 0}, r"K=0"),
        ({"patch": 3}, r"patch=3 does not divide the 4x4"),
        ({"tokens_per_image": 0}, r"tokens_per_image=0"),
        ({"local_support": "neighbors", "local_edges": "own"}, r"local_support=neighbors with local_edges=own"),
        ({"local_support": "none"}, r"support=none"),
        ({"local_edges": "student"}, r"local_edges=student: choose own or teacher"),
        ({"local_direction": "both"}, r"direction=both"),
        ({"local_temperature": 0}, r"temperature=0"),
        ({"inner_structure": "sparse"}, r"structure=sparse"),
        ({"reduction": "none"}, r"reduction=none"),
        ({"scope": "epoch"}, r"scope=epoch"),
        ({"sigma": 0}, r"sigma=0"),
        ({"tau": 0}, r"tau=0"),
        ({"tau_start": 0}, r"tau_start=0"),
        ({"softness": 0.5, "scope": "image"}, r"softness=0.5 with scope=image"),
        ({"tau_end": -1}, r"tau_end=-1"),
        ({"tau_curve": "step"}, r"tau_curve=step"),
        ({"projection_dim": 0}, r"to 0: widths"),
        ({"hops": -1}, r"hops=-1"),
        ({"propagation": "gat"}, r"propagation=gat"),
        ({"readout": "median"}, r"readout=median"),
        ({"graph_temperature": 0}, r"temperature=0"),
        *[({name: -0.5}, rf"{name}=-0\.5") for name in ("alpha", "beta", "gamma", "delta")],
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_impossible_options_are_named_when_built(options, message, networks):
    with pytest.raises(InputError, match=message):
        TRG(*networks, **options)


def on_grid(side: int, images: int) -> tuple:
    """Networks whose last map has side x side cells, and their outputs."""
    draw = torch.Generator().manual_seed(side)
    networks = [NetworkInfo(5, (FeatureInfo("layer4", "map", width, (side, side)),)) for width in (6, 4)]
    outputs = [
        Outputs(
            *(torch.randn(images, *shape, generator=draw).requires_grad_() for shape in ((5,), (width, side, side)))
        )
        for width in (6, 4)
    ]
    return networks, [each._replace(features=(each.features,)) for each in outputs]


@pytest.mark.parametrize(
    ("side", "images", "of_image", "of_batch"), [(2, 3, 3, 8), (2, 2, 3, 7), (2, 1, 3, 3), (3, 1, 8, 8)]
)
def test_on_a_small_map_there_are_as_many_tokens_and_neighbours_as_it_has(side, images, of_image, of_batch, step):
    networks, outputs = on_grid(side, images)
    torch.manual_seed(0)
    distiller = TRG(*networks)
    losses = distiller(*outputs, step(images))
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in distiller.parameters())
    for k, parts in ((of_image, ("inner", "graph")), (of_batch, ("local",))):
        exact = TRG(*networks, tokens_per_image=None, k=k)
        exact.load_state_dict(distiller.state_dict())
        wanted = exact(*outputs, step(images)).parts
        assert all(torch.equal(losses.parts[part], wanted[part]) for part in parts)
    tokens, *neighbours = distiller.fitted(images)
    assert tokens == f"{side**2} tokens an image (16 asked for)"
    assert neighbours == [
        f"k {k} in a graph of {k + 1} nodes (8 asked for)" for k in sorted({of_batch, of_image} - {8})[::-1]
    ]


def test_on_a_map_of_one_cell_tokens_are_compared_between_images_and_the_rest_is_left_out(step):
    networks, outputs = on_grid(1, 4)
    distiller = TRG(*networks)
    losses = distiller(*outputs, step(4))
    losses.total.backward()
    assert list(losses.parts) == ["ce", "kd", "local", "global"]
    assert all(p.grad is not None for p in distiller.parameters())
    assert list(distiller.graph_sizes(4)) == ["local"]
    assert distiller.fitted(4) == [
        "1 token an image (16 asked for)",
        "k 3 in a graph of 4 nodes (8 asked for)",
        "without inner and graph: an image has 1 token",
    ]
    assert TRGPaper(*networks).fitted(9)[1:] == ["without inner: an image has 1 token"]
