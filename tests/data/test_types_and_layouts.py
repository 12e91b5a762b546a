"""Every type that a Parquet file can store, in every layout of the file, in every use of a column.

Values are compared with Python's own, and what is refused is refused alike in every layout.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from assembled import cells_of, chunk, setting
from messages import says
from parts import features
from storage import (
    ALL,
    BYTES,
    CASES,
    LAYOUTS,
    NUMBERS,
    ROWS,
    SPANS,
    TEXTS,
    TIMES,
    VALUES,
    stored,
)

from tzmmoe.batch import Batch, Column, Position
from tzmmoe.data.encode import Assembler
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading import parquet
from tzmmoe.data.reading.base import Chunk, FileRows
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.parts import parts
from tzmmoe.errors import DataError

HASHED = 'id_feature { feature_name: "%s" hash_bucket_size: 1000003 embedding_dim: 4 }'
WEIGHTED = HASHED.replace("hash_", "weighted: true hash_")
HOUR = 'id_feature { feature_name: "%s" date_part: HOUR num_buckets: 24 embedding_dim: 4 }'
NUMBER = 'raw_feature { feature_name: "%s" default_value: "-9" }'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    arrays = {name: stored(kind, VALUES[name]) for name, (kind, _) in CASES.items()}
    table = pa.table({"row": pa.array(range(ROWS)), **arrays})
    folder = tmp_path_factory.mktemp("layouts")
    for name, how in LAYOUTS.items():
        pq.write_table(table, folder / f"{name}.parquet", **how)
    return {name: str(folder / f"{name}.parquet") for name in LAYOUTS}


def layouts(files: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Each file and whether to shuffle it: as it is read in general, and as large row groups of it
    would be."""
    for file in files.values():
        yield file, False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parquet, "DICTIONARIES_BYTES", 0)
            patch.setattr(parquet, "BATCH_BYTES", 1000)
            yield file, True


def batches(file: str, assembler: Assembler, shuffle: bool) -> list[Batch]:
    delivery = Delivery(
        batch_size=5,
        shuffle=shuffle,
        shuffle_batches=2,
        drop_remainder=False,
        num_workers=0,
        pin_memory=False,
        seed=1,
    )
    loader = Loader(ParquetSource([file]), assembler, delivery)
    return [batch for batch, _ in loader.epoch(Position())]


def in_order(made: list[Batch], of: Callable[[Batch], list]) -> list:
    """What ``of`` gives for each row, in the order of the file."""
    rows = {}
    for batch in made:
        rows |= zip(batch.reserved["row"].to_pylist(), of(batch), strict=True)
    return [rows[row] for row in range(ROWS)]


def text(value: object) -> str:
    """What an id feature makes of a value, as the manual says."""
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value
    if isinstance(value, float) and value != int(value):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f").rstrip("0").rstrip(".")
    return str(int(value))


