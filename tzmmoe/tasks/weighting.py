"""How the losses of all tasks make up the total: by fixed, learned or random weights."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tzmmoe.system.seeds import generator_of


class Weighting(nn.Module):
    """Each loss by its key, ``<loss>_<task>``, times its weight.

    A loss of a batch in which nothing counts is 0, whatever its weight.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self._weights = dict(weights)

    def begin(self, step: int) -> None:
        """Choose the weights of a training step, counted from 0."""

    def is_idle(self, key: str) -> bool:
        """Whether the weight of a loss is always 0."""
        return self._weights[key] == 0

    def weighted(self, key: str, mean: Tensor, counts: Tensor) -> Tensor:
        """The part of a loss in the total of a step; ``counts``: whether anything counts (bool)."""
        return self._weights[key] * mean

    def evaluated(self, key: str, mean: float) -> float:
        """The part of a loss in the total of an evaluation."""
        return self._weights[key] * mean


class Uncertainty(Weighting):
    """Of the ``learned`` losses L, each by its factor f: f exp(-s) L + s / 2, s learned from 0 on.

    f is 1, or 1/2 for squared errors, so that exp(s) is the variance of the label, or the
    temperature of its class. Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to
    Weigh Losses for Scene Geometry and Semantics", CVPR 2018.
    """

    def __init__(self, weights: Mapping[str, float], learned: Mapping[str, float]) -> None:
        super().__init__(weights)
        self._factors = dict(learned)
        # By name, so that an s follows its loss where the order of losses changes.
        for key in learned:
            self.register_parameter(_name(key), nn.Parameter(torch.zeros(())))

    def is_idle(self, key: str) -> bool:
        return key not in self._factors and super().is_idle(key)

    def weighted(self, key: str, mean: Tensor, counts: Tensor) -> Tensor:
        if key not in self._factors:
            return super().weighted(key, mean, counts)
        s = getattr(self, _name(key))
        # Without ``counts``, each batch that has nothing of a loss would raise its weight.
        return self._factors[key] * (-s).exp() * mean + counts * s / 2

    def evaluated(self, key: str, mean: float) -> float:
        if key not in self._factors:
            return super().evaluated(key, mean)
        s = float(getattr(self, _name(key)).detach())
        return self._factors[key] * math.exp(-s) * mean + s / 2


class RandomWeighting(Weighting):
    """Weights that add up to 1: at each step the softmax of one normal number for each loss, which
    depends on the seed, the step and the losses alone. An evaluation uses their mean.

    Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", TMLR 2022.
    """

    def __init__(self, keys: Iterable[str], seed: int) -> None:
        self._keys, self._seed = sorted(keys), seed
        super().__init__(dict.fromkeys(self._keys, 1 / max(len(self._keys), 1)))
        self._drawn = dict(self._weights)

    def begin(self, step: int) -> None:
        source = generator_of(self._seed, f"loss weights of step {step}")
        numbers = torch.randn(len(self._keys), generator=source, dtype=torch.float64)
        self._drawn = dict(zip(self._keys, numbers.softmax(dim=0).tolist(), strict=True))

    def weighted(self, key: str, mean: Tensor, counts: Tensor) -> Tensor:
        return self._drawn[key] * mean


def _name(key: str) -> str:
    return f"s_{key}"
