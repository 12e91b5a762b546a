"""Embedding tables of one width as one parameter, and embeddings of numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tzmmoe.system.seeds import generator_of
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.initializers import Initializer

BLOCK_ROWS = 1 << 20  # rows of a table that are initialized together


@dataclass(frozen=True)
class Table:
    """An embedding table. ``init`` fills a block of its rows in place."""

    name: str
    rows: int
    dim: int
    trainable: bool
    init_text: str
    init: Initializer = field(compare=False)
    constraints: Constraints = field(default_factory=Constraints)

    def initial(self, seed: int, begin: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """The initial values of the rows [begin, end), block by block: its first row, and its rows.

        A block depends on the seed, the table's name and its own number alone, so that a part of a
        table starts with the same values as within the whole table.
        """
        for number in range(begin // BLOCK_ROWS, -(-end // BLOCK_ROWS)):
            first = number * BLOCK_ROWS
            block = torch.empty(min(BLOCK_ROWS, self.rows - first), self.dim)
            name = f"{self.name}/{number}" if number else self.name
            self.init(block, generator_of(seed, name), self.rows)
            since = max(begin - first, 0)
            yield first + since, block[since : end - first]


@dataclass(frozen=True)
class Bag:
    """How a feature is looked up: its table, and whether its values are averaged or summed."""

    table: str
    mean: bool


class Tables(nn.Module):
    """All tables of one width D, stacked in one parameter (R, D).

    One lookup serves all features of the width; those whose bag is None are not read. Tables that
    are not trained are at the end, from row ``trained_rows`` on. A table's initial values depend on
    the seed and its name alone. ``gradient_bound`` clamps the gradient of each pooled number, as
    FBGEMM does. ``sparse``: the gradient holds the batch's rows only. ``weighted``: batches have a
    factor for each id. The parameter takes no memory until ``fill``.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        bags: Sequence[Bag | None],
        *,
        seed: int,
        weighted: bool = False,
    ) -> None:
        super().__init__()
        tables = sorted(tables, key=lambda table: not table.trainable)
        self.gradient_bound: float | None = None
        self.sparse, self.weighted = True, weighted
        self.tables, self.bags, self.seed = tables, bags, seed
        self.spans: dict[str, tuple[int, int]] = {}
        rows = 0
        for table in tables:
            self.spans[table.name] = (rows, rows + table.rows)
            rows += table.rows
        self.trained_rows = sum(table.rows for table in tables if table.trainable)
        unread = None in bags  # the ids of those map to a last row that is never trained
        self.weight = nn.Parameter(
            torch.empty(rows + unread, tables[0].dim, device="meta"),
            requires_grad=self.trained_rows > 0,
        )
        first = [self.spans[bag.table][0] if bag else rows for bag in bags]
        self.register_buffer("first_F", torch.tensor(first), persistent=False)
        read = torch.tensor([bag is not None for bag in bags])
        self.register_buffer("read_F", read.long() if unread else None, persistent=False)
        self.register_buffer("places", read.nonzero()[:, 0] if unread else None, persistent=False)
        mean = torch.tensor([bag.mean if bag else False for bag in bags])
        self.register_buffer("mean_F", mean if mean.any() else None, persistent=False)

    def fill(self) -> "Tables":
        """Give each table its initial values."""
        weight = torch.empty(self.weight.shape)
        for table in self.tables:
            rows = self.rows_of(table.name, weight)
            for begin, values in table.initial(self.seed, 0, table.rows):
                rows[begin : begin + len(values)] = values
        weight[sum(table.rows for table in self.tables) :] = 0
        self.weight = nn.Parameter(weight, requires_grad=self.trained_rows > 0)
        return self

    @property
    def trained(self) -> Tensor:
        """The rows that training moves."""
        return self.weight[: self.trained_rows]

    def rows_of(self, table: str, of: Tensor) -> Tensor:
        """The table's rows of the parameter, or of a tensor with the same rows."""
        begin, end = self.spans[table]
        return of[begin:end]

    def forward(self, ids: Tensor, lengths_BF: Tensor | None, weights: Tensor | None) -> Tensor:
        """Pooled embeddings (B, F, D) of the features that are read.

        ids: (N,), those of row 0's features, then of row 1's, each a row of its feature's table.
        lengths_BF: how many each feature has; None if each has one, and then ids may be (B, F).
        weights: (N,) factors.
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
            if self.places is not None:
                rows_BF = rows_BF[:, self.places]
            return F.embedding(rows_BF, self.weight, sparse=self.sparse)
        if lengths_BF is None:
            lengths_BF, ids = torch.ones_like(ids.view(-1, num_features)), ids.flatten()
        ends = lengths_BF.flatten().cumsum(0)
        pooled_BFD = F.embedding_bag(
            self._rows(ids, lengths_BF),
            self.weight,
            torch.cat([ends.new_zeros(1), ends]),
            mode="sum",
            sparse=self.sparse,
            per_sample_weights=weights,
            include_last_offset=True,
        ).view(-1, num_features, self.weight.shape[1])
        if self.mean_F is not None:
            divisor_BF = torch.where(self.mean_F, lengths_BF.clamp(min=1), 1)
            pooled_BFD = pooled_BFD / divisor_BF.unsqueeze(-1)
        return pooled_BFD if self.places is None else pooled_BFD[:, self.places]

    def _rows(self, ids: Tensor, lengths_BF: Tensor) -> Tensor:
        """Rows (N,) of the parameter."""
        lengths, count = lengths_BF.flatten(), ids.shape[0]
        first = self.first_F.expand_as(lengths_BF).flatten()
        if self.read_F is not None:
            read = self.read_F.expand_as(lengths_BF).flatten()
            ids = ids * read.repeat_interleave(lengths, output_size=count)
        return ids + first.repeat_interleave(lengths, output_size=count)


def fill_tables(module: nn.Module) -> None:
    """Give all tables within a module their initial values."""
    for part in module.modules():
        if isinstance(part, Tables):
            part.fill()


class Vectors(nn.Module):
    """R learned vectors of width D, each times its number. ``init`` fills (R, D)."""

    def __init__(self, name: str, count: int, dim: int, init: Initializer, *, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim))
        with torch.no_grad():
            init(self.weight, generator_of(seed, name), count)

    def forward(self, numbers_BR: Tensor) -> Tensor:
        """(B, R, D)."""
        return numbers_BR.unsqueeze(-1) * self.weight
