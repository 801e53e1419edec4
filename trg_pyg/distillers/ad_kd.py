"""Attribution-driven distillation."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from trg_pyg.distillers.base import Taps, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, check_choice, require
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision

Attributed = Literal["auto", "classes", "label"]


class ADKD(TermDistiller):
    r"""Which tokens an answer rests on, for student and teacher alike (AD-KD, arXiv 2305.10010).

    .. math:: L = w_{CE} L_{CE} + w_{KD} L_{KD} + w \sum_c \frac{\sum_{b,i} (s^S_{cbi} - s^T_{cbi})^2}
              {\#\{(b, i): s^T_{cbi} \ne 0\}}

    The attribution of token i of text b is by integrated gradients from zero, over m steps; one is gradient times
    input:

    .. math:: a_{cbi} = x_{bi} \odot \frac{1}{m} \sum_{j=1}^{m} \frac{\partial l_{cb}}{\partial x_{bi}}
              \Big(\frac{j}{m} x\Big), \qquad l_{cb} = -\log p_{cb}

    with x the output of the embedding layer. Its score s is the length of a, divided by the length of all scores of the
    text, so widths of the networks may differ. Of the teacher only the ``top`` largest entries of a token count. The
    student's gradient is differentiated a second time.

    The paper's objective has no factor tau^2 on its logit term: at tau 1, as here by default, both are the same; at
    another one divide ``kd_weight`` by tau^2. Two classes have proportional attributions, so the paper takes the loss
    of the label alone there. Ours: entries are scaled before they are squared, so that small ones do not underflow, and
    a row of scores that is all zero stays so. A student with dropout is attributed as it is in training, in a pass of
    its own.

    Networks without ``embeddings_path`` are attributed at their pixels, which is no part of the paper.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        weight: of the attribution term; the paper takes 1 to 100 by the task.
        top: entries of a token that count in the teacher's score, the largest ones; null for all.
        steps: m, of the integrated gradients; each is a pass of both networks.
        normalize: false for a control that is no part of the paper: scores are the lengths of the gradients, neither
            multiplied by x nor divided by those of the text.
        attributed: the loss of the ``"label"``, or of each of the ``"classes"``, which is a backward pass each;
            ``"auto"`` takes the label of two classes and else all classes.
        ce_weight: weight of the cross-entropy.
        kd_weight: weight of logit distillation.
        tau: its temperature.
        **options: standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, ``top`` or ``steps`` is below 1, tau is not positive, or the networks have
            different numbers of classes.
    """

    taps: Taps = "none"  # type: ignore[misc]
    by_rows = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 10.0,
        top: int | None = None,
        steps: int = 1,
        normalize: bool = True,
        attributed: Attributed = "auto",
        ce_weight: float = 0.1,
        kd_weight: float = 0.9,
        tau: float = 1.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_choice("attributed", attributed, ("auto", "classes", "label"))
        require(top is None or top >= 1, f"top={top}: give 1 or more entries, or null for all")
        require(steps >= 1, f"steps={steps}: give 1 or more")
        by_label = attributed == "label" or (attributed == "auto" and student.num_classes == 2)
        super().__init__(
            student,
            teacher,
            ce_weight=ce_weight,
            kd_weight=kd_weight,
            tau=tau,
            terms={"attribution": (weight, Attribution(by_label, top, steps, normalize))},
            **options,
        )


class Attribution(Term):
    """The distance of the two networks' attribution scores, see :class:`ADKD`.

    Args:
        by_label: attribute the loss of the label alone, not of each class.
        top: entries of a token that count in the teacher's score; ``None`` for all.
        steps: of the integrated gradients.
        normalize: scores of a text have length 1, and are of gradient times input; else of the gradient as it is.
    """

    def __init__(self, by_label: bool, top: int | None = None, steps: int = 1, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize
        self.by_label, self.top, self.steps = by_label, top, steps
        self.one_class = by_label  # type: ignore[misc]

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the distance.

        Raises:
            InputError: the step has no networks or no inputs, or the networks have other tokens.
        """
        networks = step.need_networks("ADKD")
        theirs = self.scores(networks, "teacher", step, self.top).detach()
        own = self.scores(networks, "student", step)
        if own.shape != theirs.shape:
            raise InputError(
                f"ADKD: the student has {own.shape[2]} tokens a text and the teacher {theirs.shape[2]}: attributions "
                "are compared token by token; choose networks that see the same"
            )
        counted = (theirs != 0).sum(2).T
        batch = own.shape[1]
        if step.share is not None:
            counted, batch = step.share.gather(counted), step.share.batch
        # The mean over the own texts, whose mean over shares is the sum over all texts divided by all tokens.
        each = (own - theirs).square().sum(2).mean(1)
        return (each * batch / counted.sum(0).clamp(min=1)).sum()

    def scores(
        self, networks: Networks, owner: Literal["student", "teacher"], step: Step, top: int | None = None
    ) -> Tensor:
        """Return the scores ``[losses, B, n]`` of a network's tokens, rows of unit length; 0 at padding."""
        found = self.attributions(networks, owner, step)
        if self.normalize:
            # Scores are shares of a text's, so the scale is free, and small entries would be 0 when squared.
            found = found / found.detach().abs().amax((2, 3), keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
        if top is not None and top < found.shape[3]:
            found = found.abs().topk(top, dim=3).values
        lengths = torch.linalg.vector_norm(found, dim=3)
        if step.mask is not None:
            lengths = lengths * step.mask
        return normalize(lengths, dim=2) if self.normalize else lengths

    def attributions(self, networks: Networks, owner: Literal["student", "teacher"], step: Step) -> Tensor:
        """Return the attributions ``[losses, B, n, D]``; those of the student carry a gradient."""
        if step.inputs is None:
            raise InputError("ADKD asks the networks about their inputs: give Step(inputs=...)")
        learns = owner == "student"
        seen: list[Tensor] = []
        total: Tensor | float = 0.0
        for number in range(1, self.steps + 1):

            def change(x: Tensor, part: float = number / self.steps) -> Tensor:
                x = x if learns and x.requires_grad else x.detach().requires_grad_()
                seen[:] = [x, x * part]
                return seen[1]

            logits = full_precision(networks.through(owner, step.inputs, change))
            with torch.enable_grad():
                losses = -logits.log_softmax(1)
                chosen = losses.gather(1, step.target[:, None]) if self.by_label else losses
                grads = [
                    torch.autograd.grad(loss.sum(), seen[1], create_graph=learns, retain_graph=True)[0]
                    for loss in chosen.unbind(1)
                ]
                total = total + torch.stack(grads)
        found = torch.as_tensor(total) / self.steps
        found = seen[0] * found if self.normalize else found
        # Of images and clips a token is a pixel.
        return found.flatten(3).mT if found.dim() > 4 else found
