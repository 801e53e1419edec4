import copy

import baseline_equations as equations
import pytest
import torch
from inputs import HARD, generator
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences import BankInfoNCE, Related
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph, node_batch
from trg_pyg.losses import RelationalLoss
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes import Embedded, Instances, Tokens
from trg_pyg.relations import Cosine, NodeFeatures
from trg_pyg.step import Step

LABELS = torch.arange(20) % 4
NETWORKS = (
    NetworkInfo(4, (FeatureInfo("a", "map", 5, (2, 2)),), 6),
    NetworkInfo(4, (FeatureInfo("b", "sequence", 3, (2, 2), prefix_tokens=1),)),  # no embedding
)


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def make(seed: int = 0, **options) -> BankInfoNCE:
    divergence = BankInfoNCE(**{"dim": 4, **options})
    divergence.bind(LABELS, generator(seed))
    return divergence


def batch(index: list[int], seed: int = 0) -> Step:
    return Step(LABELS[index], 0.5, generator(seed), torch.tensor(index))


def related(x: Tensor) -> Related:
    return Related(NodeFeatures(), Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.long)))


def transcribed(divergence: BankInfoNCE, s: Tensor, t: Tensor, step: Step, tau: float, bank: str) -> Tensor:
    """Both networks' anchors; that negatives are drawn right is tested with ClassNegatives."""
    m_s, m_t = divergence.memory.student.vectors.clone(), divergence.memory.teacher.vectors.clone()
    pool, allowed = divergence.memory.draw(step.target, step.generator.clone_state())
    a_s, a_t = (torch.stack([equations.unit(row) for row in x]) for x in (s, t))
    for_s, for_t = (m_t, m_s) if bank == "other" else (m_s, m_t)
    return equations.bank_info_nce(a_s, m_t[step.index], for_s[pool], allowed, tau) + equations.bank_info_nce(
        a_t, m_s[step.index], for_t[pool], allowed, tau
    )


@pytest.mark.parametrize("bank", ["other", "own"])
@pytest.mark.parametrize(("negatives", "tau", "momentum"), [("auto", 0.07, 0.5), (3, 0.5, 0.0), (1, 0.2, 0.9)])
def test_steps_of_a_training_equal_the_equations(bank, negatives, tau, momentum, close):
    divergence = make(negatives=negatives, temperature=tau, momentum=momentum, bank=bank).double()
    memory = divergence.memory
    for number, index in enumerate([[0, 5, 9, 15], [15, 3, 0], [19]]):
        s, t = draw(number, len(index), 4).requires_grad_(), draw(number + 9, len(index), 4).requires_grad_()
        step = batch(index, number)
        expected = transcribed(divergence, s, t, step, tau, bank)
        before = memory.student.vectors.clone(), memory.teacher.vectors.clone()
        close(divergence(related(s), related(t), step), expected, [s, t])
        for now, old, x in zip((memory.student.vectors, memory.teacher.vectors), before, (s, t), strict=True):
            for i, row in zip(index, x.detach(), strict=True):
                old[i] = equations.unit(momentum * old[i] + (1 - momentum) * equations.unit(row))
            torch.testing.assert_close(now, old)


def test_defaults_are_those_of_crd_with_the_other_networks_bank(close):
    divergence = BankInfoNCE()
    divergence.bind(LABELS, generator())
    divergence.double()
    s, t, step = draw(0, 3, 128).requires_grad_(), draw(1, 3, 128).requires_grad_(), batch([0, 1, 2])
    expected = transcribed(divergence, s, t, step, 0.07, "other")
    assert divergence.memory.draw(step.target, generator())[1].sum(1).tolist() == [15] * 3
    close(divergence(related(s), related(t), step), expected, [s, t])
    assert divergence.memory.momentum == 0.5


@pytest.mark.parametrize("kind", HARD)
def test_hard_nodes_equal_the_equation(kind, hard, close):
    divergence = make().double().eval()
    s, t = hard(kind, 4, 4).requires_grad_(), hard(kind, 4, 4, seed=1).requires_grad_()
    step = batch([0, 1, 2, 3])
    close(divergence(related(s), related(t), step), transcribed(divergence, s, t, step, 0.07, "other"), [s, t])


class Remembered(TermDistiller):
    """A composition out of the pieces."""

    def __init__(self, student, teacher, *, on="teacher", dim=4, edges=None) -> None:
        nodes = Embedded(Instances(student, teacher), dim)
        edges = edges or CompleteGraph(None)
        term = Relational(nodes, edges, NodeFeatures(), BankInfoNCE(dim), on=on)
        super().__init__(student, teacher, ce_weight=1, kd_weight=0, tau=4, terms={"remembered": (2.0, term)})