def listed(value: object) -> list:
    """The values in a cell, without missing ones."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if each is not None and each == each and each not in ("", b"")]


def is_of(name: str, kinds: dict) -> bool:
    return name.split("_of_")[-1].removeprefix("coded_") in kinds


USABLE = [
    name
    for name in CASES
    if (is_of(name, NUMBERS | TEXTS) or name.endswith("null")) and not name.startswith("map")
]
SCALARS = [name for name in USABLE if "_of_" not in name]
DATED = [name for name in CASES if is_of(name, TIMES) or name.endswith("null")]
MAPS = [name for name in CASES if name.startswith("map")]


def narrow(name: str, value: object) -> str:
    """The text of a value; of a float32 the shortest that reads back the same."""
    is_narrow = is_of(name, {"float32": 0}) and value != int(value)
    return str(np.float32(value)) if is_narrow else text(value)


@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 26, reason="Arrow before 26 lacks some")
def test_no_type_is_left_out() -> None:
    assert list(CASES) == list(ALL)


def test_ids_are_those_of_the_values_as_text(files) -> None:
    made = features(*[HASHED % name for name in USABLE], setting=setting())
    texts = {
        name: pa.array([[narrow(name, v) for v in listed(value)] for value in VALUES[name]])
        for name in USABLE
    }
    expected = Assembler(made, ()).assemble(chunk(texts)).batches(ROWS)
    expected = cells_of(next(expected).inputs.ids[4], len(USABLE))
    assembler = Assembler(made, (), reserved=["row"])
    for file, shuffle in layouts(files):
        found = in_order(
            batches(file, assembler, shuffle), lambda b: cells_of(b.inputs.ids[4], len(USABLE))
        )
        for row, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert dict(zip(USABLE, one, strict=True)) == dict(zip(USABLE, other, strict=True)), (
                file, row)  # fmt: skip


def test_maps_are_ids_with_weights(files) -> None:
    made = features(*[WEIGHTED % name for name in MAPS], setting=setting())
    pairs = {
        name: pa.array(
            [
                [f"{narrow(name, key)}:{weight}" for key, weight in cell or ()]
                for cell in VALUES[name]
            ]
        )
        for name in MAPS
    }
    expected = next(Assembler(made, ()).assemble(chunk(pairs)).batches(ROWS))
    assembler = Assembler(made, (), reserved=["row"])
    for file, shuffle in layouts(files):
        found = in_order(
            batches(file, assembler, shuffle), lambda b: cells_of(b.inputs.ids[4], len(MAPS))
        )
        assert found == cells_of(expected.inputs.ids[4], len(MAPS)), file


def as_number(value: object) -> float:
    return float(np.float32(float(value.decode() if isinstance(value, bytes) else value)))


def test_numbers_labels_and_weights_are_the_values(files) -> None:
    made = features(*[NUMBER % name for name in SCALARS], setting=setting())
    columns = [Column(name, "label", -np.inf, np.inf) for name in SCALARS]
    assembler = Assembler(made, columns, reserved=["row"])
    cells = [[listed(VALUES[name][row]) for name in SCALARS] for row in range(ROWS)]
    numbers = [[as_number(cell[0]) if cell else -9.0 for cell in row] for row in cells]
    labels = [[as_number(cell[0]) if cell else None for cell in row] for row in cells]

    def of(batch: Batch) -> list:
        kept = np.stack([column.numpy() for column in batch.columns.values()], axis=1).tolist()
        kept = [[None if each != each else each for each in row] for row in kept]
        return list(zip(batch.inputs.numbers.tolist(), kept, strict=True))

    for file, shuffle in layouts(files):
        found = in_order(batches(file, assembler, shuffle), of)
        assert found == list(zip(numbers, labels, strict=True)), file


def test_a_column_without_a_missing_value_can_weigh_rows(tmp_path) -> None:
    names = [name for name in SCALARS if name != "null"]
    kept = {name: [as_number(v) for v in listed(VALUES[name]) if as_number(v) >= 0] for name in
            names}  # fmt: skip
    arrays = {
        name: stored(CASES[name][0], [v for v in listed(VALUES[name]) if as_number(v) >= 0][:4])
        for name in names
    }
    assembler = Assembler([], [Column(name, "weight", 0.0) for name in names], reserved=["row"])
    for number, how in enumerate(LAYOUTS.values()):
        file = str(tmp_path / f"{number}.parquet")
        pq.write_table(pa.table({"row": range(4), **arrays}), file, **how)
        made = batches(file, assembler, shuffle=False)
        for name in names:
            found = [weight for batch in made for weight in batch.columns[name].tolist()]
            assert found == kept[name][:4], (name, file)


def test_groups_are_equal_where_values_are(files) -> None:
    """Also over columns: 7 in an integer, a decimal and a text is one group."""
    assembler = Assembler([], [Column(name, "group") for name in SCALARS], reserved=["row"])
    texts = {name: [[narrow(name, v) for v in listed(value)] for value in VALUES[name]]
             for name in SCALARS}  # fmt: skip
    for file, shuffle in layouts(files):
        found = in_order(
            batches(file, assembler, shuffle),
            lambda b: np.stack([c.numpy() for c in b.columns.values()], axis=1).tolist(),
        )
        groups: dict[str, set[int]] = {}
        for row in range(ROWS):
            for name, group in zip(SCALARS, found[row], strict=True):
                groups.setdefault(str(texts[name][row]), set()).add(group)
        assert all(len(same) == 1 for same in groups.values()), file
        assert len(set.union(*groups.values())) == len(groups), file


def test_dates_and_times_have_their_hour(files) -> None:
    made = features(*[HOUR % name for name in DATED], setting=setting())
    assembler = Assembler(made, (), reserved=["row"])

    def hour(value: object) -> int:
        return value.hour if hasattr(value, "hour") else 0

    expected = [
        [[hour(v) for v in listed(VALUES[name][row])] for name in DATED] for row in range(ROWS)
    ]
    for file, shuffle in layouts(files):
        found = in_order(
            batches(file, assembler, shuffle), lambda b: cells_of(b.inputs.ids[4], len(DATED))
        )
        assert [[[i for i, _ in cell] for cell in row] for row in found] == expected, file


def test_reserved_columns_pass_as_they_are(files) -> None:
    names = list(CASES)
    assembler = Assembler([], [], reserved=["row", *names])
    for file, shuffle in layouts(files):
        made = batches(file, assembler, shuffle)
        rows = [row for batch in made for row in batch.reserved.to_pylist()]
        rows.sort(key=lambda row: row["row"])
        for name in names:
            found = [row[name] for row in rows]
            assert comparable(found) == comparable(VALUES[name]), (name, file)


def comparable(value: object) -> object:
    """The value with a text in place of NaN, which does not equal itself."""
    if isinstance(value, list):
        return [comparable(each) for each in value]
    return value if value == value else "NaN"


NESTED = [name for name in CASES if "_of_" in name]
NEVER = [*SPANS, *BYTES, "struct", "list_of_struct", "list_of_list"]
REMEDIES = {**dict.fromkeys(DATED, "date_part"), **dict.fromkeys(MAPS, "weighted: true")}
REFUSED = {
    "feature": (HASHED, [*DATED, *MAPS, *NEVER], REMEDIES),
    "number": (NUMBER, [*DATED, *MAPS, *NEVER], REMEDIES),
    "hour": (HOUR, [*NUMBERS, "list_of_int64", *NEVER], {}),
    "weighted": (WEIGHTED, [name for name in NUMBERS if name != "bool8"], {}),
}


@pytest.fixture(scope="module")
def read(files) -> list[Chunk]:
    """The rows of each layout."""
    made = []
    for file, _ in layouts(files):
        source = ParquetSource([file])
        [part] = parts(source.read(file, list(CASES), 0))
        made.append(Chunk(0, (part,), (FileRows(file, 0, ROWS, source),)))
    return made


@pytest.mark.parametrize("use", [*REFUSED, "label", "weight", "group"])
def test_what_cannot_be_used_is_refused_alike_in_every_layout(read, use) -> None:
    """By an error that names file, column and type and says what to do."""
    shape, names, remedies = REFUSED.get(use, ("", [*TIMES, *SPANS, *BYTES, *NESTED, "struct"], {}))
    for name in names:
        if name.endswith("null"):
            continue
        said = set()
        made = features(shape % name, setting=setting()) if shape else []
        assembler = Assembler(made, [] if shape else [Column(name, use, 0.0, 1.0)])
        for rows in read:
            with pytest.raises(DataError) as caught:
                assembler.assemble(rows)
            file = rows.file_rows[0].path
            assert str(caught.value).startswith(f"{file}, column {name!r}")
            said.add(str(caught.value).removeprefix(file))
        assert len(said) == 1, said
        remedy = remedies.get(name, "store" if shape != WEIGHTED else "give")
        says(
            said.pop(), remedy if shape else "give", word(read[0].parts[0].schema.field(name).type)
        )


def word(kind: pa.DataType) -> str:
    """The first word of a type, without its parameters."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return re.split(r"[\\[<(]", str(kind))[0]
