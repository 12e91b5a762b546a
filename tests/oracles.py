"""Slow, obvious reference implementations in float64, which the tests compare with.

They take their time: rows, tasks and experts one after the other, all pairs, 130 digits. None of
them calls the code that it stands beside, but for reading its weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, localcontext

import numpy as np
import torch
from torch import Tensor, nn

from tzmmoe.models.mmoe import MMoE
from tzmmoe.nn.gates import Gates
from tzmmoe.nn.mlp import MLP, Perceptron
from tzmmoe.nn.numbers import AutoDis
from tzmmoe.tables.table import Tables


class Dice(nn.Module):
    """p x + (1 - p) alpha x, p = sigmoid of x normalised over the batch; Zhou et al., eq. 3-4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BC: Tensor) -> Tensor:
        p = 1 / (1 + torch.exp(-self.norm(x_BC)))
        return p * x_BC + (1 - p) * self.alpha * x_BC


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "": lambda _: nn.Identity(),
    "nn.ReLU": lambda _: nn.ReLU(),
    "nn.LeakyReLU(negative_slope=0.1)": lambda _: nn.LeakyReLU(0.1),
    "nn.LeakyReLU": lambda _: nn.LeakyReLU(),
    "nn.GELU": lambda _: nn.GELU(),
    "nn.GELU(approximate='tanh')": lambda _: nn.GELU("tanh"),
    "nn.SiLU": lambda _: nn.SiLU(),
    "nn.ELU(alpha=0.5)": lambda _: nn.ELU(0.5),
    "nn.SELU": lambda _: nn.SELU(),
    "nn.Sigmoid": lambda _: nn.Sigmoid(),
    "nn.Tanh": lambda _: nn.Tanh(),
    "nn.PReLU": lambda _: nn.PReLU(),
    "Dice": Dice,
}


def networks(mlp: MLP, activation: str) -> list[nn.Sequential]:
    """The E networks of an MLP, each in plain torch layers of its own, with the same weights."""
    copies = len(mlp.layers[0].linear.weight)
    return [
        nn.Sequential(*(part for layer in mlp.layers for part in perceptron(layer, e, activation)))
        .double()
        .train(mlp.training)
        for e in range(copies)
    ]


def perceptron(layer: Perceptron, e: int, activation: str) -> list[nn.Module]:
    """Linear, norm, activation, dropout of network number e."""
    width, inner = layer.linear.weight.shape[1:]
    part = slice(e * width, (e + 1) * width)
    linear = nn.Linear(inner, width, bias=layer.linear.bias is not None)
    state = {"weight": layer.linear.weight[e]}
    if layer.linear.bias is not None:
        state["bias"] = layer.linear.bias[e]
    linear.double().load_state_dict(state)
    parts = [linear]
    if isinstance(layer.norm, nn.BatchNorm1d):
        parts.append(nn.BatchNorm1d(width).double())
        parts[-1].load_state_dict(_cut(layer.norm.state_dict(), part))
    elif layer.norm is not None:
        parts.append(nn.LayerNorm(width).double())
        parts[-1].load_state_dict({"weight": layer.norm.weight[e], "bias": layer.norm.bias[e]})
    parts.append(ACTIVATIONS[activation](width).double())
    if activation == "Dice":
        parts[-1].load_state_dict(_cut(layer.activation.state_dict(), part))
    elif activation == "nn.PReLU":
        parts[-1].load_state_dict({"weight": layer.activation.weight[e : e + 1]})
    return [*parts, nn.Dropout(layer.dropout.p if layer.dropout else 0.0)]


def _cut(state: Mapping[str, Tensor], part: slice) -> dict[str, Tensor]:
    return {name: value[part] if value.dim() else value for name, value in state.items()}


def gates_by_loops(gates: Gates, x_BD: Tensor, activation: str) -> Tensor:
    """(B, T, E): for each task and expert exp(w h + b), over their sum."""
    x_BD = x_BD.double()
    num_tasks, num_experts, _ = gates.final.weight.shape
    hidden = [x_BD] * num_tasks
    if gates.mlp is not None:
        hidden = [network(x_BD) for network in networks(gates.mlp, activation)]
    rows = []
    for b in range(len(x_BD)):
        tasks = []
        for t in range(num_tasks):
            scores = [
                (gates.final.weight[t, e].double() * hidden[t][b]).sum()
                + gates.final.bias[t, e].double()
                for e in range(num_experts)
            ]
            powers = [torch.exp(score - max(scores)) for score in scores]
            tasks.append(torch.stack([power / sum(powers) for power in powers]))
        rows.append(torch.stack(tasks))
    return torch.stack(rows)


