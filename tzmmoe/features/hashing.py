"""Hashes of many texts at once: FarmHash's Fingerprint64 (Pike and Alakuijala, 2014), MurmurHash64A
(Appleby, 2008)."""

import numpy as np
import pyarrow as pa

from tzmmoe.features.longtexts import farm_rounds, murmur_rounds, rounds_together
from tzmmoe.features.native import LONG, SEED, compiled


class Texts:
    """The bytes of N texts: text i is ``bytes[start[i] : start[i] + length[i]]``."""

    def __init__(self, texts: pa.Array) -> None:
        """``texts`` is a string or large_string array without nulls."""
        wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
        _, offsets, content = texts.buffers()
        offsets = np.frombuffer(offsets, np.int64 if wide else np.int32) if offsets else np.zeros(1)
        ends = offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        first, last = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
        raw = np.zeros(last - first + 8, np.uint8)  # 8 more, so that a word may be read anywhere
        if last > first:
            raw[:-8] = np.frombuffer(content, np.uint8)[first:last]
        self.start = ends[:-1] - first
        self.length = np.diff(ends)
        self._words = np.ndarray(len(raw) - 7, "<u8", buffer=raw, strides=(1,))
        self._halves = np.ndarray(len(raw) - 3, "<u4", buffer=raw, strides=(1,))
        self._bytes = raw

    def words(self, at: np.ndarray) -> np.ndarray:
        """The 8 bytes from each position on, as uint64."""
        return self._words[at]

    def halves(self, at: np.ndarray) -> np.ndarray:
        """The 4 bytes from each position on, as uint64."""
        return self._halves[at].astype(np.uint64)

    def bytes(self, at: np.ndarray) -> np.ndarray:
        return self._bytes[at].astype(np.uint64)

    def text(self, at: int, length: int) -> bytes:
        return self._bytes[at : at + length].tobytes()

    def run(self, at: int, count: int) -> np.ndarray:
        """``count`` words that follow each other, from a position on."""
        return self._bytes[at : at + 8 * count].view("<u8")


U64 = np.uint64
K0 = U64(0xC3A5C85C97CB3127)
K1 = U64(0xB492B66FBE98F273)
K2 = U64(0x9AE16A3B2F90404F)


