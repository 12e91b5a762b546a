"""Errors that a user can fix. The command lines print them without a traceback and exit with 2."""

import math
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import PurePath

NO_SCHEMA = "the compiled schema (tzmmoe/protos) is missing or incomplete; run: make proto"
HINTED_FAULTS, MANY_NAMES = 20, 200
SHORT, ALIKE = 5, 0.75  # a word of up to 5 letters must be this similar, or one slip away


class UserError(Exception):
    """The message says where, what was found, and what to do.

    ``is_shared``: every process of the run raises it.
    """

    is_shared = False

    @classmethod
    def saying(cls, text: str) -> "UserError":
        """An error with this message; subclasses take other arguments."""
        return cls(text)


# How libraries say it where they raise no MemoryError: torch, its CUDA, C++, Arrow, the loader of
# shared libraries, and threads, whose stacks take memory.
_NO_MEMORY = re.compile(
    "can't allocate memory|not enough memory|out of memory|bad_alloc|bad allocation|"
    "Cannot allocate memory|malloc of size|failed to map segment|can't start new thread|"
    "Failed to launch worker thread"
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is that memory could not be allocated."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, UserError) and _NO_MEMORY.search(str(error)):
        return True
    return error.__cause__ is not None and lacks_memory(error.__cause__)


class DataError(UserError):
    """A file, column or value that cannot be read the way the config says."""


class CheckpointError(UserError):
    """A checkpoint or export that is missing, damaged, or of another model."""


class NotFiniteError(UserError):
    """A loss became NaN or infinite."""


class TimeLimitError(UserError):
    """A request took longer than it may."""


class LostProcessError(UserError):
    """Another process of the run has stopped responding."""


class Interrupted(BaseException):
    """A signal asked the run to stop; raised once everything worth keeping is saved. Like
    KeyboardInterrupt it is no Exception, which libraries catch and go on."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


@dataclass(frozen=True)
class Fault:
    """One fault of the config: the field's path, such as ``model_config.mmoe.num_expert``, and what
    is wrong with it. ``where``: the file and line, if the fault can be seen in the text. ``lost``:
    the text at the path could not be parsed, so the message lacks that setting."""

    path: str
    text: str
    where: str = ""
    lost: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.path}: {self.text}" if self.path else f"{place}{self.text}"


class ConfigError(UserError):
    """Faults of the config: all that could be found in one go."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def saying(cls, text: str) -> "ConfigError":
        return cls.at("", text)

    @classmethod
    def at(cls, path: str, text: str) -> "ConfigError":
        return cls([Fault(path, text)])


def hints_pay(num_faults: int, num_names: int) -> bool:
    """Whether similar names are looked for after so many faults, among so many names. Each search
    looks at all names, so thousands of both would take hours."""
    return num_faults < HINTED_FAULTS or num_names <= MANY_NAMES


class Faults(list[Fault]):
    """Faults collected so that a user sees them all at once."""

    def add(self, path: str, text: str) -> None:
        self.append(Fault(path, text))

    def hint(self, word: str, candidates: Collection[str]) -> str:
        """As ``did_you_mean``, for a fault to be added, if ``hints_pay``."""
        return did_you_mean(word, candidates) if hints_pay(len(self), len(candidates)) else ""

    @contextmanager
    def under(self, path: str) -> Iterator[None]:
        """Collect the faults of a ConfigError raised in the block, with ``path`` as a prefix."""
        try:
            with within(path):
                yield
        except ConfigError as error:
            self.extend(error.faults)

    def stop(self, locate: Callable[[Fault], Fault] | None = None) -> None:
        """Raise ConfigError if there are any faults: without duplicates, in the order of the text.

        ``locate`` points a fault at what the user wrote. Faults that are mere consequences of
        another one are dropped.
        """
        if not self:
            return
        faults = list(dict.fromkeys(map(locate, self))) if locate else list(self)
        lost = _Lost(_intended_path(fault) for fault in faults if fault.lost)
        causes = [fault for fault in faults if fault.lost or not lost.explains(fault)]
        raise ConfigError(sorted(causes, key=_order) if locate else causes)


def _order(fault: Fault) -> float:
    """Sort key: flags first, then line by line, then settings that the text lacks."""
    if not fault.where or fault.where.startswith("--"):
        return 0
    _, _, line = fault.where.rpartition(":")
    return int(line) if line.isdecimal() else math.inf


def _intended_path(fault: Fault) -> str:
    """The path of a setting that could not be read; of a misspelt field, the suggested one."""
    if place := re.fullmatch(r"no such field here; write ([\w.]+)", fault.text):
        return place[1]
    suggestion = re.fullmatch(r"no such field; did you mean '(\w+)'\?", fault.text)
    return join(fault.path.rpartition(".")[0], suggestion[1]) if suggestion else fault.path


class _Lost:
    """The paths of settings that could not be read, arranged so that a fault is compared with all
    of them at once."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.everything = False  # the text breaks off, so anything may be missing
        self._paths, self._owners, self._listed = set[str](), set[str](), set[str]()
        self._below: dict[str, set[str]] = {}  # names of lost settings, by each path around them
        for path in paths:
            self._add(re.sub(r"\[\d+\]$", "", path))  # without one item, a list is incomplete

    def _add(self, path: str) -> None:
        self.everything |= not path
        owner, _, name = path.rpartition(".")
        self._paths.add(path)
        self._owners.add(owner)
        for around in _outer(path):
            if sibling := re.match(r"\w+", path.removeprefix(f"{around}.")):
                self._below.setdefault(around, set()).add(sibling[0])
        plain = re.sub(r"\[\d+\]", "", path)
        for listing in _outer(plain):
            depth = plain.removeprefix(listing).count(".")  # 1: the whole message, with its name
            if depth <= 1 or name.endswith("_name"):
                self._listed.add(listing)

    def explains(self, fault: Fault) -> bool:
        """Whether a fault exists only because one of the settings could not be read."""
        if self.everything or fault.path in self._owners:
            return True
        if not self._paths.isdisjoint(_outer(fault.path)):
            return True
        # A fault of another field may name the lost one beside it: to set it, or as what it lacks.
        around, _, _ = fault.path.rpartition(".")
        for sibling in self._below.get(around, ()):
            named = rf"is not set;.*\b{sibling} {{|has no effect without .*\b{sibling}\b"
            if re.search(named, fault.text):
                return True
        # A name that "is not in data.labels" may be the very item of that list that was lost, or
        # the name of one of its messages.
        listing = re.search(r" is not in ([\w.]+)", fault.text)
        return listing is not None and listing[1] in self._listed


def _outer(path: str) -> Iterator[str]:
    """The path, and all in which it lies."""
    yield path
    for end in re.finditer(r"[.\[]", path):
        yield path[: end.start()]


@contextmanager
def within(path: str) -> Iterator[None]:
    """Prefix ``path`` to the paths of a ConfigError raised in the block."""
    try:
        yield
    except ConfigError as error:
        faults = [replace(fault, path=join(path, fault.path)) for fault in error.faults]
        raise ConfigError(faults) from error


def join(*paths: str) -> str:
    """Paths of the config, joined by dots; empty ones are skipped."""
    return ".".join(path for path in paths if path)


def lies_in(path: str, outer: str) -> bool:
    """Whether a path is ``outer`` or lies below it."""
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def exactly(number: float) -> str:
    """A number in a message, in as few digits as tell it from all others: 1.0000001 is not 1.

    Numbers that come from 32 bits are told from others of 32 bits.
    """
    short = f"{number:g}"
    with suppress(OverflowError):
        if struct.unpack("f", struct.pack("f", float(short)))[0] == number:
            return short
    return repr(float(number)).removesuffix(".0") if float(short) != number else short


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``"; did you mean 'clk'?"``, or an empty text unless exactly one candidate is close."""
    close = _close(word, candidates)
    return f"; did you mean {close!r}?" if close else ""


def did_you_mean_file(name: str, names: Iterable[str]) -> str:
    """As ``did_you_mean``, for names of files, which are compared without their suffixes."""
    kind = _suffix(name)
    stems: dict[str, str] = {}
    # Of several files with one stem, that with the suffix of ``name`` comes first.
    for other in sorted(names, key=lambda other: (_suffix(other) != kind, other)):
        stems.setdefault(other.removesuffix(_suffix(other)), other)
    close = _close(name.removesuffix(kind), stems)
    return f"; did you mean {stems[close]!r}?" if close else ""


def _suffix(name: str) -> str:
    """Up to two suffixes, such as ``.csv.gz``."""
    return "".join(PurePath(name).suffixes[-2:])


def _close(word: str, candidates: Iterable[str]) -> str:
    """The nearest candidate, or the only one that shares parts with the word; empty if none is."""
    lower = {candidate.lower(): candidate for candidate in sorted(candidates)}
    word = word.lower()
    near = get_close_matches(word, lower, n=3, cutoff=0.6)
    if len(word) <= SHORT:  # 0.6 may be chance: 'user' has it with 'buyer'
        near = [n for n in near if _is_alike(word, n)]
    near = near[:1] or parts_with(word, lower)
    return lower[near[0]] if len(near) == 1 else ""


def _is_alike(word: str, other: str) -> bool:
    """Whether ``other`` begins with ``word``, is very similar, or is one slip away: one letter is
    another, or two are swapped."""
    if other.startswith(word) or get_close_matches(word, [other], n=1, cutoff=ALIKE):
        return True
    if len(word) != len(other) or len(word) < 3:
        return False
    differing = [pair for pair in zip(word, other, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 or (len(differing) == 2 and differing[0] == differing[1][::-1])


def parts_with(word: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that begin or end with a word, as ``hidden_units`` does with ``units``."""
    prefix, suffix = f"{word}_", f"_{word}"
    return [c for c in candidates if word and (c.startswith(prefix) or c.endswith(suffix))]


def few(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
