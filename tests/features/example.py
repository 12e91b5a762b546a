"""An example of a kind of feature, for the tests that send every kind through every pass."""

from dataclasses import dataclass

NUM_ROWS = 48


@dataclass(frozen=True)
class Example:
    """A kind's fields; the columns that it reads where they are raw; and what it makes of these
    just before lookup, which FG_BUCKETIZE finds in a column of the feature's name.

    The columns have names that no other kind's example uses.
    """

    fields: str
    columns: dict[str, list]
    bucketized: list


def cycled(*values: object) -> list:
    return [values[row % len(values)] for row in range(NUM_ROWS)]
