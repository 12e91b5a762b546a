"""Encoding in threads, while batches are consumed."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tzmmoe.data.assemble import Rows
from tzmmoe.data.base import Chunk


class Background:
    """Applies ``encode`` to a stream of chunks in threads, and gives the results in order.

    One thread draws from the stream, ``num_workers`` threads encode; at most ``num_workers`` + 1
    chunks are ahead. What a thread raises is raised where the result is asked for.
    """

    def __init__(
        self, stream: Iterator[Chunk], encode: Callable[[Chunk], Rows], num_workers: int
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._num_workers = num_workers
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="encode")

    def __iter__(self) -> Iterator[tuple[Chunk, Rows]]:
        ahead: deque[Future] = deque()
        while True:
            while len(ahead) <= self._num_workers:
                drawn = self._reader.submit(next, self._stream, None)
                ahead.append(self._pool.submit(self._finish, drawn))
            encoded = ahead.popleft().result()
            if encoded is None:
                return
            yield encoded

    def _finish(self, drawn: Future) -> tuple[Chunk, Rows] | None:
        chunk = drawn.result()
        return None if chunk is None else (chunk, self._encode(chunk))

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
