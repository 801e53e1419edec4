"""The equations of newer losses on logits, written out image by image in plain tensor arithmetic.

Nothing here is shared with the library. Everything is differentiable, so gradients are compared with these too.
"""

from collections.abc import Sequence

from loss_equations import kl, logit_kd, softmax_row
from torch import Tensor, stack


def without(row: Tensor, place: int) -> Tensor:
    return stack([value for i, value in enumerate(row) if i != place])


def normalised(row: Tensor) -> Tensor:
    return row / row.sum()


def nkd(student: Tensor, teacher: Tensor, target: Tensor, gamma: float, tau: float) -> Tensor:
    """-p_T(y) log p_S(y) - gamma tau^2 sum_k p^_T(k) log p^_S(k), mean over the batch."""
    losses = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        of_label = -softmax_row(t)[y] * softmax_row(s)[y].log()
        others_s, others_t = softmax_row(without(s, y) / tau), softmax_row(without(t, y) / tau)
        losses.append(of_label - gamma * tau**2 * (others_t * others_s.log()).sum())
    return stack(losses).mean()


def wttm(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """U KL(p_T^gamma / U || p_S) with U the sum of p_T^gamma, mean over the batch."""
    losses = []
    for s, t in zip(student, teacher, strict=True):
        powers = softmax_row(t) ** gamma
        losses.append(powers.sum() * kl(normalised(powers), softmax_row(s)))
    return stack(losses).mean()


def ltkd(
    student: Tensor, teacher: Tensor, groups: Sequence[Sequence[int]], alpha: float, beta: float, tau: float
) -> Tensor:
    """tau^2 (alpha KL(q || g_S) + beta sum_G KL(p^_T || p^_S within G)), mean over the batch."""
    rows_s, rows_t = ([softmax_row(row / tau) for row in logits] for logits in (student, teacher))
    masses_s, masses_t = (
        [stack([row[list(group)].sum() for group in groups]) for row in rows] for rows in (rows_s, rows_t)
    )
    total = stack(masses_t).sum(0)
    losses = []
    for p_s, p_t, g_s, g_t in zip(rows_s, rows_t, masses_s, masses_t, strict=True):
        between = kl(normalised(g_t / total), g_s)
        within = [kl(normalised(p_t[list(group)]), normalised(p_s[list(group)])) for group in groups if len(group)]
        losses.append(alpha * between + beta * stack(within).sum())
    return tau**2 * stack(losses).mean()


def bkd(student: Tensor, teacher: Tensor, counts: Sequence[int], beta: float, tau: float) -> Tensor:
    """tau^2 KL(p_T w, renormalised || p_S) with w = (1 - beta) / (1 - beta^n), mean over the batch."""
    weights = student.new_tensor([(1 - beta) / (1 - beta**n) for n in counts])
    rows = [
        kl(normalised(softmax_row(t / tau) * weights), softmax_row(s / tau))
        for s, t in zip(student, teacher, strict=True)
    ]
    return tau**2 * stack(rows).mean()


def dive(student: Tensor, teacher: Tensor, gamma: float, tau: float) -> Tensor:
    """tau^2 KL(p_T^gamma, renormalised || p_S), mean over the batch."""
    rows = [
        kl(normalised(softmax_row(t / tau) ** gamma), softmax_row(s / tau))
        for s, t in zip(student, teacher, strict=True)
    ]
    return tau**2 * stack(rows).mean()


def balanced_softmax(student: Tensor, target: Tensor, counts: Sequence[int]) -> Tensor:
    """-log n_y exp(z_y) / sum_k n_k exp(z_k), mean over the batch."""
    n = student.new_tensor(counts)
    rows = [-(n[y] * z[y].exp() / (n * z.exp()).sum()).log() for z, y in zip(student, target.tolist(), strict=True)]
    return stack(rows).mean()


def regions(scores: Tensor, grids: Sequence[int]) -> list[Tensor]:
    """Means of ``[classes, H, W]`` over the cells of each grid, whose sides divide H and W."""
    _, height, width = scores.shape
    found = []
    for side in grids:
        h, w = height // side, width // side
        for i in range(side):
            found += [scores[:, i * h : (i + 1) * h, j * w : (j + 1) * w].mean((1, 2)) for j in range(side)]
    return found


def sdd(
    student: Tensor, teacher: Tensor, target: Tensor, grids: Sequence[int], tau: float, complementary: float
) -> Tensor:
    """tau^2 w KL(p_T || p_S) of each region, mean over images and regions."""
    losses = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        whole = t.mean((1, 2)).argmax() == y
        for z_s, z_t in zip(regions(s, grids), regions(t, grids), strict=True):
            weight = 1.0 if (z_t.argmax() == y) == whole else complementary
            losses.append(weight * kl(softmax_row(z_t / tau), softmax_row(z_s / tau)))
    return tau**2 * stack(losses).mean()


def gram(student: Tensor, teacher: Tensor, between: str, tau: float) -> Tensor:
    """Sum over all pairs of (p_T p_T' - p_S p_S')^2, over the number of images or classes."""
    p_s, p_t = (stack([softmax_row(row / tau) for row in logits]) for logits in (student, teacher))
    if between == "classes":
        p_s, p_t = p_s.T, p_t.T
    pairs = [(i, j) for i in range(len(p_s)) for j in range(len(p_s))]
    squares = [((p_t[i] * p_t[j]).sum() - (p_s[i] * p_s[j]).sum()) ** 2 for i, j in pairs]
    return stack(squares).sum() / len(p_s)


def mlkd(weak: tuple[Tensor, Tensor], strong: tuple[Tensor, Tensor], taus: Sequence[float]) -> Tensor:
    """Sum over tau of KD(weak) / 2 + KD(strong) + gram of images(weak) / 2 + gram of classes(weak) / 2."""
    losses = [
        (logit_kd(*weak, tau) + gram(*weak, "images", tau) + gram(*weak, "classes", tau)) / 2 + logit_kd(*strong, tau)
        for tau in taus
    ]
    return stack(losses).sum()


def wkd(
    student: Tensor, teacher: Tensor, target: Tensor, prototypes: Tensor, tau: float, smoothness: float, iterations: int
) -> Tensor:
    """Transport between p^_T and p^_S by Sinkhorn's iteration on the other classes alone, mean over the batch."""
    rows = [row / row.norm() for row in prototypes]
    whole = stack([stack([(1 - (a * b).sum()).clamp(min=0) + 1e-8 for b in rows]) for a in rows])
    losses = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        others = [k for k in range(len(s)) if k != y]
        cost = whole[others][:, others]
        kernel = (-cost / smoothness).exp()
        p_s, p_t = softmax_row(without(s, y) / tau), softmax_row(without(t, y) / tau)
        u = p_s * 0 + 1 / len(others)
        for _ in range(iterations):
            v = p_t / (kernel.T @ u + 1e-8)
            u = p_s / (kernel @ v + 1e-8)
        losses.append((u[:, None] * kernel * v[None, :] * cost).sum())
    return stack(losses).mean()