def composition(seed: int = 0, **options) -> Remembered:
    torch.manual_seed(seed)
    distiller = Remembered(*NETWORKS, **options)
    distiller.bind(LABELS, generator(seed))
    return distiller


def outputs(images: int = 4, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Outputs, Outputs]:
    student = Outputs(
        draw(seed, images, 4, dtype=dtype).requires_grad_(),
        (draw(seed + 1, images, 5, 2, 2, dtype=dtype).requires_grad_(),),
        draw(seed + 2, images, 6, dtype=dtype).requires_grad_(),
    )
    teacher = (draw(seed + 3, images, 4, dtype=dtype), (draw(seed + 4, images, 5, 3, dtype=dtype).requires_grad_(),))
    return student, Outputs(*teacher)


@pytest.mark.parametrize("on", ["teacher", "own"])
@pytest.mark.parametrize("edges", [CompleteGraph(None), KNNGraph(2, None)], ids=["complete", "knn"])
def test_a_relational_composition_equals_the_equation(on, edges, close):
    distiller = composition(on=on, edges=edges).double()
    term = distiller.terms["remembered"]
    student, teacher = outputs(dtype=torch.float64)
    step = batch([3, 7, 8, 2])
    f = student.embedding, teacher.features[0][:, 1:].mean(1).detach()
    layers = term.nodes.embed_student, term.nodes.embed_teacher
    s, t = (torch.stack([w.weight @ row + w.bias for row in x]) for x, w in zip(f, layers, strict=True))
    expected = transcribed(term.loss.divergence, s, t, step, 0.07, "other")
    leaves = [student.embedding, *student.features, *teacher.features, *distiller.parameters()]
    assert len(list(distiller.parameters())) == 4
    close(term(student, teacher, step), expected, leaves)


def test_in_a_composition_the_banks_move_in_training_mode_only():
    distiller = composition().eval()
    memory = distiller.terms["remembered"].loss.divergence.memory
    before = copy.deepcopy(distiller.state_dict())
    values = [distiller(*outputs(), batch([0, 1, 2, 3])).total for _ in range(2)]
    assert torch.equal(*values)
    torch.testing.assert_close(distiller.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(distiller.train()(*outputs(), batch([0, 1, 2, 3])).total, values[0])
    for bank, name in ((memory.student, "student"), (memory.teacher, "teacher")):
        old = before[f"terms.remembered.loss.divergence.memory.{name}.vectors"]
        assert (bank.vectors != old).any(1).nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_lower_precision_is_near_float32():
    exact = composition()
    distiller = copy.deepcopy(exact)
    student, teacher = outputs()
    with torch.autocast("cpu", torch.bfloat16):
        total = distiller(student, teacher, batch([0, 1, 2, 3])).total
        total.backward()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact(student, teacher, batch([0, 1, 2, 3])).total.item(), rel=1e-5)
    assert student.embedding.grad.isfinite().all()


def test_messages():
    s, t = draw(0, 4, 4).float(), draw(1, 4, 4).float()
    with pytest.raises(InputError, match="give the loss its step"):
        make()(related(s), related(t))
    with pytest.raises(InputError, match=r"\(4, 4\) and \(4, 3\) in a memory of width 4: embed both in width 4"):
        make()(related(s), related(t[:, :3]), batch([0, 1, 2, 3]))
    with pytest.raises(InputError, match=r"\(4, 4\) and \(4, 4\) in a memory of width 9: embed both in width 9"):
        make(dim=9)(related(s), related(t), batch([0, 1, 2, 3]))
    with pytest.raises(InputError, match="4 nodes of 2 images: a memory bank has one vector an image"):
        make()(related(s), related(t), batch([0, 1]))
    with pytest.raises(InputError, match=r"^temperature=0"):
        BankInfoNCE(temperature=0)
    with pytest.raises(InputError, match=r"^bank=both: choose other or own"):
        BankInfoNCE(bank="both")


def test_relations_between_nodes_and_tokens_are_refused():
    nodes = Embedded(Instances(*NETWORKS), 4)
    with pytest.raises(InputError, match="BankInfoNCE of Cosine: the relation has values on edges"):
        Relational(nodes, CompleteGraph(None), Cosine(), BankInfoNCE(4))
    with pytest.raises(
        InputError, match="BankInfoNCE of Embedded: a memory bank has one vector an image; compare nodes"
    ):
        Relational(Embedded(Tokens(*NETWORKS), 4), CompleteGraph(None), NodeFeatures(), BankInfoNCE(4))
    loss = RelationalLoss(NodeFeatures(), BankInfoNCE(4))
    loss.divergence.bind(LABELS, generator())
    tokens = node_batch(torch.randn(4, 4, 4, generator=generator()))
    with pytest.raises(InputError, match="16 nodes of 4 images: a memory bank has one vector an image; compare nodes"):
        loss(tokens, tokens, batch([0, 1, 2, 3]))
