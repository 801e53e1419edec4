"""Methods put together by hand, of all pieces that go together, and the reasons why others do not."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import loss_equations
import pytest
import torch
from pairs import pairs_among
from torch import Tensor, nn

from trg_pyg.distillers import RKD, Relational, TermDistiller
from trg_pyg.divergences import KL, MSE, BankInfoNCE, Divergence, InfoNCE, SmoothL1
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, GridGraph, KNNGraph, LabelGraph, LayerGraph
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes import Embedded, FlattenedMaps, Instances, Probabilities, StageMaps, Tokens, UnitLength
from trg_pyg.relations import (
    Angle,
    Cosine,
    Distance,
    DotProduct,
    EdgeRelation,
    Gaussian,
    GivenWeight,
    Laplace,
    NodeFeatures,
    Scaled,
    Softmax,
    TaylorGaussian,
)
from trg_pyg.step import Share, Step

NODES = {
    "instances": Instances,
    "probabilities": Probabilities,
    "layers": StageMaps,
    "tokens": Tokens,
    "sampled": lambda *networks: Tokens(*networks, tokens_per_image=5),
    "embedded": lambda *networks: Embedded(Instances(*networks), 3),
    "embedded tokens": lambda *networks: UnitLength(Embedded(Tokens(*networks), 3)),
}
EDGES = {
    "complete": lambda: CompleteGraph(None),
    "nearest": lambda: KNNGraph(2),
    "joint": lambda: KNNGraph(2, scope="batch"),
    "same class": lambda: LabelGraph(CompleteGraph(None, self_loops=True)),
    "between layers": lambda: LayerGraph(2, None),
    "grid": lambda: GridGraph(4, 4),
}
IMAGE_NODES = ["instances", "probabilities", "layers", "embedded"]
NODES_ON_EDGES = [
    *itertools.product(IMAGE_NODES, ["complete", "nearest", "same class"]),
    ("layers", "between layers"),
    *itertools.product(["tokens"], ["complete", "nearest", "joint", "same class", "grid"]),
    *itertools.product(["sampled", "embedded tokens"], ["nearest", "joint"]),
]
RELATIONS = {
    "dot": DotProduct,
    "cosine": Cosine,
    "distance": Distance,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "taylor": TaylorGaussian,
    "given": GivenWeight,
    "features": NodeFeatures,
    "angle": Angle,
    "scaled by mean": lambda: Scaled(Distance(), by="mean"),
    "scaled by norm": lambda: Scaled(DotProduct(), by="norm"),
    "scaled by sum": lambda: Scaled(Cosine(shifted=True), by="sum"),
    "softmax": lambda: Softmax(Cosine(), 0.1),
    "softmax over all": lambda: Softmax(Laplace(), support="all"),
}
DIVERGENCES = {
    "mse": MSE,
    "smooth l1": SmoothL1,
    "kl": KL,
    "kl with eps": lambda: KL(eps=1e-7),
    "info nce": InfoNCE,
}
OF_EDGES = {"mse", "smooth l1"}
SENSIBLE = {
    "features": {"mse", "smooth l1", "info nce"},
    "softmax": {*OF_EDGES, "kl", "kl with eps"},
    "softmax over all": {*OF_EDGES, "kl"},
    "scaled by sum": {*OF_EDGES, "kl with eps"},
}


def refusals(nodes: str, edges: str, relation: str, divergence: str) -> int:
    """For how many reasons these do not go together."""
    without_weights = relation == "given" and edges not in ("nearest", "joint", "grid")
    of_two_widths = relation == "features" and nodes not in ("probabilities", "embedded", "embedded tokens")  # 6 and 4
    return without_weights + of_two_widths + (divergence not in SENSIBLE.get(relation, OF_EDGES))


CHOICES = [(*pair, *both) for pair in NODES_ON_EDGES for both in itertools.product(RELATIONS, DIVERGENCES)]
WORKING = [row for row in CHOICES if refusals(*row) == 0]
FOR_ONE_REASON = [row for row in CHOICES if refusals(*row) == 1]


@pytest.mark.parametrize(("nodes", "edges", "relation", "divergence"), pairs_among(WORKING))
def test_what_goes_together_works(nodes, edges, relation, divergence, networks, outputs, step):
    torch.manual_seed(0)
    term = Relational(NODES[nodes](*networks), EDGES[edges](), RELATIONS[relation](), DIVERGENCES[divergence]())
    student, teacher = outputs(6)
    value = term(student, teacher, step(6))
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert value > -1e-6
    read = [x.grad for x in (student.logits, *student.features, student.embedding) if x.grad is not None]
    assert read
    assert all(grad.isfinite().all() for grad in (*read, *(p.grad for p in term.parameters())))
    assert all(x.grad is None for x in (teacher.logits, *teacher.features, teacher.embedding))


@pytest.mark.parametrize(("nodes", "edges", "relation", "divergence"), pairs_among(FOR_ONE_REASON))
def test_the_rest_is_refused(nodes, edges, relation, divergence, networks):
    with pytest.raises(InputError):
        Relational(NODES[nodes](*networks), EDGES[edges](), RELATIONS[relation](), DIVERGENCES[divergence]())


def can_be_cut(nodes: str, edges: str, relation: str, divergence: str) -> bool:
    """Whether an image's values are of its own edges, or of a size that processes find together."""
    if nodes not in IMAGE_NODES or edges == "same class" or relation == "softmax over all":
        return False
    if nodes == "layers":
        return edges == "between layers" and divergence in OF_EDGES
    return relation != "features" or edges == "complete"


