"""How many distinct values a stream holds, in bounded memory."""

import numpy as np
import pyarrow as pa

from tzmmoe.features.forms import as_numbers, as_text, is_text
from tzmmoe.features.hashing import hash_texts

KEPT = 1 << 16
U64 = np.uint64


class Distinct:
    """Counts distinct values: exactly up to ``KEPT`` of them, beyond that to about 0.4 %.

    It keeps the KEPT smallest 64-bit hashes. Hashes are uniform, so the largest one kept tells how
    densely all of them lie: (k - 1) / u_k, as a share of 2^64. The standard error is 1 / sqrt(k).
    Beyer et al., "On Synopses for Distinct-Value Estimation Under Multiset Operations",
    SIGMOD 2007.
    """

    def __init__(self) -> None:
        self._smallest = np.zeros(0, U64)
        self.exact = True

    def add(self, flat: pa.Array) -> None:
        """Take in values without nulls."""
        fresh = hashes(flat)
        if not self.exact:
            fresh = fresh[fresh < self._smallest[-1]]
        merged = np.union1d(self._smallest, fresh)
        self.exact = self.exact and len(merged) <= KEPT
        self._smallest = merged[:KEPT]

    @property
    def count(self) -> int:
        if self.exact:
            return len(self._smallest)
        return round((KEPT - 1) / (float(self._smallest[-1]) / 2.0**64))


def hashes(flat: pa.Array) -> np.ndarray:
    """uint64 hashes (N,); numbers by their bits, which is far faster than by their text."""
    if is_text(flat.type):
        return hash_texts(as_text(flat), "MURMUR_HASH")
    if pa.types.is_integer(flat.type):
        bits = flat.to_numpy(zero_copy_only=False).astype(U64)
    else:
        bits = (as_numbers(flat) + 0.0).view(U64)  # + 0.0: -0.0 is 0.0
    with np.errstate(over="ignore"):  # the finalizer of SplitMix64
        bits = (bits ^ (bits >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> U64(27))) * U64(0x94D049BB133111EB)
    return bits ^ (bits >> U64(31))
