"""The equations of relational and feature methods of 2021 to 2025, in loops and plain tensor arithmetic, in float64.

Nothing here is shared with the library. B images, z their logits ``[B, C]``, f their embeddings, F their maps
``[B, C, H, W]``. Everything is differentiable, so gradients are compared with these too.
"""

from baseline_equations import batch_normalised, convolution, pooled, softmax, unit
from torch import Tensor, cat, nn, stack

from trg_pyg.nn import AttentionFusion, ConvNorm


def length(x: Tensor) -> Tensor:
    """Its gradient at 0 is 0."""
    square = (x * x).sum()
    return square * 0 if square.item() == 0 else square**0.5


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Of two vectors, 1e-8 beside the product of their lengths."""
    a, b = first - first.sum() / len(first), second - second.sum() / len(second)
    return (a * b).sum() / (length(a) * length(b) + 1e-8)


def dist(student: Tensor, teacher: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """tau^2 (1 - rho), mean over images; and mean over classes."""
    p, q = (stack([softmax(row / tau) for row in z]) for z in (student, teacher))
    of_images = stack([1 - pearson(s, t) for s, t in zip(p, q, strict=True)]).mean()
    of_classes = stack([1 - pearson(p[:, c], q[:, c]) for c in range(p.shape[1])]).mean()
    return tau**2 * of_images, tau**2 * of_classes


def projected(maps: Tensor, layer: ConvNorm) -> Tensor:
    """Convolution and batch norm, by the batch's statistics."""
    kernel = layer.conv.kernel_size[0]
    zero = layer.norm.bias.new_zeros(layer.conv.out_channels)
    x = batch_normalised(convolution(maps, layer.conv.weight, zero, 1, kernel // 2))
    return x * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]


def ickd(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared differences of F F^T with rows of unit length, over C and B."""
    errors = []
    for a, b in zip(student.flatten(2), teacher.flatten(2), strict=True):
        for i in range(len(a)):
            row_s, row_t = (unit(stack([(x[i] * other).sum() for other in x])) for x in (a, b))
            errors.append(((row_s - row_t) ** 2).sum())
    return stack(errors).sum() / (student.shape[0] * student.shape[1])


def embedded(f: Tensor, layer: nn.Linear) -> Tensor:
    return stack([unit(layer.weight @ row + layer.bias) for row in f])


def rrd(student: Tensor, teacher: Tensor, queue: Tensor, tau_s: float, tau_t: float) -> Tensor:
    """Cross-entropy of the softmaxes of similarities to a queue, mean over images."""
    rows = []
    for s, t in zip(student, teacher, strict=True):
        q = softmax(stack([(s * key).sum() for key in queue]) / tau_s)
        p = softmax(stack([(t * key).sum() for key in queue]) / tau_t)
        rows.append(-(p * q.log()).sum())
    return stack(rows).mean()


def mean_square(student: list[tuple[Tensor, Tensor]], teacher: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean squared difference of the cosines of pairs of tokens."""
    cosines = [[(unit(a) * unit(b)).sum() for a, b in pairs] for pairs in (student, teacher)]
    return stack([(s - t) ** 2 for s, t in zip(*cosines, strict=True)]).mean()


def manifold(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of tokens ``[B, N, D]``: within images, at one place of all images, and of all."""

    def within(x: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(one, other) for image in x for one in image for other in image]

    both = student, teacher
    return (
        mean_square(*(within(x) for x in both)),
        mean_square(*(within(x.transpose(0, 1)) for x in both)),
        mean_square(*(within(x.flatten(0, 1)[None]) for x in both)),
    )


def huber(x: Tensor) -> Tensor:
    return stack([0.5 * v * v if abs(v.item()) < 1 else v.abs() - 0.5 for v in x]).sum()


def directions(student: Tensor, teacher: Tensor, views: int, left_out: int) -> Tensor:
    """Mean of Huber's error of unit(x_i - y_j), x of the first view and y of the second, without the largest errors."""
    errors = []
    for i in range(views):
        for j in range(views, 2 * views):
            errors.append(huber(unit(student[i] - student[j]) - unit(teacher[i] - teacher[j])))
    kept = sorted(errors, key=lambda error: error.item())[: len(errors) - left_out]
    return stack(kept).mean()


def repeated(maps: Tensor, height: int, width: int) -> Tensor:
    """Cell (i, j) of a new grid is the old one that lies there."""
    _, _, h, w = maps.shape
    rows = [stack([maps[:, :, i * h // height, j * w // width] for j in range(width)], 2) for i in range(height)]
    return stack(rows, 2)


def fused(maps: Tensor, deeper: Tensor | None, layer: AttentionFusion, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    x = projected(maps, layer.enter)
    if deeper is not None:
        y = repeated(deeper, *x.shape[2:])
        weight, bias = layer.attend.weight, layer.attend.bias
        a = 1 / (1 + (-convolution(cat([x, y], 1), weight, bias, 1, 0)).exp())
        x = a[:, :1] * x + a[:, 1:] * y
    x = repeated(x, *grid)
    return projected(x, layer.leave), x


def pyramid(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared differences, full and on grids of 4, 2 and 1 that are smaller, each half the weight of the last."""
    values = [((student - teacher) ** 2).sum() / student.numel()]
    for side in (4, 2, 1):
        if side < min(student.shape[2:]):
            s, t = (stack([pooled(image, side, side) for image in maps]) for maps in (student, teacher))
            values.append(((s - t) ** 2).sum() / s.numel())
    weights = [0.5**level for level in range(len(values))]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


def review(student: list[Tensor], teacher: list[Tensor], layers: list[AttentionFusion]) -> Tensor:
    """From the deepest map on, the last of the lists."""
    losses, deeper = [], None
    for own, goal, layer in zip(student[::-1], teacher[::-1], layers[::-1], strict=True):
        out, deeper = fused(own, deeper, layer, goal.shape[2:])
        losses.append(pyramid(out, goal))
    return stack(losses).sum()


def bottleneck(maps: Tensor, layers: nn.Sequential) -> Tensor:
    """Three times a convolution, batch norm and ReLU."""
    for conv, norm in zip(layers[::3], layers[1::3], strict=True):
        zero = norm.bias.new_zeros(conv.out_channels)
        x = batch_normalised(convolution(maps, conv.weight, zero, 1, conv.kernel_size[0] // 2))
        maps = (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
    return maps


def log_sum(student: Tensor, teacher: Tensor, layer: nn.Linear, exponent: float) -> Tensor:
    """log(1e-8 + the sum of |a - b|^exponent), a and b with mean 0 and variance 1 over images, 1e-4 beside it."""
    both = []
    for f in (stack([layer.weight @ row + layer.bias for row in student]), teacher):
        centred = f - f.sum(0) / len(f)
        both.append(centred / ((centred**2).sum(0) / len(f) + 1e-4) ** 0.5)
    return (1e-8 + ((both[0] - both[1]).abs() ** exponent).sum()).log()


def ofa(student: Tensor, teacher: Tensor, target: Tensor, exponent: float, tau: float) -> Tensor:
    """-sum over classes of [(p_T + 1_y)^exponent - 1_y] log p_S, mean over images."""
    rows = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        p, q = softmax(t / tau), softmax(s / tau)
        label = [float(c == y) for c in range(len(p))]
        rows.append(-sum(((p[c] + label[c]) ** exponent - label[c]) * q[c].log() for c in range(len(p))))
    return stack(rows).mean()


def branch(maps: Tensor, conv: ConvNorm, classify: nn.Linear) -> Tensor:
    pooled_maps = projected(maps, conv).clamp(min=0).flatten(2).mean(2)
    return stack([classify.weight @ row + classify.bias for row in pooled_maps])