@pytest.mark.parametrize(("nodes", "edges", "relation", "divergence"), pairs_among(WORKING))
def test_only_what_can_be_cut_is_computed_by_rows(nodes, edges, relation, divergence, networks, outputs, step):
    term = Relational(NODES[nodes](*networks), EDGES[edges](), RELATIONS[relation](), DIVERGENCES[divergence]())
    assert term.by_rows == can_be_cut(nodes, edges, relation, divergence)
    if not term.by_rows:
        with pytest.raises(InputError, match="leave by_rows"):
            term(*outputs(6), replace(step(6), share=Share(0, 6, 7, lambda rows: rows)))


@pytest.mark.parametrize(
    ("nodes", "edges", "relation", "divergence"), pairs_among([row for row in WORKING if can_be_cut(*row)])
)
def test_the_mean_of_shares_is_the_loss_of_the_batch(
    nodes, edges, relation, divergence, networks, outputs, step, close
):
    torch.manual_seed(0)
    term = Relational(
        NODES[nodes](*networks), EDGES[edges](), RELATIONS[relation](), DIVERGENCES[divergence]()
    ).double()
    student, teacher = outputs(7, dtype=torch.float64)
    leaves = [x for x in (student.logits, *student.features, student.embedding) if x.requires_grad]
    places, whole = [(0, 3), (3, 7)], step(7)
    meeting, given = threading.Barrier(len(places)), {}

    def work(place: tuple[int, int]) -> Tensor:
        def gather(rows: Tensor) -> Tensor:
            given[place] = rows
            meeting.wait(20)
            found = torch.cat([given[each] for each in places])
            meeting.wait(20)
            return found

        own = slice(*place)
        step = replace(whole, target=whole.target[own], index=None, share=Share(*place, 7, gather))
        return term(_images(student, own), _images(teacher, own), step)

    with ThreadPoolExecutor(len(places)) as threads:
        parts = list(threads.map(work, places))
    mean = sum((last - first) / 7 * part for (first, last), part in zip(places, parts, strict=True))
    close(mean, term(student, teacher, whole), [*leaves, *term.parameters()])


def _images(outputs: Outputs, own: slice) -> Outputs:
    logits, features, embedding = outputs
    return Outputs(logits[own], tuple(each[own] for each in features), embedding[own])


