"""Columns as their cells mean them: the number in ``$1,234.50``, the list in ``['a', 'b']``, the
weekday of ``2024-03-05``. The features of a draft read cells in the very same way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tzmmoe.data.reading.base import NO_READERS, Source
from tzmmoe.drafting.survey.columns.profile import SEPARATOR
from tzmmoe.features.column import decoded, plain
from tzmmoe.features.forms import BadType, BadValue, as_text, is_text
from tzmmoe.features.written.formats import FIELDS, CellFormat

PLAIN = {
    **dict.fromkeys(FIELDS),
    "list_format": "SEPARATED",
    "na_values": (),
    "time_zone": "UTC",
}
MOST_WORDS = 20  # texts of one column that mean a missing value


@dataclass
class Conversion:
    """Makes the column ``name`` from ``column``, as ``fields`` of a feature say (FIELDS).

    A text that the fields cannot read is a missing value if it is one of ``words``, or any if that
    is None; ``missing`` collects these. Another one is the ``fault``: its place and the text.
    """

    name: str
    column: str
    fields: Mapping[str, Any]
    words: frozenset[str] | None = frozenset()
    missing: list[str] = field(default_factory=list)
    fault: tuple[str, str] | None = None

    @property
    def listed(self) -> bool:
        return self.fields.get("list_format") == "PRINTED"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields, with all words for a missing value that occur."""
        return {**self.fields, **({"na_values": self.missing} if self.missing else {})}

    def again(self) -> "Conversion":
        """The same for other files; what this one never met is a fault there."""
        return replace(self, words=frozenset(), missing=list(self.missing))

    def array(self, column: pa.Array, file: str, row: int) -> pa.Array:
        """The converted rows of a file from ``row`` on; nulls from the fault on."""
        while self.fault is None:
            cells = CellFormat.of(SEPARATOR, False, {**PLAIN, **self.settings})
            try:
                rows = plain(cells.read(column))
            except BadType as bad:
                self.fault = (file, str(bad))
            except BadValue as bad:
                self._refused(_text(column, bad.row), f"{file}, row {row + bad.row + 1:,}")
            else:
                return self._arrow(rows.values, rows.counts)
        return pa.nulls(len(column))

    def _refused(self, word: str, place: str) -> None:
        """Keep a word for a missing value, or the fault that it is none."""
        is_missing = self.words is None or word in self.words
        if is_missing and word not in self.missing and len(self.missing) < MOST_WORDS:
            self.missing.append(word)
        else:
            self.fault = (place, word)

    def _arrow(self, flat: pa.Array, counts: np.ndarray) -> pa.Array:
        if self.listed:
            offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]))
            return pa.LargeListArray.from_arrays(offsets, flat)
        if "number_format" in self.fields:
            flat = as_text(flat)  # as a file with plain numbers would hold them
        places = np.cumsum(counts) - 1
        return flat.take(pa.array(places, mask=counts == 0))


class ConvertedSource(Source):
    """Files with converted columns in place of the plain ones of the same names, or beside them."""

    def __init__(self, source: Source, conversions: Sequence[Conversion]) -> None:
        super().__init__(source.files)
        self._source = source
        self._conversions = {each.name: each for each in conversions}

    @property
    def faults(self) -> dict[str, tuple[str, str]]:
        """{column: place and text of the first cell that is not as it should be}."""
        return {each.column: each.fault for each in self._conversions.values() if each.fault}

    def columns(self, file: str) -> list[str]:
        return list(dict.fromkeys([*self._source.columns(file), *self._conversions]))

    def types(self, file: str, columns: Sequence[str]) -> list[pa.DataType]:
        changes = [self._conversions.get(name) for name in columns]
        read = [each.column if each else name for each, name in zip(changes, columns, strict=True)]
        kinds = self._source.types(file, read)
        return [
            each.again().array(pa.nulls(0, kind), file, 0).type if each else kind
            for each, kind in zip(changes, kinds, strict=True)
        ]

    def check_columns(
        self, file: str, needed: Sequence[str], readers: Mapping[str, str] = NO_READERS
    ) -> None:
        self._source.check_columns(file, self._read_for(needed), readers)

    def num_rows(self, file: str) -> int:
        return self._source.num_rows(file)

    def known_rows(self, file: str) -> int | None:
        return self._source.known_rows(file)

    def row_number(self, file: str, row: int) -> int:
        return self._source.row_number(file, row)

    def read(self, file: str, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
        row = skip
        for batch in self._source.read(file, self._read_for(columns), skip):
            arrays = []
            for name in columns:
                change = self._conversions.get(name)
                array = batch.column(change.column if change else name)
                arrays.append(change.array(array, file, row) if change else array)
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _read_for(self, names: Sequence[str]) -> list[str]:
        """The columns that some columns are made from."""
        changes = self._conversions
        return list(dict.fromkeys(changes[n].column if n in changes else n for n in names))


def _text(column: pa.Array, row: int) -> str:
    """The text of a cell, without blanks around it."""
    cell = decoded(column.slice(row, 1))
    return str((as_text(cell) if is_text(cell.type) else cell)[0].as_py()).strip()
