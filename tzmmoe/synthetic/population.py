"""Users, items and contexts whose click and conversion probabilities are known.

A row's two logits, of a click and of a conversion after a click, are sums over its columns: an
effect for each id (summed over the values of a cell, times their weights), a product of what the
segment likes and what the category offers, and a curve for each number. A missing value adds
nothing, so the probabilities are a function of what the row shows, and no model can rank better.
They are whole multiples of 1 / LEVELS: float32 holds them and their product exactly, and counting
rows by level gives an exact AUC in memory that does not grow with the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEVELS = 1024
WEIGHTS = np.arange(1, 17) / 8  # of a tag; exact in float32 and short in text
TASKS = 2

SEGMENTS, HOURS, POSITIONS = 20, 24, 10
LISTED, WEIGHTED = "viewed_tags", "tag_scores"

BASE = (-1.6, -1.7)  # the two logits of a row whose values are all missing
# Standard deviations of an id's effects on the two logits.
EFFECTS = {
    "user_id": (0.5, 0.15),
    "segment": (0.3, 0.4),
    "item_id": (0.5, 0.15),
    "category": (0.4, 0.5),
    "hour": (0.5, 0.5),
    "position": (0.6, 0.4),
    LISTED: (0.35, 0.35),
    WEIGHTED: (0.3, 0.35),
}
AGREEMENT = 0.8  # correlation of the two effects of an id
AFFINITY = 0.4  # of (1 + like) (1 + offer), both with variance 1
PRICE = (-1.0, -3.0)  # for each factor of ten
MATCH = ((1.4, 1.8), (-0.6, 0.5))  # of x and of x^2


@dataclass(frozen=True)
class Sizes:
    """How many there are of each, and the most values of a cell of several; 0 for no such cells."""

    users: int
    items: int
    categories: int
    tags: int
    max_values: int

    def ids(self) -> dict[str, int]:
        """How many ids each id column has, in the order of the columns."""
        sizes = {
            "user_id": self.users,
            "segment": SEGMENTS,
            "item_id": self.items,
            "category": self.categories,
            "hour": HOURS,
            "position": POSITIONS,
        }
        return sizes | ({LISTED: self.tags, WEIGHTED: self.tags} if self.max_values else {})


@dataclass(frozen=True)
class Block:
    """Rows, column by column.

    ids: (B,), or (B, max_values) for cells of several values; an id that equals the number of ids
    is none. weights: (B, max_values), of WEIGHTED. numbers: NaN where missing. The levels are
    probabilities times LEVELS; that of a conversion holds after a click.
    """

    ids: Mapping[str, np.ndarray]
    weights: np.ndarray | None
    numbers: Mapping[str, np.ndarray]
    click_level: np.ndarray
    conversion_level: np.ndarray
    click: np.ndarray
    conversion: np.ndarray


@dataclass(frozen=True)
class Draws:
    """Randomness of the rows from ``begin`` to ``end``.

    What a row gets depends on the seed, the stream, the use and the row's number alone: Philox
    counts, so any row's place is reached at once, and its words are the same in every numpy.
    """

    seed: int
    stream: str
    begin: int
    end: int

    def words(self, use: str, per_row: int = 1) -> np.ndarray:
        """uint64 (B,), or (B, per_row)."""
        entropy = [self.seed, *f"{self.stream}/{use}".encode()]
        generator = np.random.Philox(np.random.SeedSequence(entropy))
        first = self.begin * per_row
        generator.advance(first // 4)  # a count gives four words
        skipped = first % 4
        words = generator.random_raw(skipped + (self.end - self.begin) * per_row)[skipped:]
        return words if per_row == 1 else words.reshape(-1, per_row)

    def uniform(self, use: str, per_row: int = 1) -> np.ndarray:
        """Within [0, 1)."""
        return (self.words(use, per_row) >> np.uint64(11)) * 2.0**-53

    def below(self, use: str, bound: int, per_row: int = 1) -> np.ndarray:
        """Whole numbers within [0, bound)."""
        return (self.uniform(use, per_row) * bound).astype(np.int64)

    def normal(self, use: str, per_row: int) -> np.ndarray:
        """(B, per_row), mean 0, variance 1, bell-shaped: the sum of four uniform numbers."""
        words = self.words(use, per_row).reshape(-1, per_row)
        parts = words.view(np.uint16).reshape(*words.shape, 4).astype(np.int64).sum(axis=-1)
        return (parts - 2 * 65535) * (np.sqrt(3) / 65536)


class Population:
    """All users and items of a seed, and any of the rows in which they meet.

    effects: by id column (ids + 1, 2); affinity: of segment and category (segments + 1,
    categories + 1, 2). The last id stands for a missing value and has no effect.
    """

    def __init__(self, sizes: Sizes, seed: int) -> None:
        self.sizes = sizes
        self.seed = seed
        self.effects = {name: self._effects_of(name, n) for name, n in sizes.ids().items()}
        self._segment_of = self._draws(sizes.users).below("segment", SEGMENTS)
        self._category_of = self._draws(sizes.items).below("category", sizes.categories)
        spread = self._draws(sizes.items).normal("price", 1)[:, 0]
        self._price_of = np.round(10 ** (0.3 * spread), 2).astype(np.float32)
        self.affinity = self._affinities()

    def rows(self, split: str, begin: int, end: int, missing: float = 0.0) -> Block:
        """The split's rows from ``begin`` to ``end``, each id and number missing by that chance."""
        draws = Draws(self.seed, split, begin, end)
        ids = self._ids(draws)
        match = draws.below("match_score", 2 * 128 + 1) / 128 - 1
        numbers = {
            "price_ratio": self._price_of[ids["item_id"]],
            "match_score": match.astype(np.float32),
        }
        weights = None
        if WEIGHTED in ids:
            most = self.sizes.max_values
            places = draws.below(f"{WEIGHTED} weights", len(WEIGHTS), most)
            weights = WEIGHTS[places.reshape(-1, most)]
        if missing:
            for name, size in self.sizes.ids().items():
                ids[name][draws.uniform(f"{name} missing") < missing] = size
            for name, column in numbers.items():
                column[draws.uniform(f"{name} missing") < missing] = np.nan
        click_level, conversion_level = levels(self.logits(ids, weights, numbers)).T
        words = draws.words("labels")
        click = (words % np.uint64(LEVELS)).astype(np.int64) < click_level
        then = (words // np.uint64(LEVELS) % np.uint64(LEVELS)).astype(np.int64) < conversion_level
        return Block(ids, weights, numbers, click_level, conversion_level, click, click & then)

    def _draws(self, count: int) -> Draws:
        return Draws(self.seed, "population", 0, count)

    def _pairs(self, name: str, count: int) -> np.ndarray:
        """Normal numbers for the two logits (count, 2): mean exactly 0, so that the rates of
        labels hardly depend on the seed, variance 1, correlation AGREEMENT."""
        both = self._draws(count).normal(name, TASKS)
        both[:, 1] = AGREEMENT * both[:, 0] + np.sqrt(1 - AGREEMENT**2) * both[:, 1]
        return both - both.mean(axis=0)

    def _effects_of(self, name: str, size: int) -> np.ndarray:
        effects = self._pairs(f"{name} effects", size) * EFFECTS[name]
        return np.concatenate([effects, np.zeros((1, TASKS))])

    def _affinities(self) -> np.ndarray:
        likes = 1 + self._pairs("likes", SEGMENTS)
        offers = 1 + self._draws(self.sizes.categories).normal("offers", 1)
        table = np.zeros((SEGMENTS + 1, self.sizes.categories + 1, TASKS))
        table[:-1, :-1] = AFFINITY * np.einsum("st,cr->sct", likes, offers)
        return table

    def _ids(self, draws: Draws) -> dict[str, np.ndarray]:
        """Users come equally often, items by a power law: the first of 10,000 a hundredfold."""
        sizes = self.sizes
        user = draws.below("user_id", sizes.users)
        item = (draws.uniform("item_id") ** 2 * sizes.items).astype(np.int64)
        ids = {
            "user_id": user,
            "segment": self._segment_of[user],
            "item_id": item,
            "category": self._category_of[item],
            "hour": draws.below("hour", HOURS),
            "position": draws.below("position", POSITIONS),
        }
        for name in (LISTED, WEIGHTED) if sizes.max_values else ():
            ids[name] = self._several(draws, name)
        return ids

    def _several(self, draws: Draws, name: str) -> np.ndarray:
        """1 to max_values different tags (B, max_values), those left over none."""
        most, tags = self.sizes.max_values, self.sizes.tags
        edges = np.arange(most + 1) * tags // most  # a value from each range: none comes twice
        uniform = draws.uniform(name, most).reshape(-1, most)
        values = (uniform * np.diff(edges)).astype(np.int64) + edges[:-1]
        lengths = draws.below(f"{name} lengths", most) + 1
        values[np.arange(most) >= lengths[:, None]] = tags
        return values

    def logits(
        self,
        ids: Mapping[str, np.ndarray],
        weights: np.ndarray | None,
        numbers: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """(B, 2). No matrix product: its last bits can depend on a row's place in the block."""
        logits = self.affinity[ids["segment"], ids["category"]] + BASE
        for name, column in ids.items():
            effects = self.effects[name][column]
            if name == WEIGHTED:
                effects = effects * weights[:, :, None]
            logits += effects.sum(axis=1) if column.ndim == 2 else effects
        price = np.log10(np.nan_to_num(numbers["price_ratio"].astype(np.float64), nan=1.0))
        match = np.nan_to_num(numbers["match_score"].astype(np.float64), nan=0.0)
        for term, slopes in ((price, PRICE), (match, MATCH[0]), (match**2, MATCH[1])):
            logits += np.multiply.outer(term, slopes)
        return logits


def levels(logits: np.ndarray) -> np.ndarray:
    """Probabilities in units of 1 / LEVELS, neither 0 nor 1."""
    return np.clip(np.rint(LEVELS / (1 + np.exp(-logits))), 1, LEVELS - 1).astype(np.int64)