def farm(texts: Texts, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Fingerprint64 of the texts that begin at ``start``."""
    hashes = np.empty(len(length), U64)
    for low, high, function in (
        (0, 0, _farm_empty),
        (1, 3, _farm_1_to_3),
        (4, 7, _farm_4_to_7),
        (8, 16, _farm_8_to_16),
        (17, 32, _farm_17_to_32),
        (33, 64, _farm_33_to_64),
        (65, None, _farm_long),
    ):
        chosen = (length >= low) if high is None else (length >= low) & (length <= high)
        rows = np.flatnonzero(chosen)
        if len(rows):
            hashes[rows] = function(texts, start[rows], length[rows].astype(U64))
    return hashes


def _rotate(v: np.ndarray, by: int) -> np.ndarray:
    return (v >> U64(by)) | (v << U64(64 - by))


def _shift_mix(v: np.ndarray) -> np.ndarray:
    return v ^ (v >> U64(47))


def _mix(u: np.ndarray, v: np.ndarray, mul: np.ndarray | np.uint64) -> np.ndarray:
    a = (u ^ v) * mul
    a ^= a >> U64(47)
    b = (v ^ a) * mul
    b ^= b >> U64(47)
    return b * mul


def _farm_empty(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.full(len(n), K2)


def _farm_1_to_3(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    size = n.astype(np.int64)
    a, b, c = (texts.bytes(start + at) for at in (0 * size, size >> 1, size - 1))
    y = a + (b << U64(8))
    z = n + (c << U64(2))
    return _shift_mix((y * K2) ^ (z * K0)) * K2


def _farm_4_to_7(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    end = start + n.astype(np.int64)
    return _mix(n + (texts.halves(start) << U64(3)), texts.halves(end - 4), K2 + n * U64(2))


def _farm_8_to_16(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    end = start + n.astype(np.int64)
    mul = K2 + n * U64(2)
    a = texts.words(start) + K2
    b = texts.words(end - 8)
    c = _rotate(b, 37) * mul + a
    d = (_rotate(a, 25) + b) * mul
    return _mix(c, d, mul)


def _farm_17_to_32(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    end = start + n.astype(np.int64)
    mul = K2 + n * U64(2)
    a = texts.words(start) * K1
    b = texts.words(start + 8)
    c = texts.words(end - 8) * mul
    d = texts.words(end - 16) * K2
    return _mix(_rotate(a + b, 43) + _rotate(c, 30) + d, a + _rotate(b + K2, 18) + c, mul)


def _farm_33_to_64(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    end = start + n.astype(np.int64)
    mul = K2 + n * U64(2)
    a = texts.words(start) * K2
    b = texts.words(start + 8)
    c = texts.words(end - 8) * mul
    d = texts.words(end - 16) * K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _mix(y, a + _rotate(b + K2, 18) + c, mul)
    e = texts.words(start + 16) * mul
    f = texts.words(start + 24)
    g = (y + texts.words(end - 32)) * mul
    h = (z + texts.words(end - 24)) * mul
    return _mix(_rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g, mul)


def _weak_32(texts: Texts, at: np.ndarray, a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """WeakHashLen32WithSeeds of the 32 bytes from ``at`` on."""
    w, x, y, z = (texts.words(at + 8 * index) for index in range(4))
    a = a + w
    b = _rotate(b + a + z, 21)
    c = a
    a = a + x + y
    b = b + _rotate(a, 44)
    return [a + z, b + c]


def _farm_long(texts: Texts, start: np.ndarray, n: np.ndarray) -> np.ndarray:
    """More than 64 bytes: 56 bytes of state take in 64 at a time, for all texts together and for
    the rest of a few long ones one by one."""
    seed = U64(81)
    size = n.astype(np.int64)
    y = np.full(len(n), seed * K1 + U64(113))
    z = _shift_mix(y * K2 + U64(113)) * K2
    v = [np.zeros(len(n), U64), np.zeros(len(n), U64)]
    w = [np.zeros(len(n), U64), np.zeros(len(n), U64)]
    x = seed * K2 + texts.words(start)
    rounds = (size - 1) >> 6
    together = rounds_together(rounds)
    for index in range(together):
        rows = np.flatnonzero(rounds > index)
        at = start[rows] + 64 * index
        state = _farm_round(texts, at, [each[rows] for each in (x, y, z, *v, *w)], K1, None)
        for each, new in zip((x, y, z, *v, *w), state, strict=True):
            each[rows] = new
    for row in np.flatnonzero(rounds > together):
        blocks = texts.run(start[row] + 64 * together, 8 * (rounds[row] - together)).reshape(-1, 8)
        state = farm_rounds(blocks, [each[row] for each in (x, y, z, *v, *w)])
        for each, new in zip((x, y, z, *v, *w), state, strict=True):
            each[row] = new
    mul = K1 + ((z & U64(0xFF)) << U64(1))
    w[0] = w[0] + ((n - U64(1)) & U64(63))
    v[0] = v[0] + w[0]
    w[0] = w[0] + v[0]
    x, y, z, *vw = _farm_round(texts, start + size - 64, [x, y, z, *v, *w], mul, U64(9))
    return _mix(
        _mix(vw[0], vw[2], mul) + _shift_mix(y) * K0 + z,
        _mix(vw[1], vw[3], mul) + x,
        mul,
    )


def _farm_round(
    texts: Texts,
    at: np.ndarray,
    state: list[np.ndarray],
    mul: np.ndarray | np.uint64,
    last: np.uint64 | None,
) -> list[np.ndarray]:
    """Take in 64 bytes. ``last`` is the factor of the final round, None in the others."""
    x, y, z, v0, v1, w0, w1 = state
    x = _rotate(x + y + v0 + texts.words(at + 8), 37) * mul
    y = _rotate(y + v1 + texts.words(at + 48), 42) * mul
    x = x ^ (w1 if last is None else w1 * last)
    y = y + (v0 if last is None else v0 * last) + texts.words(at + 40)
    z = _rotate(z + w0, 33) * mul
    v = _weak_32(texts, at, v1 * mul, x + w0)
    w = _weak_32(texts, at + 32, z + w1, y + texts.words(at + 16))
    return [z, y, x, *v, *w]


M = U64(0xC6A4A7935BD1E995)
BLOCK = 1 << 14  # texts at a time: their temporaries stay in the processor's cache


def hash_texts(texts: pa.Array, function: str) -> np.ndarray:
    """uint64 hashes (N,) of a string array without nulls; ``function`` is a word of FUNCTIONS."""
    read = Texts(texts)
    hashes = np.empty(len(texts), U64)
    for begin in range(0, len(texts), BLOCK):
        part = slice(begin, begin + BLOCK)
        hashes[part] = _hash_block(read, read.start[part], read.length[part], function)
    return hashes


def _hash_block(texts: Texts, start: np.ndarray, length: np.ndarray, function: str) -> np.ndarray:
    rows = np.flatnonzero(length > LONG)
    hash_bytes = compiled(function) if len(rows) else None
    is_short = slice(None) if hash_bytes is None else length <= LONG
    hashes = np.empty(len(length), U64)
    with np.errstate(over="ignore"):
        hashes[is_short] = FUNCTIONS[function](texts, start[is_short], length[is_short])
    if hash_bytes is not None:
        for row in rows:
            hashes[row] = hash_bytes(texts.text(start[row], length[row]))
    return hashes


def murmur(texts: Texts, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """MurmurHash64A of the texts that begin at ``start``."""
    h = U64(SEED) ^ (length.astype(U64) * M)
    words = length >> 3
    together = rounds_together(words)
    for index in range(together):
        rows = np.flatnonzero(words > index)
        k = _murmur_mixed(texts.words(start[rows] + 8 * index))
        h[rows] = (h[rows] ^ k) * M
    for row in np.flatnonzero(words > together):
        k = _murmur_mixed(texts.run(start[row] + 8 * together, words[row] - together))
        h[row] = murmur_rounds(k, h[row])
    tail = (length & 7).astype(U64)
    mask = (U64(1) << (tail << U64(3))) - U64(1)
    mixed = (h ^ (texts.words(start + (words << 3)) & mask)) * M
    h = np.where(tail > 0, mixed, h)
    h ^= h >> U64(47)
    h *= M
    h ^= h >> U64(47)
    return h


def _murmur_mixed(words: np.ndarray) -> np.ndarray:
    k = words * M
    k ^= k >> U64(47)
    k *= M
    return k


FUNCTIONS = {"MURMUR_HASH": murmur, "FARM_HASH": farm}
