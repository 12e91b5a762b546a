"""A file that is another zip archive to another reader."""

import struct

END = struct.Struct("<4s4H2LH")  # the last record of a zip file: what, 4 counts, size, offset, 0


def two_in_one(first: bytes, second: bytes) -> bytes:
    """A zip file in which a reader that trusts the offset of the directory of names finds that of
    ``first``, and one that looks before the last record, as Python does, finds that of ``second``.
    """
    counts, size, offset = _end(first)
    _, own_size, own_offset = _end(second)
    directory = bytearray(second[own_offset:][:own_size])
    at, place = len(first) - END.size, 0
    moved = at + own_offset - offset  # what Python will add to the places of the entries
    while place < own_size:
        start = struct.unpack_from("<L", directory, place + 42)[0]
        struct.pack_into("<L", directory, place + 42, at + start - moved)
        last, place = place, place + 46 + sum(struct.unpack_from("<3H", directory, place + 28))
    struct.pack_into("<H", directory, last + 32, size - own_size)  # a comment as padding
    directory += b" " * (size - own_size)
    end = END.pack(b"PK\5\6", 0, 0, counts, counts, size, offset, 0)
    return first[:at] + second[:own_offset] + bytes(directory) + end


def _end(content: bytes) -> tuple[int, int, int]:
    """Entries, and size and offset of the directory."""
    _, _, _, counts, _, size, offset, _ = END.unpack(content[-END.size :])
    return counts, size, offset
