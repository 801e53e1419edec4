"""The equations of the losses, written out row by row in plain tensor arithmetic.

Nothing here is shared with the library: a row of a matrix is a row, a sum over neighbours is a loop. Everything is
differentiable, so gradients are compared with these too.
"""

from torch import Tensor, stack


def softmax_row(logits: Tensor) -> Tensor:
    exponentials = (logits - logits.detach().max()).exp()
    return exponentials / exponentials.sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def unit(vector: Tensor) -> Tensor:
    """A zero vector has no direction: zero."""
    if vector.detach().norm() == 0:
        return vector * 0
    return vector / vector.norm()


def logit_kd(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), mean over the batch."""
    rows = [kl(softmax_row(t / tau), softmax_row(s / tau)) for s, t in zip(student, teacher, strict=True)]
    return tau**2 * stack(rows).mean()


def standardized(row: Tensor) -> Tensor:
    """(z - mean) / (unbiased deviation + 1e-7)"""
    mean = row.sum() / len(row)
    deviation = ((row - mean).square().sum() / (len(row) - 1)).sqrt()
    return (row - mean) / (deviation + 1e-7)


def info_nce(anchor: Tensor, positive: Tensor, tau: float, reduction: str = "mean") -> Tensor:
    """-log exp(cos(a_i, b_i) / tau) / sum_j exp(cos(a_i, b_j) / tau)"""
    rows = []
    for i in range(anchor.shape[0]):
        logits = stack([(unit(anchor[i]) * unit(b)).sum() / tau for b in positive])
        rows.append(-softmax_row(logits)[i].log())
    losses = stack(rows)
    return losses.mean() if reduction == "mean" else losses.sum()


def soft_info_nce(anchor: Tensor, positive: Tensor, asked: Tensor, tau: float, reduction: str = "mean") -> Tensor:
    """-sum_j y_ij log softmax_j(cos(a_i, b_j) / tau)"""
    rows = []
    for i in range(anchor.shape[0]):
        logits = stack([(unit(anchor[i]) * unit(b)).sum() / tau for b in positive])
        rows.append(-(asked[i] * softmax_row(logits).log()).sum())
    losses = stack(rows)
    return losses.mean() if reduction == "mean" else losses.sum()


def adjacency(edge_index: Tensor, weight: Tensor, nodes: int) -> Tensor:
    """A with the weight of the edge i -> j at (i, j), 0 elsewhere."""
    return weight.new_zeros(nodes, nodes).index_put((edge_index[0], edge_index[1]), weight)


def local_over_all(student: Tensor, teacher: Tensor, direction: str, temperature: float, reduction: str) -> Tensor:
    """KL between the softmaxes of the rows of two adjacency matrices, over all nodes, zeros included."""
    rows = []
    for row_s, row_t in zip(student, teacher, strict=True):
        s, t = softmax_row(row_s / temperature), softmax_row(row_t / temperature)
        rows.append(kl(t, s) if direction == "teacher" else kl(s, t))
    losses = stack(rows)
    return losses.mean() if reduction == "mean" else losses.sum()


def local_over_neighbours(
    edge_index: Tensor, student: Tensor, teacher: Tensor, nodes: int, direction: str, temperature: float, reduction: str
) -> Tensor:
    """KL between the softmaxes over the edges into each node; a node without edges adds nothing."""
    rows = []
    for node in range(nodes):
        into = (edge_index[1] == node).nonzero().flatten()
        if len(into) == 0:
            rows.append(student.sum() * 0)
            continue
        s, t = softmax_row(student[into] / temperature), softmax_row(teacher[into] / temperature)
        rows.append(kl(t, s) if direction == "teacher" else kl(s, t))
    losses = stack(rows)
    return losses.mean() if reduction == "mean" else losses.sum()


def similarity(a: Tensor, b: Tensor, temperature: float | None) -> Tensor:
    """a b / sqrt(D), or with a temperature the cosine over it."""
    if temperature is None:
        return (a * b).sum() / len(a) ** 0.5
    return (a * b).sum() / (a.norm() * b.norm()) / temperature


def contextual_dense(student: list[Tensor], teacher: list[Tensor], temperature: float | None = None) -> Tensor:
    """MSE of softmax(F F^T / sqrt(D)), one pair of [n, D] an image, mean over all entries of all images."""
    squares, entries = [], 0
    for f_s, f_t in zip(student, teacher, strict=True):
        for i in range(f_s.shape[0]):
            cs_s = softmax_row(stack([similarity(f_s[i], f, temperature) for f in f_s]))
            cs_t = softmax_row(stack([similarity(f_t[i], f, temperature) for f in f_t]))
            squares.append((cs_t - cs_s).square().sum())
            entries += f_s.shape[0]
    return stack(squares).sum() / entries


def contextual_graph(edge_index: Tensor, student: Tensor, teacher: Tensor, temperature: float | None = None) -> Tensor:
    """The same row softmax over the edges into each node; mean over edges."""
    squares = []
    for node in range(student.shape[0]):
        sources = edge_index[0, edge_index[1] == node].tolist()
        if not sources:
            continue
        cs_s = softmax_row(stack([similarity(student[node], student[j], temperature) for j in sources]))
        cs_t = softmax_row(stack([similarity(teacher[node], teacher[j], temperature) for j in sources]))
        squares.append((cs_t - cs_s).square().sum())
    return stack(squares).sum() / edge_index.shape[1]


def propagate(x: Tensor, edge_index: Tensor, weight: Tensor, hops: int) -> Tensor:
    """x_i <- (x_i + sum_{j -> i} A_ji x_j) / (1 + sum_{j -> i} A_ji), h times."""
    a = adjacency(edge_index, weight, x.shape[0])
    for _ in range(hops):
        x = (x + a.T @ x) / (1 + a.sum(0)).unsqueeze(1)
    return x


def gaussian(x: Tensor, edge_index: Tensor, sigma: float = 1.0, normalize: bool = True) -> Tensor:
    """A_ij = exp(-|t_i - t_j|^2 / (2 sigma)) of each edge."""
    x = stack([unit(row) for row in x]) if normalize else x
    return stack([(-(x[i] - x[j]).square().sum() / (2 * sigma)).exp() for i, j in edge_index.T.tolist()])
