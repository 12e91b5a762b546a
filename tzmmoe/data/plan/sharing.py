"""The rest of an epoch, divided among processes.

It is divided afresh whenever the number of processes changes, so an epoch that any number of them
began can be finished by any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from tzmmoe.data.plan.order import Pass
from tzmmoe.data.plan.span import Span, first_rows, rows_of
from tzmmoe.data.reading.base import Source
from tzmmoe.system.world import World


def count(source: Source, world: World) -> dict[str, int]:
    """The rows of each file, counted by one of the processes; empty for a single process."""
    if world.size == 1:
        return {}
    own = source.files[world.rank :: world.size]
    counts = world.each(lambda: {file: source.num_rows(file) for file in own})
    return {file: rows for part in world.gather(counts) for file, rows in part.items()}


def share(
    passes: Sequence[Pass], counts: Mapping[str, int], world: int, limit: int | None = None
) -> list[tuple[Pass, ...]]:
    """The passes of each of ``world`` processes, which together read every row exactly once.

    A partly consumed chunk stays whole, since its rows are permuted. All other rows are cut into
    one stretch for each process, so that the processes' totals differ by a row at most.
    ``counts``: the rows of each file. ``limit``: divide only the first so many of those other rows.
    """
    partial, spans = _partial_chunks([leg for leg in passes if leg.spans], counts)
    shares: list[list[Pass]] = [[] for _ in range(world)]
    loads = [0] * world
    # The largest chunk first, each to the process with the fewest rows so far: a greedy assignment
    # that leaves small differences, which the stretches then even out.
    for rows, chunk in sorted(partial, key=lambda item: -item[0]):
        least = loads.index(min(loads))
        shares[least].append(chunk)
        loads[least] += rows
    spans = list(first_rows(spans, rows_of(spans) if limit is None else limit))
    lanes = max((leg.lanes for leg in passes), default=1)
    stretches = iter(_cut(spans, _quotas(loads, rows_of(spans))))
    for rank, stretch in enumerate(stretches):
        if stretch:
            # Every process numbers its chunks from 0, so only ``part`` keeps them from drawing the
            # same permutations.
            part = None if world == 1 else rank
            fresh = replace(
                passes[0], spans=tuple(stretch), part=part, first_chunk=0, used=0, lanes=lanes
            )
            shares[rank].append(fresh)
    return [tuple(legs) for legs in shares]


def _partial_chunks(
    passes: Sequence[Pass], counts: Mapping[str, int]
) -> tuple[list[tuple[int, Pass]], list[Span]]:
    """Partly consumed chunks, each with the number of its remaining rows, and all other rows."""
    partial, others = [], []
    for leg in passes:
        # A file may have become shorter than where its span begins: no rows, not fewer than none.
        spans = [
            span if span.end is not None else replace(span, end=max(counts[span.file], span.begin))
            for span in leg.spans
        ]
        if leg.used:
            # Only the first chunk of a pass can be partly consumed, and its spans begin with it.
            head = list(first_rows(spans, leg.chunk_rows))
            remaining = rows_of(head) - leg.used
            if remaining:
                partial.append((remaining, replace(leg, spans=tuple(head))))
            spans = list(_without_first(spans, leg.chunk_rows))
        others += [span for span in spans if span.begin < span.end]
    return partial, others


def _without_first(spans: Sequence[Span], count: int) -> Iterator[Span]:
    """The spans without their first ``count`` rows; some may end up empty."""
    for span in spans:
        dropped = min(count, span.end - span.begin)
        yield replace(span, begin=span.begin + dropped)
        count -= dropped


def _quotas(loads: Sequence[int], rows: int) -> list[int]:
    """How many of ``rows`` each process gets on top of its load to make the largest total least.

    The rows are poured like water: they raise the lowest loads to a common level.
    """
    # The highest level that there are enough rows for, by bisection: ``low`` can always be reached,
    # ``high`` + 1 never.
    low, high = 0, max(loads) + rows
    while low < high:
        level = (low + high + 1) // 2  # rounded up, or low might never move
        if sum(max(level - load, 0) for load in loads) <= rows:
            low = level
        else:
            high = level - 1
    quotas = [max(low - load, 0) for load in loads]
    # There are too few spare rows for one in each process at that level, so some get one more. A
    # process whose load is above the level gets none: it has the largest total already.
    spare = rows - sum(quotas)
    for rank in islice((r for r, load in enumerate(loads) if load <= low), spare):
        quotas[rank] += 1
    return quotas


def _cut(spans: Sequence[Span], quotas: Sequence[int]) -> Iterator[list[Span]]:
    """Consecutive stretches of the spans, with as many rows as each quota says."""
    rest = list(spans)
    for quota in quotas:
        yield list(first_rows(rest, quota))
        rest = [span for span in _without_first(rest, quota) if span.begin < span.end]
