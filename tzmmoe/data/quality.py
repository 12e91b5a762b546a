"""What the rows held: counts of missing and unusual values by feature, of missing labels, and types
by column."""

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tzmmoe.batch import Position
from tzmmoe.data.reading.base import Chunk
from tzmmoe.errors import DataError
from tzmmoe.features.column import is_list
from tzmmoe.features.shared import Tally

log = logging.getLogger(__name__)

FEW_LABELS = 0.99  # a label that is missing in more rows than this share is doubted
# By this share of rows, evaluation may have more values without a row of their own than training.
MOST_SURPRISING = 0.05
NONE: Mapping[str, int] = {}
CHECK_JOIN = "check the files, and the join that adds it"
COUNTED = ("missing", "defaulted", "unknown", "outside")  # the fields of a Tally


class NoLabelsError(DataError):
    """A task has no label in any row."""


class Quality:
    """Sums of tallies over the rows that were encoded, and the types of their columns.

    Threads may add to it and read it at the same time. ``where``: what holds the rows, in warnings.
    """

    def __init__(self, warns: bool = True, where: str = "") -> None:
        self.num_rows = 0
        self.told: set[str] = set()  # features whose ids outside the table were already reported
        self._warns, self._where = warns, where and f" of {where}"
        self._counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
        self._types: dict[str, set[str]] = defaultdict(set)
        self._labels: dict[str, int] = {}  # rows without one, by column
        self._lock = threading.Lock()

    def add(
        self, tallies: Mapping[str, Tally], num_rows: int, labels: Mapping[str, int] = NONE
    ) -> None:
        """Add the tallies of some rows, and in how many of them each label is missing; warn, if it
        does, at a feature's first ids outside its table."""
        with self._lock:
            self.num_rows += num_rows
            for name, count in labels.items():
                self._labels[name] = self._labels.get(name, 0) + count
            for name, tally in tallies.items():
                counts = self._counts[name]
                if self._warns and tally.outside and not counts[3] and name not in self.told:
                    log.warning(
                        "%s: %s of %s rows%s have an id outside its table; raise num_buckets, or "
                        "set out_of_range",
                        name,
                        f"{tally.outside:,}",
                        f"{num_rows:,}",
                        self._where,
                    )
                counts += [tally.missing, tally.defaulted, tally.unknown, tally.outside]

    def note_types(self, schemas: Iterable[pa.Schema]) -> None:
        """Remember the types that columns have: of the values in lists, of the keys of maps."""
        with self._lock:
            for schema in schemas:
                for field in schema:
                    self._types[field.name].add(str(type_of_values(field.type)))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data, which other processes and checkpoints can hold."""
        with self._lock:
            return {
                "rows": self.num_rows,
                "features": {
                    name: dict(zip(COUNTED, sums.tolist(), strict=True))
                    for name, sums in self._counts.items()
                },
                "types": {name: sorted(types) for name, types in self._types.items()},
                "labels": dict(self._labels),
            }

    @classmethod
    def of_all(cls, parts: Sequence[Mapping[str, Any]]) -> "Quality":
        """The sum of what several processes counted, each as ``to_json`` gives it."""
        total = cls()
        for part in parts:
            total.num_rows += part["rows"]
            for name, counts in part["features"].items():
                total._counts[name] += [counts[each] for each in COUNTED]
            for name, types in part["types"].items():
                total._types[name].update(types)
            for name, count in part.get("labels", NONE).items():  # earlier versions counted none
                total._labels[name] = total._labels.get(name, 0) + count
        return total

    def beside(self, training: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any]:
        """The counts of the features ``names`` and their shares of the rows, with those in
        ``training``, which is what ``to_json`` gave there; None where training did not count."""
        here = self.to_json()
        then = training or {"rows": 0, "features": {}}
        features: dict[str, dict[str, Any]] = {}
        for name in names:
            counts, before = here["features"].get(name, {}), then["features"].get(name)
            features[name] = {
                each: {
                    "rows": counts.get(each, 0),
                    "share": counts.get(each, 0) / max(here["rows"], 1),
                    "training_share": before and before[each] / max(then["rows"], 1),
                }
                for each in COUNTED
            }
        return {"rows": here["rows"], "training_rows": then["rows"], "features": features}

    def surprises(self, training: "Quality", where: str) -> dict[str, str]:
        """{feature: a line} for each feature whose values are outside the table or the vocabulary
        in a share of these rows that exceeds that of the training rows by ``MOST_SURPRISING``.
        ``where``: what holds these rows."""
        lines = {}
        with self._lock:
            counts = {name: sums.copy() for name, sums in self._counts.items()}
        for name, sums in counts.items():
            before = training._counts.get(name, np.zeros(4)) / max(training.num_rows, 1)
            now = sums / max(self.num_rows, 1)
            for kind, table in (("outside", "table"), ("unknown", "vocabulary")):
                place = COUNTED.index(kind)
                if now[place] - before[place] > MOST_SURPRISING:
                    lines[name] = (
                        f"{name}: {now[place]:.1%} of the first {self.num_rows:,} rows of {where} "
                        f"have a value that is not in its {table}, against {before[place]:.1%} of "
                        f"the first {training.num_rows:,} training rows; leave the feature out, or "
                        "train on rows that hold such values"
                    )
        return lines

    def report(self) -> str:
        """The table, headed by the number of rows that it covers."""
        return f"values of the first {self.num_rows:,} rows\n{self.table()}"

    def table(self) -> str:
        """The shares of rows for each feature and label that has anything to report."""
        lines = [f"{'feature':32} {'missing':>9} {'default':>9} {'unknown':>9} {'outside':>9}"]
        for name, counts in self._counts.items():
            if counts.any():
                shares = " ".join(f"{count / max(self.num_rows, 1):>9.2%}" for count in counts)
                lines.append(f"{name:32} {shares}")
        if len(lines) == 1:
            lines = [f"all {len(self._counts)} features have a known value in every row"]
        for name, count in self._labels.items():
            if count:
                lines.append(f"{f'label {name}':32} {count / max(self.num_rows, 1):>9.2%}")
        return "\n".join(lines)

    def doubts(self, tasks: Mapping[str, Sequence[str]]) -> list[str]:
        """A line for each label that nearly all rows lack. ``tasks``: those that learn from each
        label column, by its name.

        Raises:
            NoLabelsError: all rows lack a label.
        """
        lines, absent = [], []
        for name, owners in tasks.items():
            count = self._labels.get(name, 0)
            where = f"label {name!r} of {', '.join(owners)} is missing in"
            if self.num_rows and count == self.num_rows:
                absent.append(f"{where} all {count:,} rows")
            elif count > FEW_LABELS * self.num_rows:
                rest = self.num_rows - count
                lines.append(f"{where} all but {rest:,} of {self.num_rows:,} rows; {CHECK_JOIN}")
        if absent:
            remedy = f"{CHECK_JOIN}, or set the weight of its task to 0"
            raise NoLabelsError("\n".join([*absent, f"nothing can be learned from it; {remedy}"]))
        return lines


class Rows(Protocol):
    """Encoded rows: how many, and what is counted of them."""

    num_rows: int
    tallies: Mapping[str, Tally]
    missing_labels: Mapping[str, int]


@dataclass(frozen=True)
class Counts:
    """What is counted of some rows, without the rows themselves."""

    num_rows: int
    tallies: Mapping[str, Tally]
    missing_labels: Mapping[str, int]


class QualityByPosition:
    """What was read up to a position, whatever was encoded ahead of it.

    A chunk counts as a whole as soon as one of its rows is consumed, and only once, even if a run
    is interrupted within it and reads it again.
    """

    def __init__(self) -> None:
        self._passed = Quality(warns=False)
        self._ahead: deque[tuple[Position, Counts, list[pa.Schema]]] = deque()

    def begin(self, place: Position, rows: Rows, chunk: Chunk) -> None:
        """Note a chunk whose first row to be consumed is that at ``place``; its encoded rows."""
        if not place.done:  # otherwise it has been counted
            counts = Counts(rows.num_rows, rows.tallies, rows.missing_labels)
            self._ahead.append((place, counts, [part.schema for part in chunk.parts]))

    def until(self, position: Position) -> Quality:
        """The sum over all chunks that begin before a position; these only grow."""
        while self._ahead and self._ahead[0][0].reached < position.reached:
            _, counts, schemas = self._ahead.popleft()
            self._passed.add(counts.tallies, counts.num_rows, counts.missing_labels)
            self._passed.note_types(schemas)
        return self._passed


def type_of_values(kind: pa.DataType) -> pa.DataType:
    """Of a list or dictionary the type of its values, of a map that of its keys."""
    if pa.types.is_map(kind):
        return type_of_values(kind.key_type)
    if pa.types.is_dictionary(kind) or is_list(kind):
        return type_of_values(kind.value_type)
    return kind
