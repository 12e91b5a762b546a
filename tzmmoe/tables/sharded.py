"""Embedding tables whose rows or columns are spread over several processes."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from tzmmoe.system.tensorfiles import Scattered
from tzmmoe.tables.table import Bag, Table, Tables


class ShardedStore(Protocol):
    """Groups of tables spread over all processes, which must make every call together. Their
    optimizer steps within the backward pass."""

    def lookup(self, group: str, ids: Tensor, lengths_FB: Tensor, weights: Tensor | None) -> Tensor:
        """Sums of rows (B, F, D), of ids feature by feature and row by row within each."""

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""

    def weights(self, group: str) -> dict[str, Scattered]:
        """This process's part of each table."""

    def state(self, group: str) -> dict[str, dict[str, Scattered]]:
        """This process's part of the optimizer's state: {key: {table: ...}}."""


class ShardedTables(nn.Module):
    """Does what ``Tables`` does, with the tables of a ``group`` of a ``store``.

    The tables are not parameters of this module: only the store's own optimizer and exchange of
    gradients ever see them.
    """

    def __init__(self, store: ShardedStore, group: str, tables: Tables) -> None:
        super().__init__()
        self.store, self.group = store, group
        self.tables: Sequence[Table] = tables.tables
        self.gradient_bound: float | None = None
        self.weighted, self._bags = tables.weighted, tables.bags
        places, self.read = read_bags(tables)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        means = [bag.mean for bag in self.read]
        self.register_buffer(
            "mean_F", torch.tensor(means) if any(means) else None, persistent=False
        )
        frozen = {table.name for table in self.tables if not table.trainable}
        trained = [bag.table not in frozen for bag in self.read]
        self.register_buffer(
            "trained_F", None if all(trained) else torch.tensor(trained), persistent=False
        )

    def forward(self, ids: Tensor, lengths_BF: Tensor | None, weights: Tensor | None) -> Tensor:
        """As ``Tables.forward``, with gradients of pooled numbers clamped to ``gradient_bound``."""
        ids = ids.flatten()
        if weights is None and self.weighted:
            weights = torch.ones_like(ids, dtype=torch.float32)
        order, lengths_FB = self._by_feature(ids, lengths_BF)
        factors = weights[order] if self.weighted else None
        pooled_BFD = self.store.lookup(self.group, ids[order], lengths_FB, factors)
        if self.trained_F is not None:
            trained = self.trained_F.unsqueeze(-1)
            pooled_BFD = torch.where(trained, pooled_BFD, pooled_BFD.detach())
        if self.mean_F is not None:
            divisor_BF = torch.where(self.mean_F, lengths_FB.t().clamp(min=1), 1)
            pooled_BFD = pooled_BFD / divisor_BF.unsqueeze(-1)
        if self.gradient_bound is not None and pooled_BFD.requires_grad:
            bound = self.gradient_bound
            pooled_BFD.register_hook(lambda grad: grad.clamp(-bound, bound))
        return pooled_BFD

    def _by_feature(self, ids: Tensor, lengths_BF: Tensor | None) -> tuple[Tensor, Tensor]:
        """The places of the ids of the features that are read, feature by feature with the rows in
        order; and how many each feature has in each row."""
        if lengths_BF is None:
            places_BF = torch.arange(len(ids), device=ids.device).view(-1, len(self._bags))
            places_FB = places_BF[:, self.places].t()
            return places_FB.flatten(), torch.ones_like(places_FB, dtype=ids.dtype).contiguous()
        lengths_FB = lengths_BF[:, self.places].t().contiguous()
        last = len(self.places)  # the rank of features that are not read
        rank_F = lengths_BF.new_full((len(self._bags),), last)
        rank_F[self.places] = torch.arange(last, device=ids.device)
        ranks, lengths = rank_F.expand_as(lengths_BF).flatten(), lengths_BF.flatten()
        order = ranks.repeat_interleave(lengths, output_size=len(ids)).argsort(stable=True)
        return order if last == len(rank_F) else order[: int(lengths_FB.sum())], lengths_FB


def read_bags(tables: Tables) -> tuple[list[int], list[Bag]]:
    """The places, among the features of a batch, of those that are read; and their bags."""
    read = [(place, bag) for place, bag in enumerate(tables.bags) if bag]
    return [place for place, _ in read], [bag for _, bag in read]
