import baseline_equations
import pytest
import torch
from torch import nn

from trg_pyg.distillers import KD, RRD, TRG, Term, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.tasks import InstanceSegmentation


class Squares(Term):
    """Mean square of the student's logits, times a parameter; remembers what it is bound to."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.seen = None

    def forward(self, student, teacher, step):
        return self.factor * student.logits.square().mean()

    def bind(self, targets, generator):
        self.seen = targets, generator


class Method(TermDistiller):
    def __init__(self, student, teacher, *, ce_weight=1.0, kd_weight=0.0, tau=4.0, **terms):
        super().__init__(student, teacher, ce_weight=ce_weight, kd_weight=kd_weight, tau=tau, terms=terms)


def test_total_is_the_weighted_sum_of_all_parts(networks, outputs, step):
    student, teacher = outputs()
    method = Method(*networks, ce_weight=0.5, kd_weight=3.0, tau=2.0, first=(7.0, Squares()), second=(11.0, Squares()))
    losses = method(student, teacher, step())
    assert list(losses.parts) == ["ce", "kd", "first", "second"]
    weights = [0.5, 3.0, 7.0, 11.0]
    expected = sum(weight * part for weight, part in zip(weights, losses.parts.values(), strict=True))
    torch.testing.assert_close(losses.total, expected, check_stride=False)
    torch.testing.assert_close(losses.parts["first"], 2 * student.logits.detach().square().mean())
    losses.total.backward()
    torch.testing.assert_close(method.terms["second"].factor.grad, 11 * student.logits.detach().square().mean())


def test_what_all_methods_share_is_what_kd_computes(networks, outputs, step):
    weights = {"ce_weight": 0.3, "kd_weight": 0.8, "tau": 3.0}
    assert torch.equal(
        Method(*networks, **weights)(*outputs(), step()).total, KD(*networks, **weights)(*outputs(), step()).total
    )


def test_logit_distillation_of_weight_0_is_no_part(networks, outputs, step):
    assert list(Method(*networks)(*outputs(), step()).parts) == ["ce"]


@pytest.mark.parametrize("method", [RRD, TRG])
def test_decoupled_logit_distillation_is_that_of_dkd_beside_any_term(method, networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    options = {"tau": 2.0, "decoupled": 3.0}
    with_kd, without = (method(*networks, kd_weight=weight, **options).double() for weight in (1.5, 0.0))
    without.load_state_dict(with_kd.state_dict())
    dkd = baseline_equations.dkd(student.logits, teacher.logits.detach(), step().target, 1, 3, 2)
    both = with_kd(student, teacher, step())
    assert both.parts["kd"].item() == pytest.approx(dkd.item(), rel=1e-6)
    close(both.total, without(student, teacher, step()).total + 1.5 * dkd, [student.logits, *student.features])


def test_decoupled_logit_distillation_needs_one_class_an_item(networks):
    method = TRG(*networks, decoupled=2.0)
    assert (method.labels, TRG(*networks, kd_weight=0.0, decoupled=2.0).labels) == ("smooth", "mixed")
    with pytest.raises(InputError, match=r"^TRG: decoupled .* InstanceSegmentation: leave it at 0"):
        method.learn(InstanceSegmentation())


def test_a_term_of_weight_0_is_not_kept_nor_are_its_parameters(networks, outputs, step):
    method = Method(*networks, off=(0, Squares()), on=(1.0, Squares()))
    assert list(method.terms) == ["on"]
    assert [name for name, _ in method.named_parameters()] == ["terms.on.factor"]
    assert list(method(*outputs(), step()).parts) == ["ce", "on"]


def test_cross_entropy_of_weight_0_is_still_logged_and_passes_no_gradient(networks, outputs, step):
    student, teacher = outputs()
    losses = Method(*networks, ce_weight=0.0)(student, teacher, step())
    losses.total.backward()
    assert losses.total == 0
    assert losses.parts["ce"] > 0
    assert torch.equal(student.logits.grad, torch.zeros_like(student.logits))


def test_every_term_sees_the_training_set(networks):
    method = Method(*networks, first=(1.0, Squares()), second=(2.0, Squares()))
    seen = torch.arange(9), torch.Generator()
    method.bind(*seen)
    assert [term.seen for term in method.terms.values()] == [seen, seen]


def test_the_weight_of_a_term_can_change_with_the_step(networks, outputs, step):
    class WarmingUp(Method):
        def weight_of(self, name, step):
            return step.progress * super().weight_of(name, step)

    method = WarmingUp(*networks, squares=(8.0, Squares()))
    for progress in (0.0, 0.25, 1.0):
        total, parts = method(*outputs(), step(progress=progress))
        torch.testing.assert_close(total.detach(), parts["ce"] + 8 * progress * parts["squares"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ce_weight": -1.0}, r"ce_weight=-1\.0"),
        ({"kd_weight": -1.0}, r"kd_weight=-1\.0"),
        ({"tau": 0.0}, r"tau=0\.0"),
        ({"squares": (-2.0, Squares())}, r"squares=-2\.0: the weight of a loss"),
        ({"squares": (float("nan"), Squares())}, "squares=nan"),
        ({"kd": (1.0, Squares())}, "a term named kd: ce and kd are the parts of every method; rename it"),
        ({"ce": (0.0, Squares())}, "a term named ce"),
        ({"layer.1": (1.0, Squares())}, r"a term named 'layer\.1': PyTorch names no module so; rename it"),
        ({"items": (1.0, Squares())}, "a term named 'items'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(options, message, networks):
    with pytest.raises(InputError, match=message):
        Method(*networks, **options)


def test_networks_have_to_compare(networks, outputs, step):
    with pytest.raises(InputError, match="needs a teacher"):
        Method(networks[0], None)
    with pytest.raises(InputError, match="teacher has 8 classes"):
        Method(networks[0], NetworkInfo(8, ()))
    with pytest.raises(InputError, match="no teacher outputs"):
        Method(*networks)(outputs()[0], None, step())
