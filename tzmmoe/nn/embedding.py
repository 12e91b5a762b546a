"""Embedding tables of one width as one parameter, and embeddings of numbers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.errors import ConfigError
from tzmmoe.nn.initializers import Initializer


@dataclass(frozen=True)
class Table:
    """An embedding table. ``init`` fills a (rows, dim) tensor in place."""

    name: str
    rows: int
    dim: int
    trainable: bool
    init_text: str
    init: Initializer = field(compare=False)


@dataclass(frozen=True)
class Slot:
    """A feature's place among the ids of one width: its table, and how its values are pooled."""

    table: str
    mean: bool


class Tables(nn.Module):
    """All tables of one width D, one under the other in one parameter (R, D).

    One lookup serves all features of the width. Tables that are not trained lie at the end, from
    row ``trained_rows`` on. A table's initial values depend on the seed and its name alone.
    ``gradient_bound`` clamps the gradient of each pooled number, as FBGEMM does.
    """

    def __init__(self, tables: Sequence[Table], slots: Sequence[Slot], *, seed: int) -> None:
        super().__init__()
        tables = sorted(tables, key=lambda table: not table.trainable)
        self.gradient_bound: float | None = None
        self.spans: dict[str, tuple[int, int]] = {}
        rows = 0
        for table in tables:
            self.spans[table.name] = (rows, rows + table.rows)
            rows += table.rows
        self.trained_rows = sum(table.rows for table in tables if table.trainable)
        self.weight = nn.Parameter(
            torch.empty(rows, tables[0].dim), requires_grad=self.trained_rows > 0
        )
        with torch.no_grad():
            for table in tables:
                table.init(self.rows_of(table.name, self.weight), _generator(seed, table.name))
        first = [self.spans[slot.table][0] for slot in slots]
        self.register_buffer("first_F", torch.tensor(first), persistent=False)
        mean = torch.tensor([slot.mean for slot in slots])
        self.register_buffer("mean_F", mean if mean.any() else None, persistent=False)

    def rows_of(self, table: str, of: Tensor) -> Tensor:
        """The table's rows of the parameter, or of anything that has a row for each of its rows."""
        begin, end = self.spans[table]
        return of[begin:end]

    def forward(self, ids: Tensor, lengths_BF: Tensor | None, weights: Tensor | None) -> Tensor:
        """Pooled embeddings (B, F, D).

        ids: (N,), the ids of row 0's features, then of row 1's, each within its own table.
        lengths_BF: how many each has; None when each has one. weights: (N,), factors.
        """
        pooled_BFD = self._pooled(ids, lengths_BF, weights)
        if self.gradient_bound is not None and pooled_BFD.requires_grad:
            bound = self.gradient_bound
            pooled_BFD.register_hook(lambda grad: grad.clamp(-bound, bound))
        return pooled_BFD

    def _pooled(self, ids: Tensor, lengths_BF: Tensor | None, weights: Tensor | None) -> Tensor:
        num_features = len(self.first_F)
        if lengths_BF is None and weights is None:
            rows_BF = ids.view(-1, num_features) + self.first_F
            return F.embedding(rows_BF, self.weight, sparse=True)
        if lengths_BF is None:
            lengths_BF = torch.ones_like(ids.view(-1, num_features))
        lengths = lengths_BF.flatten()
        first = self.first_F.expand_as(lengths_BF).flatten()
        ends = lengths.cumsum(0)
        pooled_BFD = F.embedding_bag(
            ids + first.repeat_interleave(lengths, output_size=ids.shape[0]),
            self.weight,
            torch.cat([ends.new_zeros(1), ends]),
            mode="sum",
            sparse=True,
            per_sample_weights=weights,
            include_last_offset=True,
        ).view(-1, num_features, self.weight.shape[1])
        if self.mean_F is None:
            return pooled_BFD
        divisor_BF = torch.where(self.mean_F, lengths_BF.clamp(min=1), 1)
        return pooled_BFD / divisor_BF.unsqueeze(-1)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


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
    KDD 2021, eq. 4-7. With R numbers, each has its own w, W and M, and the R results are joined.
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
        if not num_channels:
            raise ConfigError.at("autodis.num_channels", "is not set; give 1 or more")
        if temperature <= 0:
            raise ConfigError.at("autodis.temperature", f"is {temperature:g}; give more than 0")
        self.temperature, self.keep_prob = temperature, keep_prob
        self.input_weight = nn.Parameter(torch.empty(value_dim, num_channels))
        self.mixing = nn.Parameter(torch.empty(value_dim, num_channels, num_channels))
        self.meta = nn.Parameter(torch.empty(value_dim, num_channels, embedding_dim))
        with torch.no_grad():  # one number's matrices after the other: they share no inputs
            for matrix in (*self.input_weight.split(1), *self.mixing, *self.meta):
                nn.init.xavier_uniform_(matrix)

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R D)."""
        hidden_BRC = F.leaky_relu(numbers_BR.unsqueeze(-1) * self.input_weight)
        mixed_BRC = torch.einsum("brc,rcd->brd", hidden_BRC, self.mixing)
        scores_BRC = (mixed_BRC + self.keep_prob * hidden_BRC) / self.temperature
        return torch.einsum("brc,rcd->brd", scores_BRC.softmax(-1), self.meta).flatten(1)
