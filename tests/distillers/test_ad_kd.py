import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trg_pyg.batch import mask_of
from trg_pyg.distillers import ADKD, Attribution
from trg_pyg.errors import InputError
from trg_pyg.models import Networks, TappedModel, text_transformer
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.step import Step

CLASSES = 3
IDS = torch.tensor([[2, 5, 6, 7, 0, 0], [2, 9, 3, 4, 8, 10], [2, 4, 4, 0, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}
INFO = NetworkInfo(CLASSES, (), 8)


def network(seed: int, width: int = 8, classes: int = CLASSES) -> TappedModel:
    torch.manual_seed(seed)
    model = text_transformer(classes, vocabulary_size=11, width=width, depth=2, heads=2, max_positions=6)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
    torch.nn.init.normal_(model.classifier.weight)
    return TappedModel(model).double().eval()


def step(networks: Networks, inputs=INPUTS, rows: slice = slice(None), **options) -> Step:
    inputs = {name: each[rows] for name, each in inputs.items()}
    target = torch.tensor([1, 0, 1])[rows]
    draws = torch.Generator()
    return Step(target, 0.5, draws, networks=networks, inputs=inputs, mask=mask_of(inputs), **options)


def logits_of(tapped: TappedModel, x: torch.Tensor, row: int) -> torch.Tensor:
    """Logits of one text, of vectors in the place of its embeddings."""
    handle = tapped.model.embeddings.register_forward_hook(lambda module, args, out: x[None])
    logits = tapped.model(**{name: each[row : row + 1] for name, each in INPUTS.items()})[0]
    handle.remove()
    return logits


def transcribed(student, teacher, top=None, steps=1, label=None):
    """The published loss, text by text and class by class; the student's gradient stays in the graph."""
    classes = student.model.classifier.out_features
    sums, counts = [0.0] * classes, [0] * classes
    for row, length in enumerate([4, 6, 3]):
        embedded = [each.model.embeddings(IDS[row : row + 1])[0] for each in (student, teacher)]
        for c in range(classes):
            if label is not None and c != label[row]:
                continue
            both = []
            for owner, x, most in zip((student, teacher), embedded, (None, top), strict=True):
                grad = 0
                for j in range(1, steps + 1):
                    scaled = x * (j / steps)
                    loss = -logits_of(owner, scaled, row).log_softmax(0)[c]
                    grad = grad + torch.autograd.grad(loss, scaled, create_graph=True)[0] / steps
                scores = []
                for i in range(length):
                    entries = (x[i] * grad[i]).abs().sort(descending=True).values[:most]
                    scores.append((entries**2).sum().sqrt())
                scores = torch.stack(scores)
                both.append(scores / (scores**2).sum().sqrt())
            place = 0 if label is not None else c
            sums[place] = sums[place] + ((both[0] - both[1].detach()) ** 2).sum()
            counts[place] += length
    return sum(total / count for total, count in zip(sums, counts, strict=True) if count)


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"by_label": False}, {}),
        ({"by_label": False, "top": 5}, {"top": 5}),
        ({"by_label": False, "steps": 3}, {"steps": 3}),
        ({"by_label": True, "top": 2}, {"top": 2, "label": [1, 0, 1]}),
    ],
)
def test_it_is_the_published_distance_with_its_second_derivative(options, written):
    student, teacher = network(0), network(1, width=12)
    found = Attribution(**options)(None, None, step(Networks(student, teacher)))
    expected = transcribed(student, teacher, **written)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    parameters = [each for name, each in student.named_parameters() if "token_type" not in name]
    ours, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found, expected))
    for grad, want in zip(ours, theirs, strict=True):
        assert (grad is None) == (want is None)
        if grad is not None:
            torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-9)
    assert all(each.grad is None for each in teacher.parameters())


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = network(0), network(1)
    weight = student.model.encoder["layer"][0].intermediate["dense"].weight
    term, at = Attribution(by_label=False), step(Networks(student, teacher))
    (grad,) = torch.autograd.grad(term(None, None, at), weight)
    for place in [(0, 0), (3, 5), (17, 2)]:
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += change
            values.append(term(None, None, at).item())
            with torch.no_grad():
                weight[place] -= change
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(grad[place].item(), rel=1e-4, abs=1e-9)


class Smooth(nn.Module):
    """Without layer norms, which turn any text near none into one of full length."""

    embeddings_path = "words"

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc = nn.Embedding(11, 8), nn.Linear(8, CLASSES)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.fc(self.words(input_ids).tanh().cumsum(1).sin().mean(1))


def test_one_step_is_gradient_times_input_and_many_sum_to_the_loss_of_the_text_over_that_of_none():
    torch.manual_seed(0)
    model = Smooth().double()
    at = step(Networks(TappedModel(model, []), TappedModel(model, [])))
    x = model.words(IDS).detach().requires_grad_()
    losses = -model.fc(x.tanh().cumsum(1).sin().mean(1)).log_softmax(1)
    (grad,) = torch.autograd.grad(losses[:, 2].sum(), x)
    found = Attribution(by_label=False).attributions(at.networks, "teacher", at)
    torch.testing.assert_close(found[2], x.detach() * grad)
    many = Attribution(by_label=False, steps=1000).attributions(at.networks, "teacher", at)
    none = -model.fc.bias.log_softmax(0)
    torch.testing.assert_close(many.sum((2, 3)).T, losses - none, rtol=0, atol=1e-3)


