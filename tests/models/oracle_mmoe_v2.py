"""MMoE V2 as its specification says it: row by row, field by field, expert by expert, task by task.

It reads the weights as a checkpoint names them, the settings as a config does, and nothing else of
the package.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

Row = np.ndarray
SELU = (1.0507009873554805, 1.6732632423543772)
ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "none": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "selu": lambda x: SELU[0] * (x if x > 0 else SELU[1] * math.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
}
NONE = {"act": "none", "dropout": 0.0, "use_bn": False}


def for_each(given: Sequence | None, count: int, default: Any, none: Any) -> list:
    """Settings of ``count`` layers: one is for all; what is too many is ignored, what lacks is
    ``none``."""
    if not given:
        return [default] * count
    if len(given) == 1:
        return list(given) * count
    return [given[place] if place < len(given) else none for place in range(count)]


@dataclass(frozen=True)
class Oracle:
    """``kinds``: of each feature, as small_v2.KINDS; ``weights`` by their names in a checkpoint."""

    settings: Mapping[str, Any]
    groups: Mapping[str, Sequence[str]]
    kinds: Mapping[str, str]
    weights: Mapping[str, np.ndarray]
    training: bool = False

    def setting(self, name: str, default: Any) -> Any:
        return self.settings.get(name, default)

    @property
    def model(self) -> str:
        kind = self.setting("wide_type", "FM").upper()
        return kind if kind in ("FM", "LR") else ""

    def logits(self, raw: Mapping[str, list], towers: Sequence[str]) -> dict[str, np.ndarray]:
        """(B,) or (B, C) of each tower."""
        num_rows = len(next(iter(raw.values())))
        deep = [self.embeddings(raw, b, self.groups["mmoe"]) for b in range(num_rows)]
        crossing = self.setting("feature_cross", 0) if self.setting("use_wide", True) else 0
        with_model = self.setting("use_wide", True) and bool(self.model)
        adds = with_model and self.setting("output_cross", 0) == 0
        seen, features, outputs = deep, None, None
        if crossing in (1, 2, 3, 4) or (crossing == 5 and not with_model):
            features = [self.wide_features(raw, b) for b in range(num_rows)]
        if adds or (crossing in (3, 5) and with_model):
            outputs = self.wide_outputs(raw, num_rows, len(towers))
        if crossing in (1, 2, 3):
            once = [self.wide_features(raw, b, once=True) for b in range(num_rows)]
            seen = [np.concatenate(pair) for pair in zip(deep, once, strict=True)]
        mixed = self.mixtures(seen, len(towers))
        found = {}
        for t, name in enumerate(towers):
            hidden = mixed[t]
            if crossing in (2, 4) or (crossing in (3, 5) and not with_model):
                hidden = [np.append(row, x) for row, x in zip(hidden, features, strict=True)]
            elif crossing in (3, 5):
                hidden = [np.append(row, y) for row, y in zip(hidden, outputs[t], strict=True)]
            rows = self.tower(t, name, hidden)
            if adds:
                rows = [row + y for row, y in zip(rows, outputs[t], strict=True)]
            found[name] = np.stack([row[0] if len(row) == 1 else row for row in rows])
        return found

    def embeddings(self, raw: Mapping[str, list], b: int, features: Sequence[str]) -> Row:
        """Of a row, side by side."""
        parts = []
        for name in features:
            kind, value = self.kinds[name], raw[name][b]
            if kind == "numbers":
                parts.append(np.array(value))
            elif kind == "embedded":
                kernel = self.weights[f"model.encoder.embedders.embed_{name}.linear.weight"]
                parts.append(kernel @ np.array(value))
            else:
                table = self.weights[f"tables.{name}_emb.weight"]
                parts.append(pooled(table, value, mean=kind == "mean"))
        return np.concatenate(parts)

    def fields(self, raw: Mapping[str, list], b: int, factor: str) -> list[Row]:
        """What FM has of each field: of a category its rows' mean (or weighted sum), of a number
        its row times the number."""
        found, place = [], 0
        for name in self.groups["wide"]:
            value = raw[name][b]
            if self.kinds[name] in ("numbers", "embedded"):
                vectors = self.weights[f"model.encoder.factors.{factor}.vectors.weight"]
                for number in value:
                    found.append(number * vectors[place])
                    place += 1
            else:
                table = self.weights[f"tables.{name}.{factor}.weight"]
                found.append(pooled(table, value, mean=self.kinds[name] != "weighted"))
        return found

    def wide_features(self, raw: Mapping[str, list], b: int, *, once: bool = False) -> Row:
        """x_w: FM's latents, or embeddings; ``once``: without those that the deep side has."""
        chosen = self.setting("wide_feature", "auto")
        if chosen == "latents" or (chosen == "auto" and self.model == "FM"):
            return np.concatenate(self.fields(raw, b, "latent"))
        names = list(self.groups["wide"])
        if once and self.setting("dedup_cross_features", True):
            names = [name for name in names if name not in self.groups["mmoe"]]
        return self.embeddings(raw, b, names) if names else np.zeros(0)

    def wide_outputs(self, raw: Mapping[str, list], num_rows: int, num_tasks: int) -> list[list]:
        """y_w of each task and row."""
        heads = num_tasks if self.setting("wide_per_task", False) else 1
        if self.model == "FM":
            rows = []
            for b in range(num_rows):
                pairs = combinations(self.fields(raw, b, "latent"), 2)
                together = sum((float(v @ w) for v, w in pairs), 0.0)
                rows.append(sum(self.fields(raw, b, "weight"), np.zeros(heads)) + together)
        else:
            embedded = [self.embeddings(raw, b, self.groups["wide"]) for b in range(num_rows)]
            kernel, bias = (self.weights[f"model.body.wide.linear.{n}"] for n in ("weight", "bias"))
            rows = [kernel @ row + bias for row in embedded]
            if self.setting("wide_use_bn", False):
                rows = self.normed(rows, "model.body.wide.norm", slice(None))
        if self.setting("wide_output_is_prob", False):
            rows = [np.array([ACTIVATIONS["sigmoid"](y) for y in row]) for row in rows]
        return [[row[t if heads > 1 else 0] for row in rows] for t in range(num_tasks)]

    def mixtures(self, seen: list[Row], num_tasks: int) -> list[list[Row]]:
        """For each task and row: the experts' outputs, weighted by the task's gate."""
        num_experts, widths = self.settings["num_experts"], self.settings["expert_layers"]
        lists = {name: self.setting(f"expert_{name}", None) for name in NONE}
        path = "model.body.experts"
        experts = [self.network(seen, path, widths, lists, e) for e in range(num_experts)]
        found = []
        for t in range(num_tasks):
            own = 0 if self.setting("share_gates", False) else t
            kernel = self.weights["model.body.gates.final.weight"][own]
            bias = self.weights.get("model.body.gates.final.bias", np.zeros((own + 1, num_experts)))
            rows = []
            for b, row in enumerate(seen):
                powers = np.exp(kernel @ row + bias[own])
                shares = powers / powers.sum()
                rows.append(sum(shares[e] * experts[e][b] for e in range(num_experts)))
            found.append(rows)
        return found

    def tower(self, t: int, name: str, rows: list[Row]) -> list[Row]:
        struct, path = self.settings["task_structs"][t], f"model.towers.tower_{name}"
        names = {"act": "hidden_act", "dropout": "dropout", "use_bn": "use_bn"}
        lists = {
            n: struct.get(each) or self.setting(f"task_{each}", None) for n, each in names.items()
        }
        rows = self.network(rows, f"{path}.mlp", struct["units"][:-1], lists, 0)
        kernel = self.weights[f"{path}.linear.weight"]
        bias = self.weights.get(f"{path}.linear.bias", np.zeros(len(kernel)))
        return [kernel @ row + bias for row in rows]

    def network(
        self,
        rows: list[Row],
        path: str,
        widths: Sequence[int],
        lists: Mapping[str, Sequence | None],
        copy: int,
    ) -> list[Row]:
        """Linear map, batch norm, activation, layer by layer; dropout is for those who train."""
        acts = for_each(lists["act"], len(widths), "relu", "none")
        norms = for_each(lists["use_bn"], len(widths), False, False)
        for place, width in enumerate(widths):
            layer = f"{path}.layers.{place}"
            kernel = self.weights[f"{layer}.linear.weight"][copy]
            bias = self.weights.get(f"{layer}.linear.bias", np.zeros((copy + 1, width)))[copy]
            rows = [kernel @ row + bias for row in rows]
            part = slice(copy * width, (copy + 1) * width)
            if norms[place]:
                rows = self.normed(rows, f"{layer}.norm", part)
            rows = self.activated(rows, acts[place], f"{layer}.activation", part, copy)
        return rows

    def normed(self, rows: list[Row], path: str, part: slice) -> list[Row]:
        """Keras's batch normalization: epsilon 0.001; the batch's own moments in training."""
        mean, variance = (self.weights[f"{path}.running_{n}"][part] for n in ("mean", "var"))
        if self.training:
            mean = sum(rows) / len(rows)
            variance = sum((row - mean) ** 2 for row in rows) / len(rows)
        scale, shift = (self.weights[f"{path}.{n}"][part] for n in ("weight", "bias"))
        return [scale * (row - mean) / np.sqrt(variance + 0.001) + shift for row in rows]

    def activated(self, rows: list[Row], name: str, path: str, part: slice, copy: int) -> list[Row]:
        if name == "prelu":
            slope = self.weights[f"{path}.weight"][copy]
            return [np.where(row > 0, row, slope * row) for row in rows]
        if name == "dice":
            mean, variance = (
                self.weights[f"{path}.norm.running_{n}"][part] for n in ("mean", "var")
            )
            alpha = self.weights[f"{path}.alpha"][part]
            shares = [1 / (1 + np.exp(-(r - mean) / np.sqrt(variance + 0.001))) for r in rows]
            return [p * r + (1 - p) * alpha * r for p, r in zip(shares, rows, strict=True)]
        return [np.array([ACTIVATIONS[name](float(x)) for x in row]) for row in rows]


def pooled(table: np.ndarray, bag: Sequence[tuple[int, float]], *, mean: bool) -> Row:
    """Rows times their weights, added; their mean when asked; zeros of none."""
    total = np.zeros(table.shape[1])
    for number, weight in bag:
        total = total + weight * table[number]
    return total / len(bag) if mean and bag else total
