"""EasyRec's own numbers: inputs, weights and outputs of its layers, if its files are there."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.nn.mlp import Perceptron

ROOT = Path(__file__).parents[1]
INSIDE = "shared/reference/easyrec-oracle"
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def folder() -> Path:
    """The folder of ``EASYREC_ORACLE_DIR``, or beside one of those that hold the checkout."""
    beside = [parent / INSIDE for parent in ROOT.parents]
    named = [Path(name)] if (name := os.environ.get("EASYREC_ORACLE_DIR")) else []
    for path in [*named, *beside]:
        if path.is_dir():
            return path
    pytest.skip("needs EasyRec's numbers; set EASYREC_ORACLE_DIR to their folder")


class Recording:
    """One layer's inputs, outputs and weights, in float64. Every weight must be loaded."""

    def __init__(self, name: str) -> None:
        with np.load(folder() / f"{name}.npz", allow_pickle=True) as file:
            arrays = {key: file[key] for key in file.files}
        self.config = str(arrays.pop("config"))
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        self.inputs = list(self._numbered(tensors, "in"))
        self.outputs = list(self._numbered(tensors, "out"))
        self._weights = {
            key.removeprefix("var:t/").removesuffix(":0"): value.double()
            for key, value in tensors.items()
            if key.startswith("var:")
        }
        self._unread = set(self._weights)

    @staticmethod
    def _numbered(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[Tensor]:
        index = 0
        while (key := f"{prefix}{index}") in tensors:
            tensor = tensors[key]
            yield tensor.double() if tensor.is_floating_point() else tensor
            index += 1

    def weight(self, name: str) -> Tensor:
        self._unread.discard(name)
        return self._weights[name]

    def has(self, name: str) -> bool:
        return name in self._weights

    def skip(self, *names: str) -> None:
        """Weights that cannot reach the output."""
        self._unread -= set(names)

    def linear(self, layer: nn.Linear, name: str) -> None:
        self._fill(layer.weight, self.weight(f"{name}/kernel").T)
        assert (layer.bias is not None) == self.has(f"{name}/bias")
        if layer.bias is not None:
            self._fill(layer.bias, self.weight(f"{name}/bias"))

    def norm(self, layer: nn.Module, name: str) -> None:
        """Batch norm or layer norm."""
        for own, keras in BATCH_NORM.items():
            if hasattr(layer, own):
                self._fill(getattr(layer, own), self.weight(f"{name}/{keras}"))

    def perceptron(self, layer: Perceptron, name: str, copy: int = 0) -> None:
        """A layer of an MLP, network number ``copy``. A bias that EasyRec has before batch norm is
        taken off the running mean."""
        width = layer.linear.weight.shape[1]
        part = slice(copy * width, (copy + 1) * width)
        self._fill(layer.linear.weight[copy], self.weight(f"{name}/dense/kernel").T)
        shift = torch.zeros(width, dtype=torch.float64)
        if layer.linear.bias is not None:
            self._fill(layer.linear.bias[copy], self.weight(f"{name}/dense/bias"))
        elif self.has(f"{name}/dense/bias"):
            shift = self.weight(f"{name}/dense/bias")
        if layer.norm is not None:
            for own, keras in BATCH_NORM.items():
                value = self.weight(f"{name}/bn/{keras}")
                self._fill(
                    getattr(layer.norm, own)[part],
                    value - shift if own == "running_mean" else value,
                )

    def mlp(self, network: nn.Module, name: str, copy: int = 0) -> None:
        for index, layer in enumerate(network.layers):
            self.perceptron(layer, f"{name}/layer_{index}" if name else f"layer_{index}", copy)

    @staticmethod
    @torch.no_grad()
    def _fill(own: Tensor, value: Tensor) -> None:
        assert own.shape == value.shape, (own.shape, value.shape)
        own.copy_(value)

    def fill(self, own: Tensor, name: str) -> None:
        self._fill(own, self.weight(name))

    def check(self, outputs: Tensor | list[Tensor]) -> None:
        """What came out is what came out of EasyRec, within 1e-5, and every weight took part."""
        assert not self._unread
        found = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        assert len(found) == len(self.outputs)
        for own, wanted in zip(found, self.outputs, strict=True):
            assert_close(own, wanted, rtol=0, atol=1e-5)


def ready(module: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, as the recordings are."""
    return module.double().eval()
