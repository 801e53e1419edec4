"""The equations of the relational methods, written out in loops and plain tensor arithmetic, in float64.

Nothing here is shared with the library. B images, f their embeddings ``[B, d]``, F a layer's maps ``[B, C, H, W]``.
Everything is differentiable, so gradients are compared with these too.
"""

from math import ceil

from torch import Tensor, cat, stack


def zero(like: Tensor) -> Tensor:
    return like.sum() * 0


def unit(vector: Tensor) -> Tensor:
    """A zero vector has no direction: zero."""
    square = (vector * vector).sum()
    return vector * 0 if square.item() == 0 else vector / square**0.5


def smooth_l1(first: Tensor, second: Tensor) -> Tensor:
    apart = (first - second).abs()
    return 0.5 * apart * apart if apart.item() < 1 else apart - 0.5


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log softmax(z)_y, mean over images."""
    return stack([z.exp().sum().log() - z[y] for z, y in zip(logits, target.tolist(), strict=True)]).mean()


def logit_kd(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), mean over images."""
    rows = []
    for s, t in zip(student / tau, teacher / tau, strict=True):
        p, q = t.exp() / t.exp().sum(), s.exp() / s.exp().sum()
        rows.append((p * (p.log() - q.log())).sum())
    return tau**2 * stack(rows).mean()


def distances(f: Tensor) -> list[list[Tensor]]:
    """D_ij = sqrt(max(|f_i - f_j|^2, 1e-12)), zero diagonal, over the mean of the positive entries."""
    images = range(len(f))
    d = [[zero(f) if i == j else (f[i] - f[j]).square().sum().clamp_min(1e-12).sqrt() for j in images] for i in images]
    positive = [entry for row in d for entry in row if entry.item() > 0]
    mean = stack(positive).mean() if positive else 1.0
    return [[entry / mean for entry in row] for row in d]


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of the distances, mean over B^2."""
    d_s, d_t = distances(student), distances(teacher)
    images = range(len(student))
    return stack([smooth_l1(d_s[i][j], d_t[i][j]) for i in images for j in images]).mean()


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of <e_ij, e_ik>, e_ij = (f_j - f_i) / |f_j - f_i|, of all i, j, k, mean over B^3."""
    errors = []
    for i in range(len(student)):
        e_s = [unit(f - student[i]) for f in student]
        e_t = [unit(f - teacher[i]) for f in teacher]
        for j in range(len(student)):
            for k in range(len(student)):
                errors.append(smooth_l1((e_s[j] * e_s[k]).sum(), (e_t[j] * e_t[k]).sum()))
    return stack(errors).mean()


def similarities(maps: Tensor) -> Tensor:
    """G = flat(F) flat(F)^T, each row over its Euclidean norm."""
    flat = maps.reshape(len(maps), -1)
    rows = []
    for i in range(len(flat)):
        row = stack([(flat[i] * other).sum() for other in flat])
        square = (row * row).sum()
        rows.append(row / square**0.5 if square.item() > 0 else row * 0)
    return stack(rows)


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of the similarities over B^2."""
    return (similarities(student) - similarities(teacher)).square().sum() / len(student) ** 2


def neighbour_probabilities(f: Tensor) -> Tensor:
    """(cos(f_i, f_j) + 1) / 2, rows over their sums."""
    rows = []
    for i in range(len(f)):
        row = stack([((unit(f[i]) * unit(other)).sum() + 1) / 2 for other in f])
        rows.append(row / row.sum())
    return stack(rows)


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over B^2 of P_T log((P_T + 1e-7) / (P_S + 1e-7))."""
    p_s, p_t = neighbour_probabilities(student), neighbour_probabilities(teacher)
    return (p_t * ((p_t + 1e-7).log() - (p_s + 1e-7).log())).sum() / len(student) ** 2


def irg_vertex(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the logits."""
    return (teacher - student).square().sum() / student.numel()


def over_largest(values: Tensor) -> Tensor:
    largest = values.flatten()[values.flatten().argmax()]
    return values / largest if largest.item() > 0 else values * 0


def irg_edge(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over B^2 of the squared error of A: squared distances of the flattened maps over their maximum."""
    a = []
    for maps in (student, teacher):
        flat = maps.reshape(len(maps), -1)
        a.append(over_largest(stack([stack([(x - y).square().sum() for y in flat]) for x in flat])))
    return (a[1] - a[0]).square().sum() / len(student) ** 2


def averaged(values: Tensor, axis: int, size: int) -> Tensor:
    """Bring an axis of n cells to m: cell i is the mean of the old ones from floor(i n / m) to ceil((i + 1) n / m)."""
    old = values.shape[axis]
    cells = []
    for i in range(size):
        start, end = i * old // size, ceil((i + 1) * old / size)
        cells.append(values.narrow(axis, start, end - start).mean(axis, keepdim=True))
    return cat(cells, axis)


def to_shape(maps: Tensor, channels: int, height: int, width: int) -> Tensor:
    return averaged(averaged(averaged(maps, 2, height), 3, width), 1, channels)


def irg_change(first: Tensor, last: Tensor) -> Tensor:
    """Lambda_i = |m_first(x_i) - m_last(x_i)|^2 over its largest, at the coarser grid and the fewer channels."""
    shape = [min(a, b) for a, b in zip(first.shape[1:], last.shape[1:], strict=True)]
    first, last = to_shape(first, *shape), to_shape(last, *shape)
    return over_largest(stack([(a - b).square().sum() for a, b in zip(first, last, strict=True)]))


def irg_transform(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
    """Mean over images of the squared error of Lambda."""
    return (irg_change(*teacher) - irg_change(*student)).square().sum() / len(student[0])


def beside(height: int, width: int) -> list[list[int]]:
    """The up to eight cells around each cell of a grid, row by row."""
    around = []
    for i in range(height):
        for j in range(width):
            cells = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
            around.append([a * width + b for a, b in cells if 0 <= a < height and 0 <= b < width])
    return around


def nearest(tokens: Tensor, k: int) -> list[list[int]]:
    """The k other tokens of an image that are nearest to each, at unit length."""
    x = [unit(token) for token in tokens]
    found = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        found.append(sorted(others, key=lambda j: (x[i] - x[j]).square().sum().item())[:k])
    return found


def tokens_of(maps: Tensor, height: int, width: int) -> list[Tensor]:
    """``[tokens, C]`` of each image, row by row, at a coarser grid."""
    maps = averaged(averaged(maps, 2, height), 3, width)
    return [stack([image[:, i, j] for i in range(height) for j in range(width)]) for image in maps]


def lsp(student: Tensor, teacher: Tensor, k: int | None = None, scale: float = 100.0) -> Tensor:
    """KL(T || S) of softmax_j exp(-|x_i - x_j|_1 / scale) over the edges into a node, mean over nodes.

    The eight tokens beside, or the k nearest of the teacher's.
    """
    height, width = (min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
    nodes = []
    for x_s, x_t in zip(tokens_of(student, height, width), tokens_of(teacher, height, width), strict=True):
        neighbours = beside(height, width) if k is None else nearest(x_t, k)
        for i, into in enumerate(neighbours):
            p = []
            for x in (x_s, x_t):
                e = stack([(-(x[i] - x[j]).abs().sum() / scale).exp() for j in into]).exp()
                p.append(e / e.sum())
            nodes.append((p[1] * (p[1].log() - p[0].log())).sum())
    return stack(nodes).mean()
