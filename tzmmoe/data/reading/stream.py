"""The bytes of CSV files: decompressed, from any one on."""

from pathlib import Path

import pyarrow as pa

from tzmmoe.data.reading.base import unreadable
from tzmmoe.errors import DataError

COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
FIRST_BYTES = 1 << 16  # enough to hold a header line
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
FAILURES = (pa.ArrowException, OSError, UnicodeDecodeError)


def stream_of(file: str, offset: int = 0) -> pa.NativeFile:
    """The decompressed bytes of a file, from one on. Raises DataError for UTF-16."""
    with pa.input_stream(file, compression="detect") as stream:
        if stream.read(2) in UTF16:
            raise DataError(f"{file}: is UTF-16; save it as UTF-8")
    if not offset:
        return pa.input_stream(file, compression="detect")
    stream = pa.OSFile(file)
    stream.seek(offset)
    return stream


def is_compressed(file: str) -> bool:
    return Path(file).suffix.lower() in COMPRESSED


def head(file: str, size: int) -> bytes:
    """The first ``size`` bytes of a file; all of a smaller one ends with a line break.

    Raises DataError if the file cannot be read.
    """
    try:
        with stream_of(file) as stream:
            content = stream.read(size)
    except FAILURES as error:
        raise unreadable(file, error) from error
    return content if len(content) == size or content.endswith(b"\n") else content + b"\n"


def first_line(file: str) -> str:
    """The first line of a file that is not empty. Raises DataError if the file cannot be read."""
    lines = head(file, FIRST_BYTES).decode("utf-8-sig", errors="replace").splitlines()
    return next(filter(None, lines), "")
