"""Thins out the rows of a metric of ranks, with a bound on the error, whatever their order.

As in Manku, Rajagopalan and Lindsay, "Approximate Medians and other Quantiles in One Pass and with
Limited Memory", SIGMOD 1998: where more than C rows of a class and a level have gathered, they are
sorted, and every other one moves to the next level, where it stands for twice as many. A row at
level h thus stands for 2^h rows.

The error: of c sorted rows below some value, (c + 1) // 2 or c // 2 are kept and count twice, so
that a thinning at level h changes the number of rows below any value by 0 to 2^h: upwards if the
first of each two is kept, downwards if it is the second. The two alternate, so after m thinnings
the change is at most (m + 1) // 2 * 2^h either way, and of n rows at most n / (C 2^h) thinnings
happen at level h. Summed over the L levels that n rows reach, the share of rows below any value
changes by at most (L / 2 + 1) / C. An AUC is the mean of such a share of the negatives over the
positives, and the other way round, so it changes by at most the sum for both classes. Values are
never moved, so ties remain ties. Rows of several processes are thinned in each and then joined:
the bound is that of the process with the most rows.
"""

import torch
from torch import Tensor

from tzmmoe.tasks.metrics.base import ascending

CAPACITY = 2**20  # C; even
MOST_PLACES = 2 * 64  # of two classes at 64 levels


def error_bound(num_positives: int, num_negatives: int, capacity: int = CAPACITY) -> float:
    """The largest error of an AUC of that many rows; 0 while no class has more than C."""
    bound = 0.0
    for count in (num_positives, num_negatives):
        if count > capacity:
            levels = (count // capacity).bit_length()
            bound += (levels / 2 + 1) / capacity
    return bound


def thinned(
    predictions: Tensor, places: Tensor, thinnings: Tensor, capacity: int
) -> tuple[Tensor, Tensor]:
    """At most C predictions of each class and level, with their places 2 * level + label.

    ``thinnings`` counts those of each place, and is updated.
    """
    kept: list[Tensor] = []
    kept_places: list[Tensor] = []
    moved = dict.fromkeys((0, 1), predictions[:0])  # from the level below, by label
    last = int(places.max()) if len(places) else -1
    place = 0
    while place <= last or len(moved[0]) or len(moved[1]):
        label = place % 2
        rows = torch.cat([predictions[places == place], moved[label]])
        moved[label] = predictions[:0]
        if len(rows) > capacity:
            even = len(rows) // 2 * 2
            moved[label] = ascending(rows[:even])[int(thinnings[place]) % 2 :: 2]
            thinnings[place] += 1
            rows = rows[even:]
        kept.append(rows)
        kept_places.append(torch.full_like(rows, place, dtype=torch.uint8))
        place += 1
    return torch.cat(kept), torch.cat(kept_places)
