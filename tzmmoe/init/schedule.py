"""How long to train, and in which steps, by the number of rows."""

import math
from dataclasses import dataclass

STEPS = 300  # of a pass, at least
ALL_STEPS = 2000  # of the run, where that takes no more than LONGEST passes
SMALLEST, LARGEST = 32, 4096  # batches
LONGEST = 10


@dataclass(frozen=True)
class Schedule:
    """``batch_size`` rows a step, a power of two; ``num_epochs`` passes."""

    batch_size: int
    num_epochs: int

    @classmethod
    def of(cls, num_rows: int) -> "Schedule":
        power = 2 ** int(math.log2(max(num_rows / STEPS, 1)))
        size = min(max(power, SMALLEST), LARGEST)
        steps = max(num_rows / size, 1)
        return cls(size, min(math.ceil(ALL_STEPS / steps), LONGEST))
