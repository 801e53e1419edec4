import bank_equations as equations
import baseline_equations
import pytest
import relational_equations
import torch
from toys import with_maps

from trg_pyg.distillers import FitNet
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo


def make(networks, seed: int = 0, **options) -> FitNet:
    """With a batch norm that is not the identity, so that it is seen to be used."""
    torch.manual_seed(seed)
    distiller = FitNet(*networks, **options)
    for parameter in distiller.terms["hint"].loss.norm.parameters():
        torch.nn.init.normal_(parameter, 0.5)
    return distiller.double()


def expected_hint(distiller: FitNet, student: torch.Tensor, teacher: torch.Tensor, how: str) -> torch.Tensor:
    loss = distiller.terms["hint"].loss
    conv, norm = loss.conv, loss.norm
    if how == "pool":
        student, teacher = baseline_equations.on_coarser_grid(student, teacher)
    stride, padding = {"halve": (2, 1), "double": (2, 1), "pool": (1, 0), "same": (1, 0), "crop": (1, 0)}[how]
    convolve = baseline_equations.transposed_convolution if how == "double" else baseline_equations.convolution
    mapped = convolve(student, conv.weight, conv.bias, stride, padding)
    return equations.hint(mapped, teacher, norm.weight, norm.bias)


@pytest.mark.parametrize(("hint", "how"), [(2, "halve"), (-1, "halve"), (1, "pool"), (-2, "pool")])
def test_the_hint_of_a_transformer_equals_its_equation(hint, how, networks, outputs, step, close):
    """Student maps of 16x16 and 8x8, a teacher of 4x4 tokens behind a class token."""
    student, teacher = outputs(dtype=torch.float64)
    distiller = make(networks, hint=hint)
    stage = hint - 1 if hint > 0 else hint
    expected = expected_hint(
        distiller, student.features[stage], equations.token_map(teacher.features[stage], 1, 4, 4), how
    )
    leaves = [*student.features, *teacher.features, *distiller.parameters()]
    close(distiller.terms["hint"](student, teacher, step()), expected, leaves)


@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        ((3, 4, 4), (2, 4, 4), "same"),
        ((3, 6, 6), (5, 3, 3), "halve"),
        ((3, 3, 3), (5, 6, 6), "double"),
        ((2, 7, 5), (3, 4, 5), "crop"),
        ((2, 3, 3), (3, 7, 7), "pool"),
        ((2, 8, 3), (3, 4, 6), "pool"),
    ],
    ids=str,
)
def test_maps_of_any_grids_equal_the_equation(first, second, how, tokens, step, close):
    student = [
        tokens(3, *shape, seed=i, dtype=torch.float64).requires_grad_() for i, shape in enumerate((first, first))
    ]
    teacher = [tokens(3, *shape, seed=i, dtype=torch.float64) for i, shape in enumerate((second, second), start=2)]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    distiller = make((info_s, info_t))
    expected = expected_hint(distiller, student[1], teacher[1], how)
    close(distiller.terms["hint"](out_s, out_t, step()), expected, [*student, *distiller.parameters()])


def test_total_is_cross_entropy_and_100_times_the_hint_of_the_second_tap(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    distiller = make(networks)
    hint = expected_hint(distiller, student.features[1], equations.token_map(teacher.features[1], 1, 4, 4), "halve")
    losses = distiller(student, teacher, step())
    assert list(losses.parts) == ["ce", "hint"]
    expected = relational_equations.cross_entropy(student.logits, step().target) + 100 * hint
    close(losses.total, expected, [student.logits, *student.features, student.embedding, *distiller.parameters()])


@pytest.mark.parametrize(("hint", "student_stage", "teacher_stage"), [(2, 1, 1), (3, 2, 2), (-1, 2, 3), (-3, 0, 1)])
def test_networks_of_3_and_4_stages_count_from_the_end_that_is_named(
    hint, student_stage, teacher_stage, tokens, step, close
):
    student = [tokens(3, c, 4, 4, seed=c, dtype=torch.float64).requires_grad_() for c in (2, 3, 4)]
    teacher = [tokens(3, c, 4, 4, seed=c, dtype=torch.float64) for c in (5, 6, 7, 8)]
    (info_s, out_s), (info_t, out_t) = with_maps(*student), with_maps(*teacher)
    distiller = make((info_s, info_t), hint=hint)
    expected = expected_hint(distiller, student[student_stage], teacher[teacher_stage], "same")
    close(distiller.terms["hint"](out_s, out_t, step()), expected, student)


def test_a_stage_that_there_is_not_is_refused_with_those_that_there_are(networks):
    with pytest.raises(InputError) as error:
        FitNet(*networks, hint=3)
    assert str(error.value) == (
        "hint=3: the student has 2 tapped features (layer2, layer3), of which the first is hint=1 and the last "
        "hint=-1; choose one of them, or name more modules in student.taps"
    )
    with pytest.raises(InputError, match=r"^hint=0: the student has 2 tapped features"):
        FitNet(*networks, hint=0)
    with pytest.raises(InputError, match=r"^hint=-3: the student"):
        FitNet(*networks, hint=-3)
    longer = NetworkInfo(5, (*networks[0].features, networks[0].features[-1]))
    with pytest.raises(InputError, match=r"^hint=3: the teacher has 2 .* \(blocks.5, blocks.11\).*in teacher.taps$"):
        FitNet(longer, networks[1], hint=3)
    with pytest.raises(InputError, match=r"^hint=1: the student has 0 tapped features \(none\)"):
        FitNet(NetworkInfo(5, (), 7), networks[1], hint=1)


def test_networks_with_one_tap(networks, outputs, step):
    ends = [NetworkInfo(info.num_classes, info.features[-1:]) for info in networks]
    with pytest.raises(InputError, match=r"^hint=2: the student has 1 tapped features \(layer3\)"):
        FitNet(*ends)
    student, teacher = (o._replace(features=o.features[-1:]) for o in outputs())
    values = [FitNet(*ends, hint=hint)(student, teacher, step()).total for hint in (1, -1)]
    assert all(value.isfinite() for value in values)


def test_a_map_of_another_size_is_named(networks, outputs, step):
    student, teacher = outputs()
    smaller = student._replace(features=(student.features[0], student.features[1][:, :, :4, :4]))
    with pytest.raises(InputError, match=r"tap layer3 of the student: \(3, 6, 4, 4\) .*where \(3, 6, 8, 8\)"):
        FitNet(*networks)(smaller, teacher, step())
