"""The zip archive of a program: plain entries, one way to read it, and no more than it weighs."""

import struct
import zipfile
from pathlib import Path

from tzmmoe.errors import CheckpointError

MOST_ENTRIES = 100_000  # each weight and each constant is one
END = struct.Struct("<4s4H2LH")  # mark, 4 counts, size and offset of the directory, comment
LOCATOR = struct.Struct("<4sLQL")  # mark, disk, offset of END_64, disks
END_64 = struct.Struct("<4sQ2H2L4Q")  # mark, rest's size, versions, disks, 2 counts, size, offset
DOSSIER_BYTES = 1 << 9  # of the directory for one entry; torch's names take fewer


def entries_of(path: Path) -> list[str]:
    """The names of the entries, which are all stored as they are.

    torch writes archives without compression, so the content takes no more memory than the file
    does on disk.

    Raises:
        CheckpointError: an entry is compressed or shares its bytes with another one, there are too
            many, or two readers could see different entries.
        OSError, zipfile.BadZipFile, ValueError: the file cannot be read.
    """
    size_bytes = path.stat().st_size
    _check_end(path, size_bytes)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    for info in infos:
        plain = info.compress_type == zipfile.ZIP_STORED and info.flag_bits & 1 == 0
        if not plain or info.compress_size != info.file_size:
            raise rejected(path, f"its entry {info.filename!r}", "is compressed or encrypted")
    if sum(info.file_size for info in infos) > size_bytes:
        raise rejected(path, "its entries", "claim more bytes than the file has")
    return [info.filename for info in infos]


def rejected(path: Path, what: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: rejected, since {what} {why}; export the model again")


def _check_end(path: Path, size_bytes: int) -> None:
    """Raise CheckpointError unless the directory of entries lies where every reader looks for it.

    Readers differ in what they do about bytes before the first entry, after the last record, or
    between the two records of the end; so there may be none. The directory is read only after its
    size is known to be modest.
    """
    tail_bytes = min(size_bytes, END.size + LOCATOR.size + END_64.size)
    with path.open("rb") as file:
        file.seek(size_bytes - tail_bytes)
        tail = file.read()
    if len(tail) < END.size:
        raise zipfile.BadZipFile("is too short for an archive")
    mark, _, _, _, count, size, offset, comment = END.unpack(tail[-END.size :])
    if mark != b"PK\x05\x06" or comment:
        raise zipfile.BadZipFile("does not end like an archive")
    end, wide = size_bytes - END.size, tail[: -END.size]
    if wide[-LOCATOR.size :][:4] == b"PK\x06\x07":
        end -= LOCATOR.size + END_64.size
        record = END_64.unpack(wide[: END_64.size].ljust(END_64.size, b"\0"))
        narrow, (count, size, offset) = (count, size, offset), record[-3:]
        most = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        agree = all(a in (b, top) for a, b, top in zip(narrow, record[-3:], most, strict=True))
        place = LOCATOR.unpack(wide[-LOCATOR.size :])[2]
        if record[0] != b"PK\x06\x06" or place != end or not agree:
            raise rejected(path, "its list of entries", "can be read in two ways")
    if offset + size != end:
        raise rejected(path, "its list of entries", "can be read in two ways")
    if count > MOST_ENTRIES or size > count * DOSSIER_BYTES:
        raise rejected(path, "its list of entries", f"has more than {MOST_ENTRIES:,}, or long ones")
