"""Messages to users: a test names their place, the value and the remedy, and leaves their wording
free."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def says(message: object, *parts: str) -> None:
    """Fail unless a message, or that of an error, contains all ``parts``."""
    text = str(message)
    lacking = [part for part in parts if part not in text]
    assert not lacking, f"{text!r} does not contain {lacking}"


@contextmanager
def fails(kind: type[Exception], *parts: str) -> Iterator[None]:
    """The block must raise such an error, whose message contains all ``parts``."""
    with pytest.raises(kind) as caught:
        yield
    says(caught.value, *parts)
