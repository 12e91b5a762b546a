"""Sparse optimizers by their formulas, one row at a time in float64 with numpy.

An update changes a row's ``w`` and keeps its state beside it; ``step`` counts the run's, from 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LR = 0.1

Row = dict[str, np.ndarray]
Update = Callable[[Row, np.ndarray, int], None]


def sgd(row: Row, grad: np.ndarray, step: int) -> None:
    row["w"] -= LR * grad


def adagrad(initial: float, eps: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["h"] = row.get("h", np.full(len(grad), initial)) + grad**2
        row["w"] -= LR * grad / (np.sqrt(row["h"]) + eps)

    return update


def rowwise_adagrad(decay: float, mode: str) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        if mode == "L2":
            grad = grad + decay * row["w"]
        row["h"] = row.get("h", 0.0) + (grad**2).sum() / len(grad)
        if mode == "DECOUPLE":
            row["w"] = (1 - LR * decay) * row["w"]
        row["w"] = row["w"] - LR / (np.sqrt(row["h"]) + 1e-8) * grad

    return update


def adam(beta1: float, beta2: float, decay: float, eps: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["m"] = beta1 * row.get("m", 0.0) + (1 - beta1) * grad
        row["v"] = beta2 * row.get("v", 0.0) + (1 - beta2) * grad**2
        mean, square = row["m"] / (1 - beta1**step), row["v"] / (1 - beta2**step)
        row["w"] = row["w"] - LR * (mean / (np.sqrt(square) + eps) + decay * row["w"])

    return update


def adadelta(rho: float, eps: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["v"] = rho * row.get("v", 0.0) + (1 - rho) * grad**2
        moved = np.sqrt(row.get("u", 0.0) + eps) / np.sqrt(row["v"] + eps) * grad
        row["u"] = rho * row.get("u", 0.0) + (1 - rho) * moved**2
        row["w"] -= LR * moved

    return update


def rmsprop(alpha: float, eps: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["v"] = alpha * row.get("v", 0.0) + (1 - alpha) * grad**2
        row["w"] -= LR * grad / (np.sqrt(row["v"]) + eps)

    return update


def ftrl(power: float, initial: float, l1: float, l2: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        for place, g in enumerate(grad):
            n = row.setdefault("n", np.full(len(grad), initial))
            z = row.setdefault("z", np.zeros(len(grad)))
            more = n[place] + g**2
            sigma = (more**-power - n[place] ** -power) / LR
            z[place] += g - sigma * row["w"][place]
            n[place] = more
            row["w"][place] = 0.0
            if abs(z[place]) > l1:
                slope = more**-power / LR + 2 * l2
                row["w"][place] = (l1 * np.sign(z[place]) - z[place]) / slope

    return update


def adamax(beta1: float, beta2: float, eps: float) -> Update:
    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["m"] = beta1 * row.get("m", 0.0) + (1 - beta1) * grad
        row["u"] = np.maximum(beta2 * row.get("u", 0.0), np.abs(grad) + eps)
        row["w"] -= LR * row["m"] / ((1 - beta1**step) * row["u"])

    return update


def nadam(beta1: float, beta2: float, eps: float) -> Update:
    def momentum(step: int) -> float:
        return beta1 * (1 - 0.96 ** (0.004 * step) / 2)

    def product(step: int) -> float:
        return float(np.prod([momentum(each) for each in range(1, step + 1)]))

    def update(row: Row, grad: np.ndarray, step: int) -> None:
        row["m"] = beta1 * row.get("m", 0.0) + (1 - beta1) * grad
        row["v"] = beta2 * row.get("v", 0.0) + (1 - beta2) * grad**2
        ahead = momentum(step + 1) * row["m"] / (1 - product(step + 1))
        now = (1 - momentum(step)) * grad / (1 - product(step))
        row["w"] -= LR * (ahead + now) / (np.sqrt(row["v"] / (1 - beta2**step)) + eps)

    return update


def ftrl_arguments(power: float, initial: float, l1: float, l2: float) -> dict[str, float]:
    return {
        "learning_rate_power": power,
        "initial_accumulator_value": initial,
        "l1_reg": l1,
        "l2_reg": l2,
    }


# Word of the schema, its arguments but lr, and what it is to do.
CASES: dict[str, tuple[str, dict[str, Any], Update]] = {
    "sgd": ("sgd_optimizer", {}, sgd),
    **{
        f"adagrad from {initial}, eps {eps}": (
            "adagrad_optimizer",
            {"initial_accumulator_value": initial, "eps": eps},
            adagrad(initial, eps),
        )
        for initial, eps in ((0.0, 1e-8), (0.5, 0.3))
    },
    **{
        f"rowwise adagrad {mode}": (
            "rowwise_adagrad_optimizer",
            {"weight_decay": decay, "weight_decay_mode": mode},
            rowwise_adagrad(decay, mode),
        )
        for mode, decay in (("NONE", 0.0), ("L2", 0.3), ("DECOUPLE", 0.3))
    },
    **{
        f"adam {beta1}, decay {decay}": (
            "adam_optimizer",
            {"beta1": beta1, "beta2": beta2, "weight_decay": decay, "eps": eps},
            adam(beta1, beta2, decay, eps),
        )
        for beta1, beta2, decay, eps in ((0.9, 0.999, 0.0, 1e-8), (0.7, 0.8, 0.2, 0.1))
    },
    **{
        f"adadelta {rho}": ("adadelta_optimizer", {"rho": rho, "eps": eps}, adadelta(rho, eps))
        for rho, eps in ((0.95, 1e-6), (0.0, 0.2))
    },
    **{
        f"rmsprop {alpha}": ("rmsprop_optimizer", {"alpha": alpha, "eps": eps}, rmsprop(alpha, eps))
        for alpha, eps in ((0.99, 1e-8), (0.5, 0.2))
    },
    **{
        f"ftrl {settings}": ("ftrl_optimizer", ftrl_arguments(*settings), ftrl(*settings))
        for settings in ((-0.5, 0.1, 0.0, 0.0), (-0.8, 0.3, 0.4, 0.7), (0.0, 1.0, 0.2, 0.0))
    },
    **{
        f"adamax {beta1}": (
            "adamax_optimizer",
            {"beta1": beta1, "beta2": beta2, "eps": eps},
            adamax(beta1, beta2, eps),
        )
        for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.0, 0.6, 0.1))
    },
    **{
        f"nadam {beta1}": (
            "nadam_optimizer",
            {"beta1": beta1, "beta2": beta2, "eps": eps},
            nadam(beta1, beta2, eps),
        )
        for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.0, 0.6, 0.1))
    },
}
