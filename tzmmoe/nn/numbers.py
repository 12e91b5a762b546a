"""Embeddings of numbers."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly
from tzmmoe.nn.activations import Dice, activation
from tzmmoe.nn.initializers import initialize
from tzmmoe.nn.keras_mlp import easyrec_layer


class LinearEmbedding(nn.Module):
    """R numbers -> D, without bias."""

    def __init__(self, value_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(value_dim, embedding_dim, bias=False)

    def forward(self, numbers_BR: Tensor) -> Tensor:
        return self.linear(numbers_BR)


class AutoDis(nn.Module):
    """One number -> a mixture of learned meta-embeddings.

    h = leaky_relu(w x); a = softmax((W h + alpha h) / temperature); e = a M, with C channels.
    Guo et al., "An Embedding Learning Framework for Numerical Features in CTR Prediction",
    KDD 2021, eq. 4-7. Each of R numbers has its own w, W and M; their embeddings are concatenated.
    """

    slope = 0.01  # of leaky_relu below 0

    def __init__(
        self,
        value_dim: int,
        embedding_dim: int,
        *,
        num_channels: int,
        temperature: float,
        keep_prob: float,
    ) -> None:
        super().__init__()
        self.check(num_channels, temperature)
        self.temperature, self.keep_prob = temperature, keep_prob
        self.input_weight = nn.Parameter(torch.empty(value_dim, num_channels))
        self.mixing = nn.Parameter(torch.empty(value_dim, num_channels, num_channels))
        self.meta = nn.Parameter(torch.empty(value_dim, num_channels, embedding_dim))
        with torch.no_grad():  # each matrix by itself: numbers share no inputs, so no fan_in
            for matrix in (*self.input_weight.split(1), *self.mixing, *self.meta):
                nn.init.xavier_uniform_(matrix)

    @staticmethod
    def check(num_channels: int | None, temperature: float) -> None:
        """Raises ConfigError where no layer can be made."""
        if not num_channels:
            state = "is not set" if num_channels is None else "is 0"
            raise ConfigError.at("num_channels", f"{state}; give 1 or more")
        if temperature <= 0:
            raise ConfigError.at("temperature", f"is {exactly(temperature)}; give more than 0")

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R D)."""
        return self.embed(numbers_BR).flatten(1)

    def embed(self, numbers_BR: Tensor) -> Tensor:
        """(B, R, D)."""
        hidden_BRC = F.leaky_relu(numbers_BR.unsqueeze(-1) * self.input_weight, self.slope)
        mixed_BRC = torch.einsum("brc,rcd->brd", hidden_BRC, self.mixing)
        scores_BRC = (mixed_BRC + self.keep_prob * hidden_BRC) / self.temperature
        return torch.einsum("brc,rcd->brd", scores_BRC.softmax(-1), self.meta)


