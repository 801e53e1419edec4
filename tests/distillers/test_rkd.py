import pytest
import relational_equations as equations
import torch
from inputs import HARD
from toys import with_embedding

from trg_pyg.distillers import KD, RKD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


@pytest.mark.parametrize("images", [3, 4, 7])
def test_terms_equal_the_papers_equations(images, networks, outputs, step, close):
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    terms = RKD(*networks).terms
    leaves = [student.logits, *student.features, student.embedding]
    expected = equations.rkd_distance(student.embedding, teacher.embedding.detach())
    close(terms["distance"](student, teacher, step(images)), expected, leaves)
    expected = equations.rkd_angle(student.embedding, teacher.embedding.detach())
    close(terms["angle"](student, teacher, step(images)), expected, leaves)


def test_total_is_cross_entropy_and_25_distance_and_50_angle(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    losses = RKD(*networks)(student, teacher, step(4))
    f_s, f_t = student.embedding, teacher.embedding.detach()
    expected = (
        equations.cross_entropy(student.logits, step(4).target)
        + 25 * equations.rkd_distance(f_s, f_t)
        + 50 * equations.rkd_angle(f_s, f_t)
    )
    assert list(losses.parts) == ["ce", "distance", "angle"]
    close(losses.total, expected, [student.logits, student.embedding])


def test_with_logit_distillation_the_part_is_that_of_kd(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    losses = RKD(*networks, ce_weight=0.5, kd_weight=1.0, tau=3.0, distance_weight=2.0, angle_weight=0)(
        student, teacher, step()
    )
    assert torch.equal(losses.parts["kd"], KD(*networks, tau=3.0)(student, teacher, step()).parts["kd"])
    expected = (
        0.5 * equations.cross_entropy(student.logits, step().target)
        + equations.logit_kd(student.logits, teacher.logits.detach(), 3.0)
        + 2 * equations.rkd_distance(student.embedding, teacher.embedding.detach())
    )
    close(losses.total, expected, [student.logits, student.embedding])


def test_three_points_written_out(step):
    # Student: a right triangle of sides 3, 4, 5 (mean 4). Teacher: three points on a line at 0, 1, 2 (mean 4/3).
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    teacher = torch.tensor([[0.0], [1.0], [2.0]])
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(teacher)
    losses = RKD(info_s, info_t)(out_s, out_t, step())
    # Distances: 3/4, 1, 5/4 against 3/4, 3/2, 3/4, each twice among 9.
    assert losses.parts["distance"].item() == pytest.approx(2 * 0.5 * (0.5**2 + 0.5**2) / 9, rel=1e-5)
    # Cosines at the three corners: 0, 3/5, 4/5 against 1, -1, 1, each twice among 27; all others are equal.
    errors = 0.5 * 1**2 + (1.6 - 0.5) + 0.5 * 0.2**2
    assert losses.parts["angle"].item() == pytest.approx(2 * errors / 27, rel=1e-5)


def test_scale_rotation_and_shift_of_the_embedding_do_not_matter(tokens, step):
    f = tokens(6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(tokens(4, 4, seed=1, dtype=torch.float64))[0]
    (info_s, out_s), (info_t, out_t) = with_embedding(3.0 * f @ rotation + 5), with_embedding(f)
    parts = RKD(info_s, info_t)(out_s, out_t, step(6)).parts
    assert parts["distance"].item() == pytest.approx(0, abs=1e-12)
    assert parts["angle"].item() == pytest.approx(0, abs=1e-12)


def test_of_a_network_without_an_embedding_the_last_map_is_averaged(networks, outputs, step, close):
    infos = [NetworkInfo(info.num_classes, info.features) for info in networks]
    student, teacher = (o._replace(embedding=None) for o in outputs(dtype=torch.float64))
    # The teacher's class token is no part of its map.
    f_s, f_t = student.features[-1].mean((2, 3)), teacher.features[-1][:, 1:].mean(1).detach()
    terms = RKD(*infos).terms
    close(terms["distance"](student, teacher, step()), equations.rkd_distance(f_s, f_t), student.features)
    close(terms["angle"](student, teacher, step()), equations.rkd_angle(f_s, f_t), student.features)


@pytest.mark.parametrize(
    ("options", "parts"), [({"distance_weight": 0}, ["angle"]), ({"angle_weight": 0}, ["distance"])]
)
def test_a_weight_of_0_turns_a_term_off(options, parts, networks, outputs, step):
    assert list(RKD(*networks, **options)(*outputs(), step()).parts) == ["ce", *parts]


@pytest.mark.parametrize("images", [1, 2])
def test_angles_need_three_images_and_distances_do_not(images, networks, outputs, step, close):
    assert RKD(*networks).min_images == 3
    with pytest.raises(InputError, match=f"angles on a graph of {images} nodes"):
        RKD(*networks)(*outputs(images), step(images))
    distances = RKD(*networks, angle_weight=0)
    assert distances.min_images == 1
    student, teacher = outputs(images, dtype=torch.float64)
    # One image has no distance; those of two are 1 in units of their mean, whatever the networks say.
    losses = distances(student, teacher, step(images))
    assert losses.parts["distance"].item() == pytest.approx(0, abs=1e-12)
    losses.total.backward()
    assert student.embedding.grad.isfinite().all()


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hard_embeddings(kind, dtype, hard, step):
    student, teacher = hard(kind, 5, 4, dtype=dtype).requires_grad_(), hard("random", 5, 3, seed=1, dtype=dtype)
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(teacher)
    losses = RKD(info_s, info_t)(out_s, out_t, step(5))
    losses.total.backward()
    assert student.grad.isfinite().all()
    exact = student.double(), teacher.double()
    assert losses.parts["distance"].item() == pytest.approx(equations.rkd_distance(*exact).item(), rel=1e-5)
    assert losses.parts["angle"].item() == pytest.approx(equations.rkd_angle(*exact).item(), rel=1e-5)


def test_images_all_equal_for_both_networks_are_alike(step):
    (info_s, out_s), (info_t, out_t) = (
        with_embedding(torch.ones(4, 3, requires_grad=True)),
        with_embedding(torch.zeros(4, 2)),
    )
    losses = RKD(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert losses.parts["distance"] == losses.parts["angle"] == 0
    assert torch.equal(out_s.embedding.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("block_bytes", [1, 4000, 20_000])
def test_blocks_of_angles_change_nothing(block_bytes, tokens, step, close):
    student, teacher = tokens(9, 4, dtype=torch.float64).requires_grad_(), tokens(9, 3, seed=1, dtype=torch.float64)
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(teacher)
    distiller = RKD(info_s, info_t)
    distiller.terms["angle"].loss.relation_teacher.block_bytes = block_bytes
    close(distiller.terms["angle"](out_s, out_t, step(9)), equations.rkd_angle(student, teacher), [student])


def test_memory_stays_below_the_angles_of_a_large_batch(tokens, step, largest_tensor):
    images, block = 96, 1 << 20
    student, teacher = tokens(images, 8).requires_grad_(), tokens(images, 6, seed=1)
    (info_s, out_s), (info_t, out_t) = with_embedding(student), with_embedding(teacher)
    distiller = RKD(info_s, info_t)
    distiller.terms["angle"].loss.relation_teacher.block_bytes = block
    with largest_tensor() as largest:
        distiller(out_s, out_t, step(images)).total.backward()
    assert largest.numel * 4 <= block < images**3 * 4
