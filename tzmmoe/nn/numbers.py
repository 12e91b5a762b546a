"""Embeddings of numbers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError, exactly


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
        hidden_BRC = F.leaky_relu(numbers_BR.unsqueeze(-1) * self.input_weight)
        mixed_BRC = torch.einsum("brc,rcd->brd", hidden_BRC, self.mixing)
        scores_BRC = (mixed_BRC + self.keep_prob * hidden_BRC) / self.temperature
        return torch.einsum("brc,rcd->brd", scores_BRC.softmax(-1), self.meta).flatten(1)