class EncodedEmbedding(nn.Module):
    """An encoding e of each number, then act(W e(x) + b); each of R numbers has its own W and b.

    ``encoding``: (B, R) -> (B, R, C), as wide as its ``out_features``. Where a number is missing,
    NaN, its embedding is all zeros, and it adds nothing to any gradient. The bias tells a missing
    number from one whose encoding is all zeros. W and b start as those of torch's Linear.
    """

    def __init__(
        self, encoding: nn.Module, value_dim: int, embedding_dim: int, *, activation: str
    ) -> None:
        super().__init__()
        self.encoding = encoding
        bound = encoding.out_features**-0.5
        self.weight = nn.Parameter(torch.empty(value_dim, encoding.out_features, embedding_dim))
        self.bias = nn.Parameter(torch.empty(value_dim, embedding_dim))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        self.activation = activation_of_rows(activation, value_dim, embedding_dim)

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R D)."""
        missing_BR = numbers_BR.isnan()
        # Replaced before the encoding, since the gradient of a NaN times 0 is NaN.
        e_BRC = self.encoding(torch.where(missing_BR, 0, numbers_BR))
        y_BRD = torch.einsum("brc,rcd->brd", e_BRC, self.weight) + self.bias
        if self.activation is not None:
            y_BRD = self.activation(y_BRD.flatten(1)).view_as(y_BRD)
        return torch.where(missing_BR.unsqueeze(-1), 0, y_BRD).flatten(1)


def activation_of_rows(name: str, value_dim: int, embedding_dim: int) -> nn.Module | None:
    """The activation of (B, R D) that a config names. Raises ConfigError for one that mixes rows:
    rows without a number would count in its mean."""
    layer = activation(name, value_dim * embedding_dim, value_dim)
    if isinstance(layer, Dice):
        words = f"is {name!r}, which depends on the other rows of a batch; give another, or ''"
        raise ConfigError.at("activation", words)
    return layer


class PiecewiseLinear(nn.Module):
    """e_t(x) = (x - b_t-1) / (b_t - b_t-1), but 0 below and 1 above bin t; T bins between T + 1
    boundaries, the same for all numbers.

    Gorishniy et al., NeurIPS 2022, eq. 1, where the first bin extends below 0 and the last one
    above 1. Here both are clipped, so that an outlier is no larger than what was trained on.
    """

    def __init__(self, boundaries: Sequence[float]) -> None:
        super().__init__()
        self.check(boundaries)
        bounds = torch.tensor(boundaries, dtype=torch.float32)
        # A copy, since torch.export warns of a buffer that is a view of a larger tensor.
        self.register_buffer("lower", bounds[:-1].clone(), persistent=False)
        self.register_buffer("width", bounds.diff(), persistent=False)
        self.out_features = len(boundaries) - 1

    @staticmethod
    def check(boundaries: Sequence[float]) -> None:
        """Raises ConfigError if boundaries, which increase, are too few or too close for bins."""
        if len(boundaries) < 2:
            count = "one number" if boundaries else "not set"
            state = f"is {count}, but piecewise_linear needs the ends of its bins"
            raise ConfigError.at("boundaries", f"{state}; give 2 or more")
        with np.errstate(over="ignore", invalid="ignore"):
            single = np.array(boundaries, np.float32)
            widths = np.diff(single)
        for (low, high), width in zip(pairwise(boundaries), widths.tolist(), strict=True):
            if not 0 < width < math.inf:
                ends = f"{exactly(low)} and {exactly(high)}"
                words = f"has {ends}, between which no bin of 32-bit numbers fits; move one"
                raise ConfigError.at("boundaries", words)

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R, T)."""
        return ((numbers_BR.unsqueeze(-1) - self.lower) / self.width).clamp(0, 1)


Embedded = Tensor | tuple[Tensor, Tensor | list[Tensor]]


class Outputs:
    """What EasyRec's embeddings of numbers give: all embeddings side by side, and then also a list
    of them (``output_tensor_list``) or their stack (``output_3d_tensor``)."""

    def __init__(self, *, output_3d_tensor: bool, output_tensor_list: bool) -> None:
        if output_3d_tensor and output_tensor_list:
            words = "is set, and so is output_tensor_list; keep one"
            raise ConfigError.at("output_3d_tensor", words)
        self.stack, self.list = output_3d_tensor, output_tensor_list

    def __call__(self, embeddings_BRD: Tensor) -> Embedded:
        """(B, R D), and a list of R embeddings (B, D) or the stack (B, R, D)."""
        flat = embeddings_BRD.flatten(1)
        if self.list:
            return flat, list(embeddings_BRD.unbind(1))
        return (flat, embeddings_BRD) if self.stack else flat


class AutoDisEmbedding(AutoDis):
    """AutoDis as EasyRec has it: C = ``num_bins``, leaky_relu of slope 0.2, Keras's first values.

    Its mixing matrices are the transposes of EasyRec's ``project_mat``.
    """

    slope = 0.2

    def __init__(
        self,
        in_features: int,
        *,
        embedding_dim: int,
        num_bins: int,
        keep_prob: float,
        temperature: float,
        output_3d_tensor: bool,
        output_tensor_list: bool,
    ) -> None:
        for field, size in (("embedding_dim", embedding_dim), ("num_bins", num_bins)):
            if size < 1:
                raise ConfigError.at(field, f"is {size}; give 1 or more")
        super().__init__(
            in_features,
            embedding_dim,
            num_channels=num_bins,
            temperature=temperature,
            keep_prob=keep_prob,
        )
        self.outputs = Outputs(
            output_3d_tensor=output_3d_tensor, output_tensor_list=output_tensor_list
        )
        for matrices in (self.input_weight, self.mixing, self.meta):
            initialize(matrices, "glorot_uniform")
        self.out_features = in_features * embedding_dim

    def forward(self, numbers_BR: Tensor) -> Embedded:
        """(B, R D), and what ``Outputs`` adds."""
        return self.outputs(self.embed(numbers_BR))


