"""The seed's layer and Keras's formulas in float64: numbers, one after the other."""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from tzmmoe.nn.keras_moe.layer import MMoE

# By formula, at one number, in the order of https://keras.io/api/layers/activations.
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "celu": lambda x: max(x, 0.0) + min(0.0, math.expm1(min(x, 0.0))),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "mish": lambda x: x * math.tanh(softplus(x)),
    "softplus": lambda x: softplus(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "squareplus": lambda x: (x + math.sqrt(x**2 + 4)) / 2,
    "sparse_plus": lambda x: 0.0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "sigmoid": lambda x: sigmoid(x),
    "log_sigmoid": lambda x: -softplus(-x),
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "sparse_sigmoid": lambda x: 0.0 if x <= -1 else 1.0 if x >= 1 else (x + 1) / 2,
    "hard_silu": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_swish": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "tanh": math.tanh,
    "tanh_shrink": lambda x: x - math.tanh(x),
    "hard_tanh": lambda x: min(max(x, -1.0), 1.0),
    "soft_shrink": lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x),
    "hard_shrink": lambda x: x if abs(x) > 0.5 else 0.0,
    "exponential": math.exp,
    "linear": lambda x: x,
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(x - max(row)) for x in row]
    return [power / sum(powers) for power in powers]


def activated(name: str, row: list[float]) -> list[float]:
    """One row of a Dense after its activation."""
    return softmax(row) if name == "softmax" else [FUNCTIONS[name](x) for x in row]


def numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def dense(layer: object, row: np.ndarray) -> list[float]:
    """x K + b of one row, number by number."""
    kernel = numbers(layer.kernel)
    bias = np.zeros(kernel.shape[1]) if layer.bias is None else numbers(layer.bias)
    return [
        float(bias[unit] + sum(row[i] * kernel[i, unit] for i in range(len(row))))
        for unit in range(kernel.shape[1])
    ]


def mixtures(
    layer: MMoE, x: Tensor, experts: str = "relu", gates: str = "softmax"
) -> list[np.ndarray]:
    """The seed's call: for every task and row, the sum over experts of gate times expert."""
    outputs = []
    for gate in layer.gate_layers:
        rows = np.zeros((len(x), layer.units))
        for b, row in enumerate(numbers(x)):
            shares = activated(gates, dense(gate, row))
            for share, expert in zip(shares, layer.expert_layers, strict=True):
                values = activated(experts, dense(expert, row))
                for unit in range(layer.units):
                    rows[b, unit] += share * values[unit]
        outputs.append(rows)
    return outputs