# Two embeddings of their own differ even where the networks do not.
@pytest.mark.parametrize(("nodes", "edges"), [pair for pair in NODES_ON_EDGES if "embedded" not in pair[0]])
def test_a_student_like_its_teacher_has_nothing_to_learn(nodes, edges, networks, outputs, step):
    _, teacher = outputs(6)
    both = networks[1], networks[1]
    student = teacher._replace(logits=teacher.logits.detach().clone())
    for relation, divergence in itertools.product(RELATIONS, ("mse", "smooth l1", "kl", "kl with eps")):
        if not refusals(nodes, edges, relation, divergence):
            term = Relational(NODES[nodes](*both), EDGES[edges](), RELATIONS[relation](), DIVERGENCES[divergence]())
            assert term(student, teacher, step(6)).item() == pytest.approx(0, abs=1e-6), (relation, divergence)


class LearnedWeight(EdgeRelation):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def between(self, x, edge_index, num_graphs=1):
        return self.scale * (x[edge_index[0]] * x[edge_index[1]]).sum(1)


@pytest.mark.parametrize(
    ("pieces", "options", "message"),
    [
        (
            (Instances, KNNGraph(2), Softmax(GivenWeight()), MSE()),
            {"on": "own"},
            "MSE compares values on the same edges, but on=own .* choose on=teacher",
        ),
        (
            (Instances, KNNGraph(2), Softmax(GivenWeight()), KL()),
            {"on": "own"},
            "KL compares values on the same edges, but on=own",
        ),
        (
            (Instances, CompleteGraph(None), GivenWeight(), MSE()),
            {},
            r"reads edge weights and CompleteGraph makes none: give it a weight, such as Gaussian\(\)",
        ),
        (
            (Instances, LabelGraph(CompleteGraph(None)), Scaled(GivenWeight(), by="max"), MSE()),
            {},
            "reads edge weights and LabelGraph makes none",
        ),
        (
            (Instances, KNNGraph(2), GivenWeight(), MSE()),
            {"edge_nodes": Probabilities},
            "edge weights, which would be those of edge_nodes",
        ),
        (
            (Instances, CompleteGraph(None, scope="batch"), Distance(), MSE()),
            {},
            "Instances are one graph a batch already: leave the builder's scope at image",
        ),
        (
            (StageMaps, LabelGraph(KNNGraph(2, scope="batch")), Distance(), MSE()),
            {},
            "StageMaps are one graph a batch already",
        ),
        ((Instances, CompleteGraph(None), Distance(), KL()), {}, "KL of Distance: its values are no distribution"),
        ((Instances, CompleteGraph(None), Distance(), InfoNCE()), {}, "InfoNCE of Distance: .* values on edges"),
        ((Instances, CompleteGraph(None), Angle(), KL()), {}, "KL of Angle: the relation has values on triples"),
        ((Instances, CompleteGraph(None), Angle(), InfoNCE()), {}, "InfoNCE of Angle: .* triples"),
        ((Probabilities, CompleteGraph(None), NodeFeatures(), KL()), {}, "KL of NodeFeatures: .* values on nodes"),
        (
            (Instances, CompleteGraph(None), Scaled(Gaussian(), by="sum"), KL()),
            {},
            "KL of Scaled: its probabilities can be 0; give eps",
        ),
        (
            (Instances, CompleteGraph(None), NodeFeatures(), InfoNCE()),
            {},
            "Instances of width 6 and 4 are compared directly: bring them to one width with Embedded",
        ),
        ((Instances, CompleteGraph(None), Distance(), MSE()), {"on": "student"}, "on=student: choose teacher or own"),
        ((Tokens, KNNGraph(16, None), Distance(), MSE()), {}, "K=16 neighbours of each of 16 tokens"),
        (
            (lambda s, t: Tokens(s, t, tokens_per_image=5), GridGraph(4, 4, None), Distance(), MSE()),
            {},
            "5 tokens an image on a 4x4 grid",
        ),
        ((Instances, LayerGraph(2, None), Distance(), MSE()), {}, "LayerGraph of 2 layers on Instances, which have 1"),
        ((StageMaps, LayerGraph(3, None), Distance(), MSE()), {}, "LayerGraph of 3 layers on StageMaps, which have 2"),
        (
            (NODES["embedded tokens"], KNNGraph(3, None), NodeFeatures(), BankInfoNCE(3)),
            {},
            "BankInfoNCE of UnitLength: a memory bank has one vector an image",
        ),
        (
            (Instances, KNNGraph(2, LearnedWeight()), Softmax(GivenWeight()), KL()),
            {},
            "LearnedWeight learns, but as the weight of KNNGraph it would never change: give it as the relation",
        ),
        (
            (Tokens, KNNGraph(3, Cosine()), Scaled(GivenWeight(), by="sum"), KL(eps=1e-7)),
            {},
            "Cosine gives weights below 0, and their shares of a sum are no probabilities",
        ),
        (
            (Instances, CompleteGraph(None), Distance(), MSE()),
            {"edge_nodes": Tokens},
            "edges between Tokens, relations of Instances: one are the tokens of an image, the other the images",
        ),
        (
            (Instances, CompleteGraph(None), Distance(), MSE()),
            {"edge_nodes": NODES["embedded"]},
            "edges carry no gradient, so what Embedded learn as edge_nodes would never change",
        ),
        (
            (Instances, CompleteGraph(None), (Distance(), Softmax(Distance())), KL()),
            {},
            "KL of Distance: its values are no distribution",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(pieces, options, message, networks):
    nodes, *others = pieces
    if "edge_nodes" in options:
        options = options | {"edge_nodes": options["edge_nodes"](*networks)}
    with pytest.raises(InputError, match=message):
        Relational(nodes(*networks), *others, **options)


def test_relations_that_have_no_sense_are_refused_before():
    with pytest.raises(InputError, match="Softmax of Angle"):
        Softmax(Angle())
    with pytest.raises(InputError, match="Scaled NodeFeatures"):
        Scaled(NodeFeatures(), by="mean")


def test_a_method_of_ones_own_in_a_few_lines(networks, outputs, step, close):
    class Mine(TermDistiller):
        def __init__(self, student, teacher, *, weight: float = 3.0):
            images = Instances(student, teacher)
            term = Relational(images, CompleteGraph(None), Distance(squared=True), MSE())
            super().__init__(student, teacher, ce_weight=0.0, kd_weight=0.0, tau=4.0, terms={"mine": (weight, term)})

    student, teacher = outputs(4, dtype=torch.float64)
    f_s, f_t = student.embedding, teacher.embedding.detach()
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    errors = [((f_s[i] - f_s[j]).square().sum() - (f_t[i] - f_t[j]).square().sum()) ** 2 for i, j in pairs]
    close(Mine(*networks)(student, teacher, step(4)).total, 3 * torch.stack(errors).mean(), [student.embedding])


@pytest.mark.parametrize("keep", ["same", "different"])
def test_edges_between_images_of_chosen_classes(keep, networks, outputs, close):
    student, teacher = outputs(6, dtype=torch.float64)
    f_s, f_t = student.embedding, teacher.embedding.detach()
    term = Relational(Instances(*networks), LabelGraph(CompleteGraph(None), keep), Cosine(), SmoothL1())
    for classes in ([0, 1, 0, 1, 0, 2], [0, 0, 0, 1, 1, 1]):
        step = Step(torch.tensor(classes), 0.5, torch.Generator())
        errors = []
        for i, j in itertools.permutations(range(6), 2):
            if (classes[i] == classes[j]) == (keep == "same"):
                cosines = [(f[i] * f[j]).sum() / (f[i].norm() * f[j].norm()) for f in (f_s, f_t)]
                apart = (cosines[0] - cosines[1]).abs()
                errors.append(0.5 * apart**2 if apart < 1 else apart - 0.5)
        close(term(student, teacher, step), torch.stack(errors).mean(), [student.embedding])


def test_a_class_of_one_image_has_no_edges_and_no_loss(networks, outputs):
    student, teacher = outputs(4)
    step = Step(torch.arange(4), 0.5, torch.Generator())
    for relation, divergence in ((Distance(), MSE()), (Angle(), SmoothL1()), (Softmax(Distance()), KL())):
        term = Relational(Instances(*networks), LabelGraph(CompleteGraph(None)), relation, divergence)
        value = term(student, teacher, step)
        value.backward()
        assert value == 0
        assert torch.equal(student.embedding.grad, torch.zeros_like(student.embedding))


def test_tokens_have_the_class_of_their_image(networks, outputs, step):
    """Joint edges between tokens of different images, as long as these are of one class."""
    student, teacher = outputs(3)
    graphs = LabelGraph(CompleteGraph(None, scope="batch"))
    term = Relational(Tokens(*networks), graphs, Distance(), MSE())
    values = {}
    for classes in ((0, 1, 2), (0, 0, 2), (4, 4, 4)):
        values[classes] = term(student, teacher, Step(torch.tensor(classes), 0.5, torch.Generator())).item()
    s, t = Tokens(*networks)(student, teacher, step())
    for classes, value in values.items():
        of = torch.tensor(classes).repeat_interleave(16)
        joined = (of[:, None] == of) & ~torch.eye(48, dtype=torch.bool)
        apart = torch.cdist(s.reshape(48, -1), s.reshape(48, -1)) - torch.cdist(t.reshape(48, -1), t.reshape(48, -1))
        assert value == pytest.approx(apart[joined].square().mean().item(), rel=1e-4)


def test_nodes_of_several_layers_have_the_classes_of_their_images(networks, outputs):
    student, teacher = outputs(3)
    term = Relational(StageMaps(*networks), LabelGraph(CompleteGraph(None)), Distance(), MSE())
    s, t = StageMaps(*networks)(student, teacher, None)
    # Two layers of three images of their own class each: one edge there and one back.
    apart = [(s[0, i] - s[0, i + 3]).norm() - (t[0, i] - t[0, i + 3]).norm() for i in range(3)]
    value = term(student, teacher, Step(torch.tensor([2, 0, 1]), 0.5, torch.Generator()))
    torch.testing.assert_close(value, torch.stack(apart).square().mean())


def test_edges_of_class_probabilities_and_relations_of_embeddings(networks, outputs, step, close):
    student, teacher = outputs(5, dtype=torch.float64)
    term = Relational(
        Instances(*networks),
        KNNGraph(2, None, normalize=False),
        Softmax(Distance(squared=True), 5.0),
        KL(),
        edge_nodes=Probabilities(*networks),
    )
    exponentials = teacher.logits.detach().exp()
    p = exponentials / exponentials.sum(1, keepdim=True)
    nodes = []
    for i in range(5):
        order = sorted((j for j in range(5) if j != i), key=lambda j: (p[i] - p[j]).square().sum().item())
        into = order[:2]
        s, t = (
            loss_equations.softmax_row(torch.stack([(f[i] - f[j]).square().sum() / 5 for j in into]))
            for f in (student.embedding, teacher.embedding.detach())
        )
        nodes.append(loss_equations.kl(t, s))
    close(term(student, teacher, step(5)), torch.stack(nodes).mean(), [student.logits, student.embedding])


def test_weights_of_the_edges_of_other_nodes_are_not_looked_at(networks, outputs, step):
    student, teacher = outputs(5)
    values = [
        Relational(Instances(*networks), KNNGraph(2, weight), Distance(), MSE(), edge_nodes=Probabilities(*networks))(
            student, teacher, step(5)
        )
        for weight in (None, Gaussian())
    ]
    assert torch.equal(*values)


def test_tokens_sampled_for_edges_are_those_that_are_compared(networks, outputs, step):
    """Unit embeddings of an identity find the neighbours that the tokens themselves have."""
    same = networks[1], networks[1]
    _, teacher = outputs(4)
    student = outputs(4, seed=1)[1]
    tokens = Tokens(*same, tokens_per_image=5)
    embedded = Embedded(tokens, tokens.teacher_dim)
    with torch.no_grad():
        for layer in (embedded.embed_student, embedded.embed_teacher):
            layer.weight.copy_(torch.eye(tokens.teacher_dim))
            layer.bias.zero_()
    pieces = KNNGraph(2, None), Distance(), MSE()
    expected = Relational(tokens, *pieces)(student, teacher, step(4))
    other = step(4)
    value = Relational(embedded, *pieces, edge_nodes=tokens)(student, teacher, other)
    torch.testing.assert_close(value, expected)
    # And the stream is where it would be without nodes for the edges.
    once = step(4)
    tokens(student, teacher, once)
    assert torch.equal(other.generator.get_state(), once.generator.get_state())


def test_different_numbers_of_nodes_and_ends_are_named(networks, outputs, step):
    edges = Tokens(*networks, tokens_per_image=5)
    term = Relational(Tokens(*networks), CompleteGraph(None), Distance(), MSE(), edge_nodes=edges)
    with pytest.raises(InputError, match=r"edges between \(3, 5\) nodes, relations of \(3, 16\)"):
        term(*outputs(), step())


def test_weights_of_the_student_on_the_edges_of_the_teacher(networks, outputs, step, close):
    student, teacher = outputs(5, dtype=torch.float64)
    f_s, f_t = student.embedding, teacher.embedding.detach()
    term = Relational(Instances(*networks), KNNGraph(2, Gaussian(0.7)), GivenWeight(), MSE())
    into = [
        sorted((j for j in range(5) if j != i), key=lambda j: -torch.cosine_similarity(f_t[i], f_t[j], dim=0).item())[
            :2
        ]
        for i in range(5)
    ]
    edge_index = torch.tensor([[j, i] for i in range(5) for j in into[i]]).T
    weights = [loss_equations.gaussian(f, edge_index, 0.7) for f in (f_s, f_t)]
    close(term(student, teacher, step(5)), (weights[0] - weights[1]).square().mean(), [f_s])


@pytest.mark.parametrize("direction", ["teacher", "student"])
def test_each_network_on_its_own_edges(direction, networks, outputs, step, close):
    student, teacher = outputs(6, dtype=torch.float64)
    f_s, f_t = student.embedding, teacher.embedding.detach()
    relation = Softmax(GivenWeight(), 0.2, support="all")
    term = Relational(Instances(*networks), KNNGraph(2, Gaussian()), relation, KL(direction), on="own")
    matrices = []
    for f in (f_s, f_t):
        cosine = torch.nn.functional.normalize(f, dim=1) @ torch.nn.functional.normalize(f, dim=1).T
        to_others = cosine.detach() - 9 * torch.eye(6, dtype=torch.float64)
        edges = torch.tensor([[j, i] for i in range(6) for j in to_others[i].argsort(descending=True)[:2].tolist()]).T
        matrices.append(loss_equations.adjacency(edges, loss_equations.gaussian(f, edges), 6))
    expected = loss_equations.local_over_all(*matrices, direction, 0.2, "mean")
    close(term(student, teacher, step(6)), expected, [f_s])


def test_own_edges_of_other_nodes(networks, outputs, step):
    """Student and teacher each on the edges that their own class probabilities say."""
    student, teacher = outputs(5, dtype=torch.float64)
    relation = Softmax(Cosine(), support="all")
    pieces = Instances(*networks), KNNGraph(2, None), relation, KL()
    probabilities = Probabilities(*networks)
    value = Relational(*pieces, on="own", edge_nodes=probabilities)(student, teacher, step(5))
    assert value.isfinite()
    assert value != Relational(*pieces, edge_nodes=probabilities)(student, teacher, step(5))
    # With the logits of the teacher they have the same edges.
    alike = student._replace(logits=teacher.logits)
    torch.testing.assert_close(
        Relational(*pieces, on="own", edge_nodes=probabilities)(alike, teacher, step(5)),
        Relational(*pieces, edge_nodes=probabilities)(alike, teacher, step(5)),
    )


def test_nodes_picked_among_all_others(networks, outputs, step, close):
    torch.manual_seed(0)
    student, teacher = outputs(5, dtype=torch.float64)
    nodes = Embedded(Instances(*networks), 3).double()
    term = Relational(nodes, CompleteGraph(None), NodeFeatures(), InfoNCE(0.3))
    embedded = [
        f @ layer.weight.T + layer.bias
        for f, layer in ((student.embedding, nodes.embed_student), (teacher.embedding.detach(), nodes.embed_teacher))
    ]
    expected = loss_equations.info_nce(*embedded, 0.3)
    close(term(student, teacher, step(5)), expected, [student.embedding, *nodes.parameters()])


def test_each_network_has_its_own_relation_if_a_pair_is_given(networks, outputs, step, close):
    student, teacher = outputs(4, dtype=torch.float64)
    term = Relational(FlattenedMaps(*networks), CompleteGraph(None), (DotProduct(), Distance()), MSE())
    x_s, x_t = student.features[-1].flatten(1), teacher.features[-1][:, 1:].detach().flatten(1)
    errors = [((x_s[i] * x_s[j]).sum() - (x_t[i] - x_t[j]).norm()) ** 2 for i, j in itertools.permutations(range(4), 2)]
    close(term(student, teacher, step(4)), torch.stack(errors).mean(), [student.features[-1]])


def test_the_divergence_sees_the_training_set_and_the_step(networks, outputs, step):
    class Curious(Divergence):
        def forward(self, student, teacher, step=None):
            self.step = step
            return student.values().sum()

        def bind(self, targets, generator):
            self.bound = targets, generator

    divergence = Curious()
    term = Relational(Instances(*networks), CompleteGraph(None), Distance(), divergence)
    seen = torch.arange(7), torch.Generator()
    term.bind(*seen)
    assert divergence.bound == seen
    here = step()
    term(*outputs(), here)
    assert divergence.step is here


def test_pieces_can_be_shared(networks, outputs, step):
    """The same nodes in several terms are computed anew in each, so that the order of terms does not matter."""
    images = Instances(*networks)
    first = Relational(images, CompleteGraph(None), Distance(), MSE())
    second = Relational(images, KNNGraph(1, None), Distance(), MSE())
    student, teacher = outputs()
    values = first(student, teacher, step()), second(student, teacher, step())
    assert torch.equal(second(student, teacher, step()), values[1])
    assert torch.equal(first(student, teacher, step()), values[0])


def test_embeddings_of_the_teacher_learn(networks, outputs, step):
    student, teacher = outputs(4)
    term = Relational(Embedded(Tokens(*networks), 3), KNNGraph(3), Softmax(GivenWeight(), 0.1), KL())
    term(student, teacher, step(4)).backward()
    assert term.nodes.embed_teacher.weight.grad.abs().sum() > 0
    assert term.nodes.embed_student.weight.grad.abs().sum() > 0
    assert teacher.features[-1].grad is None


def test_networks_without_taps_have_images_only(networks, outputs, step):
    bare = [NetworkInfo(info.num_classes, (), info.embedding) for info in networks]
    student, teacher = (o._replace(features=()) for o in outputs(4))
    assert RKD(*bare)(student, teacher, step(4)).total.isfinite()