def mmoe_by_loops(model: MMoE, x_BD: Tensor, activation: str = "nn.ReLU") -> list[Tensor]:
    """For each task t: sum over the experts e of gate_t(x)_e f_e(x)."""
    gates_BTE = gates_by_loops(model.gates, x_BD, activation)
    outputs = [network(x_BD.double()) for network in networks(model.experts, activation)]
    mixed = []
    for t in range(gates_BTE.shape[1]):
        task = torch.zeros_like(outputs[0])
        for e, output in enumerate(outputs):
            task = task + gates_BTE[:, t, e].unsqueeze(1) * output
        mixed.append(task)
    return mixed


def pooled_by_rows(
    tables: Tables,
    slots: Sequence[tuple[str, bool]],
    bags: Sequence[Sequence[Sequence[int]]],
    weights: Sequence[Sequence[Sequence[float]]] | None,
) -> Tensor:
    """(B, F, D). slots: table and whether it is a mean; bags: the ids of each row and feature."""
    dim = tables.weight.shape[1]
    pooled = []
    for b, row in enumerate(bags):
        for f, ids in enumerate(row):
            table, mean = slots[f]
            own = tables.rows_of(table, tables.weight).double()
            total = torch.zeros(dim, dtype=torch.float64)
            for place, number in enumerate(ids):
                total = total + own[number] * (1.0 if weights is None else weights[b][f][place])
            pooled.append(total / len(ids) if mean and ids else total)
    if not pooled:
        return torch.zeros(0, len(slots), dim, dtype=torch.float64)
    return torch.stack(pooled).unflatten(0, (len(bags), len(slots)))


def auto_dis_by_loops(layer: AutoDis, numbers_BR: Tensor) -> Tensor:
    """Guo et al., KDD 2021, eq. 4-7, for each row, number, channel and dimension."""
    num_numbers, num_channels, dim = layer.meta.shape
    w, mixing, meta = (p.detach().double() for p in (layer.input_weight, layer.mixing, layer.meta))
    out = torch.zeros(len(numbers_BR), num_numbers, dim, dtype=torch.float64)
    for b, row in enumerate(numbers_BR.tolist()):
        for r, x in enumerate(row):
            hidden = [max(v, 0.01 * v) for v in (x * float(w[r, c]) for c in range(num_channels))]
            scores = []
            for d in range(num_channels):
                mixed = sum(hidden[c] * float(mixing[r, c, d]) for c in range(num_channels))
                scores.append((mixed + layer.keep_prob * hidden[d]) / layer.temperature)
            powers = [math.exp(score - max(scores)) for score in scores]
            for c, power in enumerate(powers):
                out[b, r] += power / sum(powers) * meta[r, c]
    return out.flatten(1)


def binary_cross_entropy(logit: float, label: float, smoothing: float = 0.0) -> float:
    """-y log p - (1 - y) log(1 - p) with 130 digits, so that no p is 1."""
    with localcontext(Context(prec=130)):
        p = 1 / (1 + (-Decimal(logit)).exp())
        e = Decimal(smoothing)
        y = Decimal(label) * (1 - e) + e / 2
        return float(-y * p.ln() - (1 - y) * (1 - p).ln())


def softmax_cross_entropy(
    logits: Sequence[float], label: Sequence[float], smoothing: float = 0.0
) -> float:
    """-sum_c y_c log softmax_c with 130 digits; label is a distribution."""
    with localcontext(Context(prec=130)):
        powers = [Decimal(logit).exp() for logit in logits]
        e = Decimal(smoothing)
        targets = [Decimal(y) * (1 - e) + e / len(powers) for y in label]
        terms = [y * (power / sum(powers)).ln() for y, power in zip(targets, powers, strict=True)]
        return float(-sum(terms))


