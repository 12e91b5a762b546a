"""The footer of a Parquet file, and the types that its columns are read as.

Writers that use Arrow leave its types in the footer, some of which Arrow cannot use well. Of a
dictionary it holds all words of a row group in memory, and within a list, struct or map it cannot
read one across row groups. Of views of texts it cannot take rows, and views of lists it casts
wrongly. Such columns are read as the plain values that Parquet stores, by a footer that says so.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

ARROW_SCHEMA = b"ARROW:schema"
MAGIC = b"PAR1"
LENGTH_BYTES = 4  # of the footer's length, which stands between it and the magic at the end
VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says. ``schema``: the types that columns are read as."""

    schema: pa.Schema
    names: list[str]
    num_rows: int
    blocks: list[int]


def opened(file: str, **options: object) -> pq.ParquetFile:
    """The file, whose columns are read as plain values. ``options``: of ``pq.ParquetFile``.

    Raises what pyarrow raises.
    """
    with pq.ParquetFile(file) as parquet:
        metadata = _plain_metadata(file, parquet) or parquet.metadata
    return pq.ParquetFile(file, metadata=metadata, **options)


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, also within lists, structs and maps."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_field), _plain(kind.item_field), kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([_plain(field) for field in kind])
    for test, make in LISTS:
        if test(kind):
            return make(_plain(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_field), kind.list_size)
    return VIEWS.get(kind, kind)


LISTS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Field], pa.DataType]]] = [
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_),
    (pa.types.is_large_list_view, pa.large_list),
]


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(plain(field.type))


def _plain_metadata(file: str, parquet: pq.ParquetFile) -> pq.FileMetaData | None:
    """The file's metadata with plain types; None if its own has no others."""
    stored = (parquet.metadata.metadata or {}).get(ARROW_SCHEMA)
    schema = parquet.schema_arrow
    if stored is None or all(plain(kind) == kind for kind in schema.types):
        return None
    arrow = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
    simple = pa.schema([_plain(field) for field in arrow], arrow.metadata)
    with open(file, "rb") as content:
        end = LENGTH_BYTES + len(MAGIC)
        content.seek(-end, 2)
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        content.seek(-end - length, 2)
        footer = content.read(length)
    # In the footer, which is in Thrift's compact protocol, a text is its length and its bytes, and
    # nothing else counts them.
    new = base64.b64encode(simple.serialize().to_pybytes())
    footer = footer.replace(_number(len(stored)) + stored, _number(len(new)) + new)
    length_bytes = len(footer).to_bytes(LENGTH_BYTES, "little")
    return pq.read_metadata(pa.BufferReader(MAGIC + footer + length_bytes + MAGIC))


def _number(number: int) -> bytes:
    """Thrift's varint: seven bits a byte, the lowest first, all but the last one marked."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
