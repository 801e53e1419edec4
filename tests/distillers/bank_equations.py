"""The equations of the distillers that keep memories or compare maps, in loops and plain tensor arithmetic, in float64.

Nothing here is shared with the library. B images, f their embeddings ``[B, d]``, banks ``[N, d]``. Everything is
differentiable, so gradients are compared with these too.
"""

from math import exp, factorial

from baseline_equations import bank_info_nce, batch_normalised, crd, crd_z, softmax, unit
from torch import Tensor, nn, stack


def linear(f: Tensor, layer: nn.Linear) -> Tensor:
    return stack([layer.weight @ row + layer.bias for row in f])


def embedded(f: Tensor, layer: nn.Linear) -> Tensor:
    """e_i = unit(W f_i + b)."""
    return stack([unit(row) for row in linear(f, layer)])


def likeliest(logits: Tensor, k: int) -> list[list[int]]:
    """The k other images whose softmax has the largest cosine with an image's."""
    p = [unit(softmax(z.detach())) for z in logits]
    near = []
    for i in range(len(p)):
        others = [j for j in range(len(p)) if j != i]
        near.append(sorted(others, key=lambda j: -(p[i] * p[j]).sum().item())[:k])
    return near


def one_hop(e: Tensor, near: list[list[int]], own: Tensor, beside: Tensor, bias: Tensor) -> Tensor:
    """g_i = unit(W0 e_i + W1 mean of e_j over the neighbours + b)."""
    g = []
    for i, others in enumerate(near):
        mean = sum(e[j] for j in others) / len(others)
        g.append(unit(own @ e[i] + beside @ mean + bias))
    return stack(g)


def mixed(remembered: Tensor, now: Tensor, share: float) -> Tensor:
    return stack([unit(share * m + (1 - share) * x.detach()) for m, x in zip(remembered, now, strict=True)])


def holistic(
    e: tuple[Tensor, Tensor],
    g: tuple[Tensor, Tensor],
    banks: tuple[Tensor, Tensor],
    index: Tensor,
    pool: Tensor,
    allowed: Tensor,
    *,
    own: bool,
    tau: float,
    share: float,
) -> Tensor:
    """Sum of InfoNCE of e_s, e_t, g_s, g_t; pairs are of student and teacher."""
    (e_s, e_t), (g_s, g_t), (m_s, m_t) = e, g, banks
    for_s, for_t = (m_s[pool], m_t[pool]) if own else (m_t[pool], m_s[pool])
    return (
        bank_info_nce(e_s, m_t[index], for_s, allowed, tau)
        + bank_info_nce(e_t, m_s[index], for_t, allowed, tau)
        + bank_info_nce(g_s, mixed(m_t[index], g_t, share), for_s, allowed, tau)
        + bank_info_nce(g_t, mixed(m_s[index], g_s, share), for_t, allowed, tau)
    )


def moved(bank: Tensor, index: Tensor, new: Tensor, momentum: float) -> Tensor:
    """m_i <- unit(momentum m_i + (1 - momentum) x_i)."""
    bank = bank.clone()
    for i, x in zip(index.tolist(), new.detach(), strict=True):
        bank[i] = unit(momentum * bank[i] + (1 - momentum) * x)
    return bank


def crd_normalisers(
    e: tuple[Tensor, Tensor], banks: tuple[Tensor, Tensor], index: Tensor, negatives: list[list[int]], tau: float
) -> tuple[float, float]:
    """Of student anchors against the teacher's bank, and the other way round."""
    (e_s, e_t), (m_s, m_t) = e, banks
    return crd_z(e_s, m_t, index.tolist(), negatives, tau), crd_z(e_t, m_s, index.tolist(), negatives, tau)


def contrast(
    e: tuple[Tensor, Tensor],
    banks: tuple[Tensor, Tensor],
    index: Tensor,
    negatives: list[list[int]],
    tau: float,
    z: tuple[float, float],
) -> Tensor:
    """Both directions of CRD."""
    (e_s, e_t), (m_s, m_t) = e, banks
    first = crd(e_s, m_t, index.tolist(), negatives, tau, z[0])
    return first + crd(e_t, m_s, index.tolist(), negatives, tau, z[1])


def kernel(x: Tensor, y: Tensor, gamma: float, order: int) -> Tensor:
    """Sum over p up to the order of e^(-2 gamma) (2 gamma)^p / p! cos(x, y)^p."""
    cosine = (unit(x) * unit(y)).sum()
    return sum(exp(-2 * gamma) * (2 * gamma) ** p / factorial(p) * cosine**p for p in range(order + 1))


def kernel_congruence(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Squared error of the kernel over B^2."""
    images = range(len(student))
    errors = [
        (kernel(student[i], student[j], gamma, order) - kernel(teacher[i], teacher[j], gamma, order)) ** 2
        for i in images
        for j in images
    ]
    return stack(errors).sum() / len(student) ** 2


def hint(mapped: Tensor, teacher: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Mean squared error of ReLU(BN(x)), x the student's map behind its convolution."""
    normalised = batch_normalised(mapped) * scale[:, None, None] + shift[:, None, None]
    return (normalised * (normalised.detach() > 0) - teacher).square().mean()


def token_map(tokens: Tensor, prefix: int, height: int, width: int) -> Tensor:
    """``[B, C, H, W]`` of ``[B, prefix + H W, C]``, row by row."""
    rows = [stack([tokens[:, prefix + i * width + j] for j in range(width)], 2) for i in range(height)]
    return stack(rows, 2).detach()