def test_padding_has_no_score_whatever_stands_there():
    networks = Networks(network(0), network(1))
    term = Attribution(by_label=False)
    other = {**INPUTS, "input_ids": IDS.where(IDS != 0, 9)}
    for owner in ("student", "teacher"):
        scores = term.scores(networks, owner, step(networks))
        assert (scores[:, IDS == 0] == 0).all()
        torch.testing.assert_close(scores.square().sum(2), torch.ones(3, 3, dtype=torch.float64))
        torch.testing.assert_close(term.scores(networks, owner, step(networks, other)), scores)


def test_all_entries_are_no_choice_of_them_and_a_sure_network_is_finite():
    student, teacher = network(0), network(1)
    at = step(Networks(student, teacher))
    assert Attribution(False, top=8)(None, None, at) == Attribution(False)(None, None, at)
    with torch.no_grad():
        teacher.model.classifier.weight.zero_()
        teacher.model.classifier.bias.copy_(torch.tensor([1e3, 0, 0]))
    loss = Attribution(False)(None, None, at)
    loss.backward()
    assert loss.isfinite()
    assert all(each.grad is None or each.grad.isfinite().all() for each in student.parameters())


def test_the_loss_is_that_of_the_label_where_there_are_two_classes():
    two, three = NetworkInfo(2, (), 8), INFO
    assert ADKD(two, two).terms["attribution"].by_label
    assert not ADKD(three, three).terms["attribution"].by_label
    assert ADKD(three, three, attributed="label").terms["attribution"].by_label


def test_the_total_is_the_papers_at_tau_1():
    student, teacher = network(0), network(1)
    at = step(Networks(student, teacher))
    outputs = [each(INPUTS) for each in (student, teacher)]
    outputs = [each._replace(features=()) for each in outputs]
    losses = ADKD(INFO, INFO, weight=7.0)(*outputs, at)
    ce = F.cross_entropy(outputs[0].logits, at.target)
    p, q = (each.logits.softmax(1) for each in outputs)
    # KL for the cross-entropy of the paper: the teacher's own entropy has no gradient.
    kd = (q * (q.log() - p.log())).sum(1).mean()
    attribution = transcribed(student, teacher)
    expected = 0.1 * ce + 0.9 * kd + 7 * attribution
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_shares_of_a_batch_have_the_loss_of_the_whole():
    class Share:
        first, batch = 0, 3

        def gather(self, counted):
            return torch.tensor([[4], [6], [3]]).expand(-1, CLASSES)

    networks = Networks(network(0), network(1))
    term = Attribution(by_label=False)
    whole = term(None, None, step(networks))
    parts = [term(None, None, replace(step(networks, rows=rows), share=Share())) for rows in (slice(2), slice(2, 3))]
    torch.testing.assert_close((2 * parts[0] + parts[1]) / 3, whole)


def test_the_control_compares_lengths_of_gradients_as_they_are():
    student, teacher = network(0), network(1)
    at = step(Networks(student, teacher))
    found = Attribution(by_label=False, normalize=False)(None, None, at)
    expected = torch.zeros((), dtype=torch.float64)
    for c in range(CLASSES):
        for row, length in enumerate([4, 6, 3]):
            lengths = []
            for owner in (student, teacher):
                x = owner.model.embeddings(IDS[row : row + 1])[0]
                (grad,) = torch.autograd.grad(-logits_of(owner, x, row).log_softmax(0)[c], x)
                lengths.append((grad[:length] ** 2).sum(1).sqrt())
            expected += ((lengths[0] - lengths[1]) ** 2).sum() / 13
    torch.testing.assert_close(found.detach(), expected)


def test_passes_are_counted_and_what_is_missing_is_named():
    networks = Networks(network(0), network(1))
    Attribution(by_label=False, steps=2)(None, None, step(networks))
    assert networks.passed == 2 * 2 * 3
    with pytest.raises(InputError, match=r"give Step\(inputs="):
        Attribution(by_label=False)(None, None, replace(step(networks), inputs=None))
    with pytest.raises(InputError, match="asks the networks themselves"):
        Attribution(by_label=False)(None, None, replace(step(networks), networks=None))
    for option in ({"top": 0}, {"steps": 0}, {"attributed": "all"}, {"weight": -1.0}):
        with pytest.raises(InputError, match=next(iter(option))):
            ADKD(INFO, INFO, **option)


def test_the_scale_of_the_loss_does_not_matter():
    student, teacher = network(0), network(1)
    at = step(Networks(student, teacher))
    before = Attribution(False).scores(at.networks, "teacher", at)
    with torch.no_grad():  # sure of every text, so that gradients are tiny
        teacher.model.classifier.bias += torch.tensor([60.0, 0.0, 0.0])
    after = Attribution(False).scores(at.networks, "teacher", at)
    assert after[0].square().sum(1).tolist() == pytest.approx([1.0] * 3)
    assert math.isfinite(before.sum().item())
