"""Many texts as one buffer of bytes, so that numpy can read words of all of them at once."""

import numpy as np
import pyarrow as pa


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
