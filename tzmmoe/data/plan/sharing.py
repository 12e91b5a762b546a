"""What is left of an epoch, shared out among processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from tzmmoe.data.plan.order import Pass, Span
from tzmmoe.data.reading.base import Source
from tzmmoe.system.world import World


def count(source: Source, world: World) -> dict[str, int]:
    """Rows of the files, each counted by one of the processes; nothing for one process."""
    if world.size == 1:
        return {}
    own = source.files[world.rank :: world.size]
    counted = world.each(lambda: {file: source.num_rows(file) for file in own})
    return {file: rows for part in world.gather(counted) for file, rows in part.items()}


def share(
    passes: Sequence[Pass], counts: Mapping[str, int], world: int, limit: int | None = None
) -> list[tuple[Pass, ...]]:
    """What each of ``world`` processes reads, so that each row is read by one of them.

    Chunks of which a part is consumed stay whole, for their rows are permuted. All others are cut
    into stretches, as long as makes the processes' rows equal but for one. ``counts``: rows of the
    files. ``limit``: share out so many rows only, the first ones.
    """
    opened, spans = _opened([each for each in passes if each.spans], counts)
    shares: list[list[Pass]] = [[] for _ in range(world)]
    loads = [0] * world
    for rows, chunk in sorted(opened, key=lambda item: -item[0]):
        least = loads.index(min(loads))
        shares[least].append(chunk)
        loads[least] += rows
    spans = list(first_rows(spans, rows_of(spans) if limit is None else limit))
    stretches = iter(_cut(spans, _quotas(loads, rows_of(spans))))
    for rank, stretch in enumerate(stretches):
        if stretch:
            part = None if world == 1 else rank
            fresh = replace(passes[0], spans=tuple(stretch), part=part, first_chunk=0, used=0)
            shares[rank].append(fresh)
    return [tuple(each) for each in shares]


def rows_of(spans: Sequence[Span]) -> int:
    """Of spans whose ends are known."""
    return sum(span.end - span.begin for span in spans)


def first_rows(spans: Sequence[Span], count: int) -> Iterator[Span]:
    """The first ``count`` rows of spans."""
    for span in spans:
        taken = min(count, span.end - span.begin)
        if taken:
            yield replace(span, end=span.begin + taken)
        count -= taken


def _opened(
    passes: Sequence[Pass], counts: Mapping[str, int]
) -> tuple[list[tuple[int, Pass]], list[Span]]:
    """Chunks of which a part is consumed, each with its rows that are left, and all other rows."""
    opened, others = [], []
    for each in passes:
        spans = [
            span if span.end is not None else replace(span, end=max(counts[span.file], span.begin))
            for span in each.spans
        ]
        if each.used:
            head = list(first_rows(spans, each.chunk_rows))
            left = rows_of(head) - each.used
            if left:
                opened.append((left, replace(each, spans=tuple(head))))
            spans = list(_without_first(spans, each.chunk_rows))
        others += [span for span in spans if span.begin < span.end]
    return opened, others


def _without_first(spans: Sequence[Span], count: int) -> Iterator[Span]:
    for span in spans:
        dropped = min(count, span.end - span.begin)
        yield replace(span, begin=span.begin + dropped)
        count -= dropped


def _quotas(loads: Sequence[int], rows: int) -> list[int]:
    """How many of ``rows`` each process gets beside its load, so that the largest sum is least."""
    low, high = 0, max(loads) + rows
    while low < high:  # the highest level that the rows fill
        level = (low + high + 1) // 2
        if sum(max(level - load, 0) for load in loads) <= rows:
            low = level
        else:
            high = level - 1
    quotas = [max(low - load, 0) for load in loads]
    over = rows - sum(quotas)
    for rank in islice((r for r, load in enumerate(loads) if load <= low), over):
        quotas[rank] += 1
    return quotas


def _cut(spans: Sequence[Span], quotas: Sequence[int]) -> Iterator[list[Span]]:
    """Stretches of so many rows, one after the other."""
    rest = list(spans)
    for quota in quotas:
        yield list(first_rows(rest, quota))
        rest = [span for span in _without_first(rest, quota) if span.begin < span.end]
