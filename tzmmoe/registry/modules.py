"""Classes of modules outside the package, by dotted path."""

import importlib
import inspect
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from tzmmoe.errors import ConfigError, Fault, Faults, did_you_mean, join, within

# What a module may raise while it is imported; anything else is not about the module.
BROKEN = (
    *(ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError),
    *(OSError, RuntimeError, ArithmeticError, AssertionError),
)
FORM = 'write the module and the class, such as "mine.Focal"'


@dataclass(frozen=True)
class Modules:
    """The modules that may be imported: those in ``allowed``, and what lies inside them.

    ``mine`` allows ``mine`` and ``mine.losses``, but not ``minefield``. As always in Python,
    importing ``mine.losses`` runs ``mine`` first.
    """

    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: str | Sequence[str] | None) -> "Modules":
        """From names, or a text such as ``mine,theirs``. Raises ConfigError for other texts."""
        parts = names.split(",") if isinstance(names, str) else list(names or ())
        for part in parts:
            if not (isinstance(part, str) and is_dotted(part.strip())):
                words = f"{part!r} is not the name of a module; write mine or mine.losses"
                raise ConfigError.at("allow_modules", words)
        return cls(tuple(dict.fromkeys(part.strip() for part in parts)))

    def allows(self, path: str) -> bool:
        """Whether the module of a class at a dotted path may be imported."""
        return self.hold(path.rpartition(".")[0])

    def hold(self, name: str) -> bool:
        """Whether a module is one of them, or lies inside one."""
        return any(name == other or name.startswith(f"{other}.") for other in self.allowed)

    def find(self, path: str | None, base: type) -> type:
        """The class at a dotted path.

        Raises:
            ConfigError: its module is not allowed, not found, or raises an error; or it has no such
                class, or one that is not derived from ``base``.
        """
        if not path:
            raise ConfigError.at("", f"is not set; {FORM}")
        name, _, word = path.rpartition(".")
        if not (name and is_dotted(path)):
            raise ConfigError.at("", f"is {path!r}; {FORM}")
        if not self.allows(path):
            remedy = f"--allow_modules {name}, in Python allow_modules=[{name!r}]"
            others = f", only {', '.join(self.allowed)}" if self.allowed else ""
            words = f"is {path!r}, but the module {name} is not allowed{others}; if you trust it"
            raise ConfigError.at("", f"{words}, pass {remedy}")
        module = _imported(name)
        found = getattr(module, word, None)
        if not inspect.isclass(found):
            classes = [n for n, each in vars(module).items() if inspect.isclass(each)]
            words = f"is {path!r}, but {_place(module)} has no class {word}"
            raise ConfigError.at("", f"{words}{did_you_mean(word, classes)}")
        wanted = f"{base.__module__.removesuffix('.base')}.{base.__name__}"
        if not issubclass(found, base):
            words = f"is {path!r}, which is not derived from {wanted}; derive it"
            raise ConfigError.at("", words)
        if lacking := sorted(getattr(found, "__abstractmethods__", ())):
            raise ConfigError.at("", f"is {path!r}, which does not define {', '.join(lacking)}")
        return found


NO_MODULES = Modules()


def is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except BROKEN as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            words = (
                f"there is no module {missing}; run where it is, or add its folder to PYTHONPATH"
            )
        elif missing:
            words = f"the module {name} needs {missing}, which is not installed"
        else:
            words = f"importing {name} fails with {told(error)}"
        raise ConfigError.at("", words) from error


def _place(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or module.__name__


def make(kind: type, given: Sequence[Any], args: Mapping[str, Any] | None) -> Any:
    """An object of a class of the user's. ``given`` come before the ``args`` of the config.

    A whole number, as in ``args { scale: 2 }``, arrives as a float if it is annotated ``float``.

    Raises:
        ConfigError: the constructor does not take these arguments, or refuses their values.
    """
    arguments = args or {}
    with within("args"):
        _check_names(kind, given, arguments)
    try:
        return kind(*given, **_as_annotated(kind, arguments))
    except (TypeError, ValueError) as error:
        words = f"{kind.__qualname__} does not accept its arguments: {told(error)}"
        raise ConfigError.at("args", words) from error
    except ConfigError as error:
        faults = [_of_args(fault, arguments) for fault in error.faults]
        raise ConfigError(faults) from error


def _as_annotated(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with whole numbers as floats where the constructor says so."""
    parameters = inspect.signature(kind).parameters
    floats = {n for n, parameter in parameters.items() if parameter.annotation in (float, "float")}
    return {
        name: float(value) if name in floats and type(value) is int else value
        for name, value in arguments.items()
    }


def _of_args(fault: Fault, arguments: Mapping[str, Any]) -> Fault:
    """A constructor's fault, whose path begins with an argument or with a field beside args."""
    is_argument = re.split(r"[.\[]", fault.path)[0] in arguments
    return replace(fault, path=join("args", fault.path)) if is_argument else fault


def _check_names(kind: type, given: Sequence[Any], arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError for each argument that is unknown or missing."""
    parameters = list(inspect.signature(kind).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = {p.name for p in positional[: len(given)]}
    open_to = {
        p.name: p
        for p in parameters
        if p.name not in taken and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    faults, hints = Faults(), ""
    for name in arguments:
        if name not in open_to:
            hint = did_you_mean(name, open_to) or f"; it takes {', '.join(open_to) or 'none'}"
            faults.add(name, f"{kind.__qualname__} takes no argument {name!r}{hint}")
            hints += hint
    for name, parameter in open_to.items():
        is_missing = parameter.default is parameter.empty and name not in arguments
        if is_missing and repr(name) not in hints:  # else it is there, misspelt
            faults.add("", f"{kind.__qualname__} needs the argument {name!r}; set args.{name}")
    faults.stop()


def told(error: BaseException) -> str:
    """What an error in code of the user says, and where it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[0] != "<"]
    own = frames and not isinstance(error, SyntaxError)  # which names file and line itself
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"
