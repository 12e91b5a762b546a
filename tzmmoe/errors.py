"""What a user can repair. The command lines print these without traceback and exit with 2."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches


class UserError(Exception):
    """The message says where, what was found, and what to do."""


class DataError(UserError):
    """A file, a column or a value that cannot be read as the config says."""


class CheckpointError(UserError):
    """A checkpoint or an export that is missing, damaged, or not of this model."""


class NotFiniteError(UserError):
    """A loss became NaN or infinite."""


class Interrupted(Exception):
    """A signal asked the run to stop, and it stopped after saving."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


@dataclass(frozen=True)
class Fault:
    """One fault of the config: the field's path, as ``model_config.mmoe.num_expert``, and what
    is wrong with it. ``where`` is the file and line when the text shows it."""

    path: str
    text: str
    where: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.path}: {self.text}" if self.path else f"{place}{self.text}"


class ConfigError(UserError):
    """Faults of the config, all that could be found at once."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

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

    def stop(self, locate: Callable[[str], str] | None = None) -> None:
        """Raise ConfigError when there are any, each with its place in the text."""
        if not self:
            return
        if locate is None:
            raise ConfigError(self)
        raise ConfigError(replace(f, where=f.where or locate(f.path)) for f in self)


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'clk'?"``, or nothing when no known word is close."""
    lower = {each.lower(): each for each in sorted(known)}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""