def kullback_leibler(logits: Sequence[float], label: Sequence[float]) -> float:
    """sum_c y_c log(y_c / softmax_c) with 130 digits; a class that never happens adds nothing."""
    with localcontext(Context(prec=130)):
        powers = [Decimal(logit).exp() for logit in logits]
        pairs = [(Decimal(y), power / sum(powers)) for y, power in zip(label, powers, strict=True)]
        return float(sum(y * (y / p).ln() for y, p in pairs if y))


def row_weight(
    label: float,
    sample_weight: float,
    indicator: float | None,
    inside: float,
    outside: float,
) -> float:
    """What a row counts: nothing without a label, nothing where the indicator is missing."""
    if math.isnan(label):
        return 0.0
    if indicator is None:
        return sample_weight
    if math.isnan(indicator):
        return 0.0
    return sample_weight * (inside if indicator > 0 else outside)


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """As TorchEasyRec words it: the mean of l_i w_i / mean(w), where 0 / 0 is 0."""
    if not sum(weights):
        return 0.0
    mean_weight = sum(weights) / len(weights)
    terms = [v * w / mean_weight for v, w in zip(values, weights, strict=True) if w]
    return sum(terms) / len(weights)


def auc_by_pairs(predictions: np.ndarray, positive: np.ndarray) -> float:
    """Of all pairs of a positive and a negative: won ones, and half of the ties; NaN without."""
    ups, downs = predictions[positive], predictions[~positive]
    if not (len(ups) and len(downs)):
        return math.nan
    points = 0.0
    for up in ups:
        points += (up > downs).sum() + 0.5 * (up == downs).sum()
    return points / (len(ups) * len(downs))


def grouped_auc_by_loop(predictions: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> float:
    """Mean of the AUC of each group that has one."""
    found = []
    for group in set(groups.tolist()):
        rows = groups == group
        auc = auc_by_pairs(predictions[rows], positive[rows])
        if not math.isnan(auc):
            found.append(auc)
    return sum(found) / len(found) if found else math.nan


def log_loss(predictions: np.ndarray, labels: np.ndarray, eta: float) -> float:
    """Mean of -y log p - (1 - y) log(1 - p), p within [eta, 1 - eta]."""
    total = 0.0
    for p, y in zip(predictions.tolist(), labels.tolist(), strict=True):
        kept = min(max(p, eta), 1 - eta)
        total += -y * math.log(kept) - (1 - y) * math.log1p(-kept)
    return total / len(labels) if len(labels) else math.nan


def normalized_entropy(predictions: np.ndarray, labels: np.ndarray, eta: float) -> float:
    """Log loss over that of always predicting the share of positives; NaN with one class."""
    share = labels.mean() if len(labels) else math.nan
    if not 0 < share < 1:
        return math.nan
    base = -share * math.log(share) - (1 - share) * math.log(1 - share)
    return log_loss(predictions, labels, eta) / base


def rows_by_side(
    predictions: np.ndarray, positive: np.ndarray, threshold: float
) -> tuple[int, int, int, int]:
    """True and false positives, false and true negatives; a prediction is positive above."""
    counts = {(above, is_one): 0 for above in (True, False) for is_one in (True, False)}
    for prediction, is_one in zip(predictions.tolist(), positive.tolist(), strict=True):
        counts[prediction > threshold, is_one] += 1
    return counts[True, True], counts[True, False], counts[False, True], counts[False, False]


def accuracy(predictions: np.ndarray, labels: np.ndarray, top_k: int) -> float:
    """Share of the rows whose class is among the top_k largest of their predictions."""
    right = 0
    for row, label in zip(predictions, labels, strict=True):
        best = sorted(range(len(row)), key=lambda c: -row[c])[:top_k]
        right += int(label) in best
    return right / len(labels) if len(labels) else math.nan


def uniform_distance(values: Tensor, low: float, high: float) -> float:
    """Kolmogorov's sqrt(n) sup |F_n - F| to the uniform distribution; above 1.95 in 1 of 1,000."""
    ordered = np.sort(values.detach().double().flatten().numpy())
    assert low <= ordered[0]
    assert ordered[-1] <= high
    expected = (ordered - low) / (high - low)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
    return distance * math.sqrt(len(ordered))
