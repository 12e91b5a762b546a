"""Types of columns that features, labels, weights and groups cannot use, told before reading."""

import pyarrow as pa

from tzmmoe.data.encode import Assembler, UnfitType
from tzmmoe.data.passing import with_rows
from tzmmoe.data.reading.base import Chunk, FileRows, Source
from tzmmoe.errors import DataError

MAX_MESSAGES = 3


def check_types(source: Source, assembler: Assembler) -> None:
    """Raise DataError if a file stores a column in a type that cannot be used there. If another
    file stores it in one that can, both are named."""
    needed = assembler.needed
    files: dict[tuple[pa.DataType, ...], str] = {}  # the first one of each schema
    for file in with_rows(source):
        files.setdefault(tuple(source.types(file, needed)), file)
    faults: dict[str, UnfitType] = {}
    for kinds, file in files.items():
        rows = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in kinds], names=needed)
        try:
            assembler.assemble(Chunk(0, (rows,), (FileRows(file, 0, 0),)))
        except UnfitType as fault:
            faults[file] = fault
    if not faults:
        return
    stored = {file: dict(zip(needed, kinds, strict=True)) for kinds, file in files.items()}
    usable = [file for file in stored if file not in faults]
    messages = [_message(file, fault, stored, usable) for file, fault in faults.items()]
    raise DataError("\n".join(messages[:MAX_MESSAGES]))


def _message(
    file: str,
    fault: UnfitType,
    stored: dict[str, dict[str, pa.DataType]],
    usable: list[str],
) -> str:
    for other in usable:
        for column in fault.columns:
            kind = stored[other][column]
            if kind != stored[file][column]:
                return f"{fault}; {other} stores it as {kind}; store it as one type"
    return str(fault)