class PeriodicEmbedding(nn.Module):
    """[sin(2 pi c x), cos(2 pi c x)], then with ``add_linear_layer`` act(W e + b), where each of R
    numbers has its own c, W and b.

    c starts normal with standard deviation ``sigma``, which matters much and has no good default.
    Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022,
    eq. 2 and section 3.4.
    """

    def __init__(
        self,
        in_features: int,
        *,
        embedding_dim: int,
        sigma: float,
        add_linear_layer: bool,
        linear_activation: str,
        output_3d_tensor: bool,
        output_tensor_list: bool,
    ) -> None:
        super().__init__()
        if embedding_dim < 2 or embedding_dim % 2:
            words = f"is {embedding_dim}; give an even number: half are sines, half cosines"
            raise ConfigError.at("embedding_dim", words)
        if not sigma > 0:
            raise ConfigError.at("sigma", f"is {exactly(sigma)}; give more than 0")
        self.outputs = Outputs(
            output_3d_tensor=output_3d_tensor, output_tensor_list=output_tensor_list
        )
        self.coefficients = nn.Parameter(torch.empty(in_features, embedding_dim // 2))
        nn.init.normal_(self.coefficients, 0.0, sigma)
        self.weight = self.bias = self.activation = None
        if add_linear_layer:
            self.weight = nn.Parameter(torch.empty(in_features, embedding_dim, embedding_dim))
            initialize(self.weight, "glorot_uniform")
            self.bias = nn.Parameter(torch.zeros(in_features, embedding_dim))
            self.activation = easyrec_layer("linear_activation", linear_activation, embedding_dim)
        self.out_features = in_features * embedding_dim

    def forward(self, numbers_BR: Tensor) -> Embedded:
        """(B, R D), and what ``Outputs`` adds."""
        angles_BRC = 2 * math.pi * self.coefficients * numbers_BR.unsqueeze(-1)
        e_BRD = torch.cat([angles_BRC.sin(), angles_BRC.cos()], dim=-1)
        if self.weight is None:
            return self.outputs(e_BRD)
        y_BRD = torch.einsum("brd,rdh->brh", e_BRD, self.weight) + self.bias
        active = self.activation(y_BRD.flatten(0, 1)).view_as(y_BRD)
        return self.outputs(active)


class Periodic(nn.Module):
    """[sin(2 pi c x), cos(2 pi c x)] of each number, with F frequencies c of its own.

    Gorishniy et al., NeurIPS 2022, eq. 2; ``sigma`` is the standard deviation of c at the start.
    """

    def __init__(self, value_dim: int, *, frequencies: int, sigma: float | None) -> None:
        super().__init__()
        self.check(frequencies, sigma)
        self.waves = PeriodicEmbedding(
            value_dim,
            embedding_dim=2 * frequencies,
            sigma=sigma,
            add_linear_layer=False,
            linear_activation="",
            output_3d_tensor=True,
            output_tensor_list=False,
        )
        self.out_features = 2 * frequencies

    @staticmethod
    def check(frequencies: int, sigma: float | None) -> None:
        """Raises ConfigError where no layer can be made."""
        if not frequencies:
            raise ConfigError.at("frequencies", "is 0; give 1 or more")
        if sigma is None:
            words = "is not set; try 0.1, and smaller and larger values"
            raise ConfigError.at("sigma", f"{words}, for numbers with a standard deviation of 1")
        if not 0 < sigma < math.inf:
            raise ConfigError.at("sigma", f"is {exactly(sigma)}; give a number above 0")

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R, 2 F)."""
        _, e_BRC = self.waves(numbers_BR)
        return e_BRC
