"""Chunks that are read and encoded ahead in threads, in order."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from tzmmoe.data.encode import Rows
from tzmmoe.data.reading.base import Chunk
from tzmmoe.data.reading.parts import without_rows

IN_FLIGHT_BYTES = 24 << 20  # of chunks that are encoded ahead, if that is more than one


class Background:
    """Applies ``encode`` to a stream of chunks in threads, and yields the results in order.

    One thread reads the stream and ``num_workers`` threads encode; at most ``num_workers`` + 1
    chunks are in flight, and fewer if those are large. What is yielded of a chunk is without its
    rows. An exception in a thread is raised where its result would be yielded. Once ``close`` has
    returned, no thread uses the stream, wherever the thread that iterates was interrupted.
    """

    def __init__(
        self, stream: Iterator[Chunk], encode: Callable[[Chunk], Rows], num_workers: int
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._num_workers = num_workers
        self._largest: int | None = None  # bytes of a chunk
        self._reading = threading.Lock()
        self._is_closed = False
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="encode")

    def __iter__(self) -> Iterator[tuple[Chunk, Rows]]:
        ahead: deque[Future] = deque()
        while True:
            while self._has_room(len(ahead)):
                chunk = self._reader.submit(self._read_next)
                ahead.append(self._pool.submit(self._encode_next, chunk))
            encoded = ahead.popleft().result()
            if encoded is None:
                return
            yield encoded

    def _has_room(self, num_ahead: int) -> bool:
        """Whether another chunk may be read; until the first one is, nobody knows their size."""
        if num_ahead == 0:
            return True
        is_few = self._largest is not None and (num_ahead + 1) * self._largest <= IN_FLIGHT_BYTES
        return is_few and num_ahead <= self._num_workers

    def _read_next(self) -> Chunk | None:
        with self._reading:
            return None if self._is_closed else next(self._stream, None)

    def _encode_next(self, future: Future) -> tuple[Chunk, Rows] | None:
        chunk = future.result()
        if chunk is None:
            return None
        self._largest = max(self._largest or 0, chunk.num_bytes)
        rows = self._encode(chunk)
        # Its encoded rows may wait here for long; of those of the files only the types are needed.
        return replace(chunk, parts=tuple(map(without_rows, chunk.parts))), rows

    def close(self) -> None:
        with self._reading:
            self._is_closed = True
        self._reader.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
