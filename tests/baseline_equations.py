"""The equations of the other methods' losses, written out entry by entry in plain tensor arithmetic.

Nothing here is shared with the library: a convolution is a sum over its window, a bank a list of vectors. Everything is
differentiable, so gradients are compared with these too.
"""

import math

from torch import Tensor, stack


def softmax(logits: Tensor) -> Tensor:
    exponentials = (logits - logits.detach().max()).exp()
    return exponentials / exponentials.sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def unit(vector: Tensor) -> Tensor:
    """A zero vector has no direction: zero."""
    return vector * 0 if vector.detach().norm() == 0 else vector / vector.norm()


def pooled(feature_map: Tensor, height: int, width: int) -> Tensor:
    """Mean over the windows [floor(iH/h), ceil((i+1)H/h)) of ``[C, H, W]``."""
    _, h, w = feature_map.shape
    rows = []
    for i in range(height):
        down = slice(i * h // height, -(-(i + 1) * h // height))
        row = []
        for j in range(width):
            across = slice(j * w // width, -(-(j + 1) * w // width))
            row.append(feature_map[:, down, across].mean((1, 2)))
        rows.append(stack(row, 1))
    return stack(rows, 1)


def on_coarser_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    height, width = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return stack([pooled(f, height, width) for f in student]), stack([pooled(f, height, width) for f in teacher])


def dkd(student: Tensor, teacher: Tensor, target: Tensor, alpha: float, beta: float, tau: float) -> Tensor:
    """tau^2 (alpha KL(b_T || b_S) + beta KL(p^_T || p^_S)), mean over the batch."""
    losses = []
    for z_s, z_t, y in zip(student, teacher, target.tolist(), strict=True):
        others = [c for c in range(len(z_s)) if c != y]
        p_s, p_t = softmax(z_s / tau), softmax(z_t / tau)
        b_s, b_t = stack([p_s[y], p_s[others].sum()]), stack([p_t[y], p_t[others].sum()])
        losses.append(alpha * kl(b_t, b_s) + beta * kl(softmax(z_t[others] / tau), softmax(z_s[others] / tau)))
    return tau**2 * stack(losses).mean()


def convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """``[B, C, H, W]`` with ``weight`` ``[C', C, kh, kw]``."""
    images, _, height, width = x.shape
    padded = x.new_zeros(images, x.shape[1], height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = x
    _, _, kh, kw = weight.shape
    rows = []
    for i in range(0, padded.shape[2] - kh + 1, stride):
        row = []
        for j in range(0, padded.shape[3] - kw + 1, stride):
            window = padded[:, :, i : i + kh, j : j + kw]
            row.append((window.unsqueeze(1) * weight.unsqueeze(0)).sum((2, 3, 4)) + bias)
        rows.append(stack(row, 2))
    return stack(rows, 2)


def transposed_convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Every entry of ``[B, C, H, W]`` spreads ``weight`` ``[C, C', kh, kw]``."""
    images, _, height, width = x.shape
    _, channels, kh, kw = weight.shape
    out = x.new_zeros(images, channels, (height - 1) * stride + kh, (width - 1) * stride + kw)
    for i in range(height):
        for j in range(width):
            spread = (x[:, :, i, j, None, None, None] * weight.unsqueeze(0)).sum(1)
            window = out.clone()
            window[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += spread
            out = window
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding] + bias[:, None, None]


def batch_normalised(x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-5) of each channel, over images and positions."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """mean((a_S - a_T)^2), a the unit vector of the channels' mean square; a map of zeros has a = 0."""
    squares = []
    for f_s, f_t in zip(*on_coarser_grid(student, teacher), strict=True):
        a = []
        for f in (f_s, f_t):
            v = f.square().mean(0).flatten()
            a.append(v * 0 if f.detach().norm() == 0 else v / v.norm())
        squares.append((a[0] - a[1]).square())
    return stack(squares).mean()


def vid(student: Tensor, teacher: Tensor, weights: list[Tensor], log_scale: Tensor, eps: float) -> Tensor:
    """mean(((mu_c - t_c)^2 / var_c + log var_c) / 2), mu of matrices at every position."""
    student, teacher = on_coarser_grid(student, teacher)
    losses = []
    for f_s, f_t in zip(student, teacher, strict=True):
        for i in range(f_s.shape[1]):
            for j in range(f_s.shape[2]):
                first, second, third = weights
                mu = third @ (second @ (first @ f_s[:, i, j]).clamp(min=0)).clamp(min=0)
                for c, t in enumerate(f_t[:, i, j]):
                    variance = (1 + log_scale[c].exp()).log() + eps
                    losses.append(((mu[c] - t) ** 2 / variance + variance.log()) / 2)
    return stack(losses).mean()


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """mean_i <|s_i - t_i|, |s_{i+1} - t_{i+1}|> of embeddings."""
    delta = [(s - t).abs() for s, t in zip(student, teacher, strict=True)]
    return stack([(delta[i] * delta[i + 1]).sum() for i in range(len(delta) - 1)]).mean()


def bank_info_nce(anchor: Tensor, positive: Tensor, pool: Tensor, allowed: Tensor, tau: float) -> Tensor:
    """-log e^{ap/tau} / (e^{ap/tau} + sum over allowed of e^{an/tau}), mean over anchors."""
    losses = []
    for i in range(len(anchor)):
        logits = [(anchor[i] * positive[i]).sum() / tau]
        logits += [(anchor[i] * pool[j]).sum() / tau for j in range(len(pool)) if allowed[i, j]]
        losses.append(-softmax(stack(logits))[0].log())
    return stack(losses).mean()


def crd_z(anchor: Tensor, bank: Tensor, index: list[int], negatives: list[list[int]], tau: float) -> float:
    """N times the mean of e^{av/tau} over positive and negatives of all anchors."""
    entries = [
        math.exp((a * bank[j]).sum().item() / tau)
        for a, i, others in zip(anchor, index, negatives, strict=True)
        for j in [i, *others]
    ]
    return len(bank) * sum(entries) / len(entries)


def crd(anchor: Tensor, bank: Tensor, index: list[int], negatives: list[list[int]], tau: float, z: float) -> Tensor:
    """-(log P+ / (P+ + K/N + 1e-7) + sum log (K/N) / (P- + K/N + 1e-7)), mean over anchors; P = e^{av/tau} / Z."""
    losses = []
    for a, i, others in zip(anchor, index, negatives, strict=True):
        noise = len(others) / len(bank)
        p = ((a * bank[i]).sum() / tau).exp() / z
        loss = -(p / (p + noise + 1e-7)).log()
        for j in others:
            p = ((a * bank[j]).sum() / tau).exp() / z
            loss = loss - (noise / (p + noise + 1e-7)).log()
        losses.append(loss)
    return stack(losses).mean()
