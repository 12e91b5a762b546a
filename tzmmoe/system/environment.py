"""What the process is given from outside: environment variables, which no other module reads or
sets, and the signals that stop a run."""

import atexit
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import currentframe
from types import FrameType

from tzmmoe.errors import ConfigError, Interrupted

# A run saves and ends. The first that is set counts where several came.
STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)

RESEND_DELAY_S = 0.005  # before a signal is sent again
IMPORT_FILES = "<frozen importlib"  # prefix of the files of Python's import system

HANGUP = getattr(signal, "SIGHUP", None)


class CtrlC(KeyboardInterrupt):
    """What Ctrl-C raises in a command. If KeyboardInterrupt itself leaves an exec of text, by which
    dataclasses are made during imports, ``python -m`` kills itself with SIGINT, whatever the exit
    code."""


class Signals:
    """What signals of STOPPING do in a command: the first one raises, KeyboardInterrupt for Ctrl-C
    and Interrupted for the others, but in a block that holds signals it waits for the block's end.
    A second one raises at once.

    While a module is imported, no signal raises, since native modules such as torch's may abort the
    process when an exception passes through them. In ``__del__`` and callbacks of weak references,
    Python drops what is raised. In both cases the signal is sent again a moment later.
    """

    def __init__(self) -> None:
        self._num_blocks = self._waiting = 0
        self._is_over = False
        self._base: FrameType | None = None  # which called ``catch``
        self._show_dropped = sys.unraisablehook

    def catch(self) -> None:
        """Set the handlers. What is ignored stays so: SIGHUP under nohup, and SIGINT in jobs that a
        shell starts in the background."""
        self._is_over, self._base = False, currentframe().f_back
        atexit.unregister(self._ignore)
        atexit.register(self._ignore)
        if sys.unraisablehook != self._dropped:
            self._show_dropped, sys.unraisablehook = sys.unraisablehook, self._dropped
        for signum in STOPPING:
            is_ignored = signal.getsignal(signum) is signal.SIG_IGN
            if not (is_ignored and signum in (HANGUP, signal.SIGINT)):
                signal.signal(signum, self._receive)

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """A block that a signal does not break off, unless it calls what it gets, which raises if
        one has come. Without effect in other threads, which signals never break off."""
        if threading.current_thread() is not threading.main_thread():
            yield lambda: None
            return
        self._num_blocks += 1
        try:
            yield self._act
        finally:
            self._num_blocks -= 1
            if not self._num_blocks:
                self._act()

    def end(self) -> None:
        """The command is over and its exit code is known: signals change nothing any more."""
        self._is_over = True

    def _ignore(self) -> None:
        """Python gives up its handlers while it shuts down; the next signal would be fatal."""
        for signum in STOPPING:
            signal.signal(signum, signal.SIG_IGN)

    def _dropped(self, dropped: "sys.UnraisableHookArgs") -> None:
        """The hook for exceptions that Python drops: send signals again, and show the others."""
        if isinstance(dropped.exc_value, Interrupted):
            self._send_again(dropped.exc_value.signum)
        elif isinstance(dropped.exc_value, CtrlC):
            self._send_again(signal.SIGINT)
        else:
            self._show_dropped(dropped)

    def _send_again(self, signum: int) -> None:
        """From another thread: a signal from this one would raise in here, and be dropped again."""
        main = threading.main_thread().ident

        def send() -> None:
            time.sleep(RESEND_DELAY_S)
            if not self._is_over:
                signal.pthread_kill(main, signum)

        start_new_thread(send, ())

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._is_over:
            return
        if self._imports(frame):
            self._send_again(signum)
            return
        is_first, self._waiting = not self._waiting, signum
        if not (self._num_blocks and is_first):
            self._act()

    def _imports(self, frame: FrameType | None) -> bool:
        """Whether a module is being imported where the frame is executed; an import that the whole
        command is a part of does not count."""
        while frame not in (None, self._base):
            if frame.f_code.co_filename.startswith(IMPORT_FILES):
                return True
            frame = frame.f_back
        return False

    def _act(self) -> None:
        signum, self._waiting = self._waiting, 0
        if signum == signal.SIGINT:
            raise CtrlC
        if signum:
            raise Interrupted(signum)


SIGNALS = Signals()


def variable(name: str) -> str | None:
    """The value of a variable; None if it is unset or empty."""
    return os.environ.get(name) or None


def set_default(name: str, value: str) -> None:
    """Set a variable unless it already has a value."""
    os.environ.setdefault(name, value)


def restore(name: str, value: str | None) -> None:
    """Set a variable to what ``variable`` said before."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def number(name: str, default: int, least: int = 0) -> int:
    """The integer value of a variable that torchrun sets, such as RANK or WORLD_SIZE.

    Raises:
        ConfigError: it is no integer of at least ``least``.
    """
    text = variable(name)
    if text is None:
        return default
    value = int(text) if text.strip().isdecimal() else -1
    if value < least:
        raise ConfigError.at(
            "",
            f"the environment variable {name} is {text!r}; torchrun sets it to a whole number, "
            f"{least} or more; unset it, or start with torchrun",
        )
    return value


def rank() -> int:
    """The number of this process in its run. A RANK without several processes is a leftover."""
    return number("RANK", 0) if number("WORLD_SIZE", 1, 1) > 1 else 0


def leftover() -> str:
    """What to say of a RANK without a launcher; empty if there is none."""
    text = variable("RANK")
    if text in (None, "0") or variable("WORLD_SIZE") is not None:
        return ""
    return (
        f"the environment variable RANK is {text}, but WORLD_SIZE is not set, so this is the only "
        "process of its run; unset RANK, or start several processes with torchrun"
    )
