"""The loops of two hashes over one long text, in Python's own integers.

Each step needs the result of the one before, so that numpy, which takes a step for many texts at
once, would spend its time on calls: for one text a step is about forty times faster here.
"""

from collections.abc import Iterator, Sequence

import numpy as np

FEW = 32  # fewer texts are faster one by one than together
SHORT = 8  # rounds; fewer are not worth the arrays of each text
PART = 4096  # rounds at a time, so that a long text takes little memory

MASK = (1 << 64) - 1
K1 = 0xB492B66FBE98F273  # of FarmHash
M = 0xC6A4A7935BD1E995  # of MurmurHash64A


def rounds_together(rounds: np.ndarray) -> int:
    """How many rounds texts of so many ``rounds`` (N,) take together before the longest go on one
    by one."""
    most = int(rounds.max(initial=0))
    if most <= SHORT:
        return most
    together = int(np.sort(rounds)[-FEW]) if len(rounds) >= FEW else 0
    return most if most - together <= SHORT else together


def farm_rounds(blocks: np.ndarray, state: Sequence[int]) -> Sequence[int]:
    """The state x, y, z, v0, v1, w0, w1 after the blocks (N, 8) uint64 of a text.

    The sums of a block's words are numpy's, for many blocks at once. What is masked is what a later
    shift or comparison of bits would see; products and sums may be longer than 64 bits in between.
    """
    x, y, z, v0, v1, w0, w1 = map(int, state)
    mask, k1 = MASK, K1  # local names are faster
    for b1, b6, b5, v_all, v_ends, v_three, b0, w_all, w_ends, w_three, b4 in _sums(blocks):
        t = (x + y + v0 + b1) & mask
        x = ((t >> 37 | t << 27) * k1 ^ w1) & mask
        t = (y + v1 + b6) & mask
        y = ((t >> 42 | t << 22) * k1 + v0 + b5) & mask
        t = (z + w0) & mask
        z = (t >> 33 | t << 31) * k1 & mask
        a = v1 * k1
        t = (x + w0 + a + v_ends) & mask
        u = (a + v_three) & mask
        v0 = a + v_all
        v1 = ((t >> 21 | t << 43) + (u >> 44 | u << 20) + a + b0) & mask
        a = z + w1
        t = (y + a + w_ends) & mask
        u = (a + w_three) & mask
        w0 = a + w_all
        w1 = ((t >> 21 | t << 43) + (u >> 44 | u << 20) + a + b4) & mask
        x, z = z, x
    return x, y, z, v0 & mask, v1, w0 & mask, w1


def _sums(blocks: np.ndarray) -> Iterator[tuple[int, ...]]:
    """For each block, what ``farm_rounds`` adds."""
    for begin in range(0, len(blocks), PART):
        b0, b1, b2, b3, b4, b5, b6, b7 = blocks[begin : begin + PART].T
        v_three, w_three = b0 + b1 + b2, b4 + b5 + b6
        v_all, w_all = v_three + b3, w_three + b7
        columns = (b1, b6, b5, v_all, b0 + b3, v_three, b0, w_all, b2 + b4 + b7, w_three, b4)
        yield from zip(*(column.tolist() for column in columns), strict=True)


def murmur_rounds(words: np.ndarray, state: int) -> int:
    """The state after the words (N,) uint64 of a text, each of them mixed already."""
    h, mask, m = int(state), MASK, M
    for begin in range(0, len(words), 8 * PART):
        for word in words[begin : begin + 8 * PART].tolist():
            h = (h ^ word) * m & mask
    return h
