"""What a user can repair. The command lines print these without traceback and exit with 2."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches

NO_SCHEMA = "the compiled schema (tzmmoe/protos) is not there, or not complete; run: make proto"


class UserError(Exception):
    """The message says where, what was found, and what to do.

    ``is_shared``: all processes of the run raise it.
    """

    is_shared = False

    @classmethod
    def saying(cls, text: str) -> "UserError":
        """One with this message."""
        return cls(text)


class DataError(UserError):
    """A file, a column or a value that cannot be read as the config says."""


class CheckpointError(UserError):
    """A checkpoint or an export that is missing, damaged, or not of this model."""


class NotFiniteError(UserError):
    """A loss became NaN or infinite."""


class LostProcessError(UserError):
    """Another process of the run does not answer."""


class Interrupted(Exception):
    """A signal asked the run to stop, and it stopped after saving."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


@dataclass(frozen=True)
class Fault:
    """One fault of the config: the field's path, as ``model_config.mmoe.num_expert``, and what
    is wrong with it. ``where`` is the file and line when the text shows it. ``lost`` says that the
    text at the path could not be read, so that the setting is missing in the message."""

    path: str
    text: str
    where: str = ""
    lost: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.path}: {self.text}" if self.path else f"{place}{self.text}"


class ConfigError(UserError):
    """Faults of the config, all that could be found at once."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def saying(cls, text: str) -> "ConfigError":
        return cls.at("", text)

    @classmethod
    def at(cls, path: str, text: str) -> "ConfigError":
        return cls([Fault(path, text)])


class Faults(list[Fault]):
    """Collects faults, so that a user sees them all at once."""

    def add(self, path: str, text: str) -> None:
        self.append(Fault(path, text))

    @contextmanager
    def under(self, path: str) -> Iterator[None]:
        """Collect what the body raises as ConfigError, with ``path`` before its paths."""
        try:
            with within(path):
                yield
        except ConfigError as error:
            self.extend(error.faults)

    def stop(self, locate: Callable[[Fault], Fault] | None = None) -> None:
        """Raise ConfigError when there are any, each once, in the order of the text.

        ``locate`` puts a fault where the user wrote it. One that only follows from another is left
        out.
        """
        if not self:
            return
        found = list(dict.fromkeys(map(locate, self))) if locate else list(self)
        lost = [fault.path for fault in found if fault.lost]
        own = [f for f in found if f.lost or not any(_follows(f, path) for path in lost)]
        raise ConfigError(sorted(own, key=_order) if locate else own)


def _order(fault: Fault) -> float:
    """Flags first, then line by line, then what the text lacks."""
    if not fault.where or fault.where.startswith("--"):
        return 0
    _, _, line = fault.where.rpartition(":")
    return int(line) if line.isdecimal() else math.inf


def _follows(fault: Fault, lost: str) -> bool:
    """Whether a fault only says that the setting at the path ``lost`` is missing."""
    if not lost:  # the text breaks off
        return True
    lost = re.sub(r"\[\d+\]$", "", lost)
    owner, _, name = lost.rpartition(".")
    if fault.path == owner or lies_in(fault.path, lost):
        return True
    place = re.search(r" is not in ([\w.]+)", fault.text)
    plain = re.sub(r"\[\d+\]", "", lost)
    return place is not None and (
        plain == place[1] or (name.endswith("_name") and plain.startswith(f"{place[1]}."))
    )


@contextmanager
def within(path: str) -> Iterator[None]:
    """What the body raises as ConfigError gets ``path`` before its paths."""
    try:
        yield
    except ConfigError as error:
        faults = [replace(fault, path=join(path, fault.path)) for fault in error.faults]
        raise ConfigError(faults) from error


def join(*paths: str) -> str:
    """Paths of the config, joined by dots; empty ones are left out."""
    return ".".join(path for path in paths if path)


def lies_in(path: str, outer: str) -> bool:
    """Whether a path is ``outer`` or a part of it."""
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'clk'?"``, or nothing when no known word is close, or begins so."""
    lower = {each.lower(): each for each in sorted(known)}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    close = close or [each for each in lower if word and each.startswith(f"{word.lower()}_")]
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
