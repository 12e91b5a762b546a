"""Rows of a population as Parquet or CSV files, beside a record of the best AUC on them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from tzmmoe.errors import DataError
from tzmmoe.synthetic.population import LEVELS, LISTED, Block, Population, Sizes
from tzmmoe.system.durable import unwritable

BLOCK_ROWS = 1 << 16  # written at a time; a row group in Parquet
OPTIMUM = "optimum.json"
SEPARATOR = "|"
SPLITS = ("train", "eval")


@dataclass(frozen=True)
class DatasetRequest:
    """What to write where. ``missing`` is a share in [0, 1); ``ids`` "int" or "string", ``format``
    "parquet" or "csv". CSV cells are always text."""

    out: Path
    rows: int
    eval_rows: int
    files: int
    format: str
    ids: str
    text_cells: bool
    missing: float
    sizes: Sizes
    seed: int


def write(request: DatasetRequest) -> dict[str, dict[str, float | None]]:
    """Write the files of both splits, in place of an earlier data set, and the optimum.

    Returns ``OutcomeTally.summary`` by split, as in the file.

    Raises:
        DataError: ``out`` holds files of others, or cannot be written.
    """
    try:
        return _write(request)
    except OSError as error:
        raise DataError(unwritable(request.out, error)) from error


def _write(request: DatasetRequest) -> dict[str, dict[str, float | None]]:
    _clear(request.out)
    population = Population(request.sizes, request.seed)
    as_text = request.text_cells or request.format == "csv"
    cells = Cells(population, words=request.ids == "string", as_text=as_text)
    optimum = {}
    plans = ((request.rows, request.files), (request.eval_rows, 1))
    for split, (rows, files) in zip(SPLITS, plans, strict=True):
        if not rows:
            continue
        (request.out / split).mkdir(parents=True, exist_ok=True)
        tally = OutcomeTally()
        digits = max(3, len(str(files - 1)))  # so that names sort as rows do
        for number in range(files):
            path = request.out / split / f"part-{number:0{digits}}.{request.format}"
            begin, end = rows * number // files, rows * (number + 1) // files
            _write_file(path, _blocks(population, split, begin, end, request.missing), cells, tally)
        optimum[split] = tally.summary()
    (request.out / OPTIMUM).write_text(json.dumps(optimum, indent=2) + "\n")
    return optimum


def _clear(out: Path) -> None:
    """Remove what an earlier call wrote: its files would be read as part of this data set."""
    found = [path for split in SPLITS for path in out.glob(f"{split}/[!.]*")]
    ours = (out / OPTIMUM).exists()
    foreign = [path for path in found if not (ours and path.match("part-*"))]
    if foreign:
        raise DataError(f"{min(foreign)}: was not written by this command; name another --out")
    for path in found:
        path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    (out / OPTIMUM).write_text("{}\n")  # until all files are complete


def _blocks(
    population: Population, split: str, begin: int, end: int, missing: float
) -> Iterator[Block]:
    for first in range(begin, end, BLOCK_ROWS):
        yield population.rows(split, first, min(first + BLOCK_ROWS, end), missing)


def _write_file(path: Path, blocks: Iterator[Block], cells: "Cells", tally: "OutcomeTally") -> None:
    """A file has its name only when it is complete."""
    unfinished = path.with_name(f".{path.name}")
    try:
        with _open(unfinished, cells.schema) as opened:
            for block in blocks:
                opened.write_batch(cells.batch(block))
                tally.add(block)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _open(path: Path, schema: pa.Schema) -> pq.ParquetWriter | csv.CSVWriter:
    if path.suffix == ".parquet":
        return pq.ParquetWriter(path, schema)
    return csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="none"))


class Cells:
    """Blocks -> record batches.

    With ``words``, id 17 of user_id is the text ``user_id_17``. With ``as_text``, a cell of several
    values is text, ``3|17`` and ``3:0.5|17:1.25``, instead of a list and a map.
    """

    def __init__(self, population: Population, *, words: bool, as_text: bool) -> None:
        self._sizes = population.sizes.ids()
        self._as_text = as_text
        self._words = {name: _words(name, n) for name, n in self._sizes.items()} if words else {}
        self.schema = self.batch(population.rows("train", 0, 0)).schema

    def batch(self, block: Block) -> pa.RecordBatch:
        columns = {name: self._ids(block, name) for name in self._sizes}
        columns |= {name: _number(column) for name, column in block.numbers.items()}
        click = block.click_level.astype(np.float32) / LEVELS
        columns |= {
            "click": pa.array(block.click.astype(np.int8)),
            "conversion": pa.array(block.conversion.astype(np.int8)),
            "p_click": pa.array(click),
            "p_conversion": pa.array(click * block.conversion_level.astype(np.float32) / LEVELS),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _ids(self, block: Block, name: str) -> pa.Array:
        column, size = block.ids[name], self._sizes[name]
        if column.ndim == 1:
            missing = column == size
            return self._values(name, column, missing if missing.any() else None)
        there = column < size
        lengths = there.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        ends = pa.array(offsets, mask=np.concatenate([lengths == 0, [False]]))
        values = self._values(name, column[there], None)
        if name == LISTED:
            if not self._as_text:
                return pa.ListArray.from_arrays(ends, values)
            texts = values.cast(pa.string())
        else:
            weights = pa.array(block.weights[there].astype(np.float32))
            if not self._as_text:
                return pa.MapArray.from_arrays(ends, values, weights)
            parts = (values.cast(pa.string()), weights.cast(pa.string()))
            texts = pc.binary_join_element_wise(*parts, ":")
        return pc.binary_join(pa.ListArray.from_arrays(ends, texts), SEPARATOR)

    def _values(self, name: str, ids: np.ndarray, missing: np.ndarray | None) -> pa.Array:
        numbers = pa.array(ids, mask=missing)
        return self._words[name].take(numbers) if name in self._words else numbers


def _words(name: str, count: int) -> pa.Array:
    texts = pa.array(np.arange(count)).cast(pa.string())
    return pc.binary_join_element_wise(f"{name}_", texts, "")


def _number(column: np.ndarray) -> pa.Array:
    """NaN as null."""
    return pa.array(column, mask=np.isnan(column))


@dataclass
class OutcomeTally:
    """Rows by outcome (nothing, click, conversion) and by the levels of both probabilities."""

    counts: np.ndarray = field(
        default_factory=lambda: np.zeros((3, LEVELS, LEVELS), dtype=np.int64)
    )

    def add(self, block: Block) -> None:
        outcome = block.click.astype(np.int64) + block.conversion
        cells = (outcome * LEVELS + block.click_level) * LEVELS + block.conversion_level
        np.add.at(self.counts.reshape(-1), cells, 1)

    def summary(self) -> dict[str, float | None]:
        """Rates, and the AUC of the true probabilities by the keys of an evaluation.

        auc_ctr ranks all rows by P(click), auc_cvr_in_space the clicked ones by
        P(conversion | click), auc_ctcvr all rows by P(conversion).
        """
        nothing, click, conversion = self.counts
        rows, clicks = int(self.counts.sum()), int((click + conversion).sum())
        products = np.outer(np.arange(LEVELS), np.arange(LEVELS)).ravel()
        negatives, positives = (
            np.bincount(products, part.ravel()).astype(np.int64)
            for part in (nothing + click, conversion)
        )
        return {
            "rows": rows,
            "click_rate": clicks / rows,
            "conversion_rate": int(conversion.sum()) / rows,
            "auc_ctr": auc((click + conversion).sum(axis=1), nothing.sum(axis=1)),
            "auc_cvr_in_space": auc(conversion.sum(axis=0), click.sum(axis=0)),
            "auc_ctcvr": auc(positives, negatives),
        }


def auc(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    """Of rows counted by score, in ascending order; ties count half. None without both classes."""
    pairs = int(positives.sum()) * int(negatives.sum())
    if not pairs:
        return None
    twice_below = 2 * np.cumsum(negatives) - negatives
    return int((positives * twice_below).sum()) / (2 * pairs)
