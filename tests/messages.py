"""Messages to users: a test names their place, the value and the remedy, and leaves their wording
free."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest


def says(message: object, *parts: str) -> None:
    """Fail unless a message, or that of an error, contains all ``parts``."""
    text = str(message)
    lacking = [part for part in parts if part not in text]
    assert not lacking, f"{text!r} does not contain {lacking}"


def all_say(messages: Sequence[object], *parts: Sequence[str]) -> None:
    """Fail unless there are as many messages as tuples of parts, and each contains its own."""
    assert len(messages) == len(parts), messages
    for message, own in zip(messages, parts, strict=True):
        says(message, *own)


@contextmanager
def fails(kind: type[Exception], *parts: str) -> Iterator[None]:
    """The block must raise such an error, whose message contains all ``parts``."""
    with pytest.raises(kind) as caught:
        yield
    says(caught.value, *parts)
