"""What a file holds whose suffix does not say it: by its first bytes."""

import shlex
from pathlib import Path

from tzmmoe.data.reading.csv import DELIMITERS
from tzmmoe.errors import DataError

FIRST_BYTES = 1 << 16
MAGIC = {
    b"PAR1": "ParquetDataset",
    b"ARROW1": "feather",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"\x80": "pickle",
    b"ORC": "orc",
    b"Obj\x01": "avro",
    b"SQLite format 3": "sqlite",
    b"\x89HDF": "hdf5",
}
TO_PARQUET = {
    "feather": (
        "an Arrow (Feather) file",
        "from pyarrow import feather, parquet; parquet.write_table(feather.read_table({}), {})",
    ),
    "orc": (
        "an ORC file",
        "from pyarrow import orc, parquet; parquet.write_table(orc.read_table({}), {})",
    ),
    "json": (
        "JSON lines",
        "from pyarrow import json, parquet; parquet.write_table(json.read_json({}), {})",
    ),
    "pickle": ("a pickle", "import pandas; pandas.read_pickle({}).to_parquet({})"),
}


def dataset_type(file: str) -> str:
    """ParquetDataset or CsvDataset.

    Raises:
        DataError: neither; says how to make the file one of them.
    """
    with open(file, "rb") as stream:
        first = stream.read(FIRST_BYTES)
    kind = next((kind for magic, kind in MAGIC.items() if first.startswith(magic)), "")
    if kind == "ParquetDataset":
        return kind
    if not kind and first.lstrip()[:1] in (b"{", b"["):
        kind = "json"
    if kind in TO_PARQUET:
        what, code = TO_PARQUET[kind]
        code = code.format(repr(file), repr(str(Path(file).with_suffix(".parquet"))))
        quoted = shlex.quote(code) if set(code) & set('"$`\\') else f'"{code}"'
        raise DataError(f"{file}: is {what}; write it as Parquet:\n  python -c {quoted}")
    if kind == "zip":
        raise DataError(f"{file}: is a zip archive or an Excel sheet; unpack it or save it as CSV")
    if kind == "gzip":
        raise DataError(f"{file}: is compressed; give it a name that ends in .csv.gz")
    if kind or b"\0" in first:
        raise DataError(f"{file}: is neither Parquet nor text; save it as Parquet or CSV")
    line = first.partition(b"\n")[0].decode("utf-8", "replace")
    if "::" in line and not any(mark in line for mark in DELIMITERS):
        raise DataError(
            f"{file}: its columns are separated by '::', which is more than one character; write "
            f"it with tabs: sed 's/::/\\t/g' {shlex.quote(file)} > {Path(file).stem}.tsv"
        )
    return "CsvDataset"
