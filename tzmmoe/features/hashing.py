"""Hashes of many texts at once, straight from an Arrow buffer.

``murmur`` is MurmurHash64A (Appleby, 2008) with libstdc++'s seed, ``farm`` is FarmHash's
Fingerprint64. Both read little-endian 8-byte words of all texts at once; no Python runs for a
single text.
"""

import numpy as np
import pyarrow as pa

from tzmmoe.features.farmhash import farm
from tzmmoe.features.texts import Texts

U64 = np.uint64
SEED = U64(0xC70F6907)
M = U64(0xC6A4A7935BD1E995)
BLOCK = 1 << 14  # texts at a time: their temporaries stay in the processor's cache


def hash_texts(texts: pa.Array, function: str) -> np.ndarray:
    """uint64 hashes (N,) of a string array without nulls; ``function`` is a word of FUNCTIONS."""
    read = Texts(texts)
    hashes = np.empty(len(texts), U64)
    with np.errstate(over="ignore"):
        for begin in range(0, len(texts), BLOCK):
            part = slice(begin, begin + BLOCK)
            hashes[part] = FUNCTIONS[function](read, read.start[part], read.length[part])
    return hashes


def murmur(texts: Texts, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """MurmurHash64A of the texts that begin at ``start``."""
    h = SEED ^ (length.astype(U64) * M)
    words = length >> 3
    for index in range(int(words.max(initial=0))):
        rows = np.flatnonzero(words > index)
        k = texts.words(start[rows] + 8 * index) * M
        k ^= k >> U64(47)
        k *= M
        h[rows] = (h[rows] ^ k) * M
    tail = (length & 7).astype(U64)
    mask = (U64(1) << (tail << U64(3))) - U64(1)
    mixed = (h ^ (texts.words(start + (words << 3)) & mask)) * M
    h = np.where(tail > 0, mixed, h)
    h ^= h >> U64(47)
    h *= M
    h ^= h >> U64(47)
    return h


FUNCTIONS = {"MURMUR_HASH": murmur, "FARM_HASH": farm}
