"""Standard output, whose reader may leave before the end, as after ``| head``."""

import os
import select
import sys


def flush() -> bool:
    """Write what was printed so far. Returns False if nobody reads it any more.

    Raises OSError if it cannot be written for another reason, such as a full disk. In both cases
    the rest is dropped; otherwise Python would try again, and report it, while exiting.
    """
    if sys.stdout is None:  # closed before the command started
        return True
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        raise
    return True


def is_unread() -> bool:
    """Whether stdout is a pipe that nobody reads."""
    if sys.stdout is None:
        return False
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
