"""Errors in code of the user's: which class raised what, in which of its methods, and where."""

import traceback
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from tzmmoe.errors import UserError
from tzmmoe.registry.modules import Modules

TORCH = "torch."  # calls a module's forward through methods of its own


class OwnErrors:
    """Turns an error that a class of the user's raises in the block into one of ``kind``.

    Its message has the class, the method, the task or feature, the error, and the lines of the
    user's code that it came through. ``modules``: those in which such classes lie. An object that
    uses them may have a property ``in_messages``, such as ``task 'ctr'``.
    """

    def __init__(self, modules: Modules, kind: type[UserError] = UserError) -> None:
        self._modules = modules
        self._kind = kind

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._modules.allowed or not isinstance(error, Exception):
            return
        if isinstance(error, UserError):
            return
        if text := self._message(error):
            raise self._kind.saying(text) from error

    def _message(self, error: Exception) -> str:
        """Empty if no code of the user's was running."""
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        first = self._first(frames)
        if first is None:
            return ""
        users = [frame for frame in frames[: first + 1] if hasattr(_self(frame), "in_messages")]
        place = f" ({_self(users[-1]).in_messages})" if users else ""
        reason = "".join(traceback.format_exception_only(error)).strip()
        head = f"{self._name(frames[first])}{place} raised {reason}"
        lines = traceback.extract_tb(error.__traceback__)
        own = [line for line, frame in zip(lines, frames, strict=True) if self._is_own(frame)]
        return "".join([head, "\n", *traceback.format_list(own or lines[first:])]).rstrip()

    def _first(self, frames: Sequence[FrameType]) -> int | None:
        """The outermost frame in code of the user's, or else in a method of an object of theirs."""
        own = [i for i, frame in enumerate(frames) if self._is_own(frame)]
        inherited = [
            i
            for i, frame in enumerate(frames)
            if self._is_of_own_class(frame) and not _module(frame).startswith(TORCH)
        ]
        return next(iter(own + inherited), None)

    def _is_own(self, frame: FrameType) -> bool:
        return self._modules.hold(_module(frame))

    def _is_of_own_class(self, frame: FrameType) -> bool:
        return self._modules.hold(_class(frame).__module__)

    def _name(self, frame: FrameType) -> str:
        """``mine.Focal.forward``."""
        if self._is_of_own_class(frame):
            kind = _class(frame)
            return f"{kind.__module__}.{kind.__qualname__}.{frame.f_code.co_name}"
        return f"{_module(frame)}.{frame.f_code.co_qualname}"


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _self(frame: FrameType) -> Any:
    return frame.f_locals.get("self")


def _class(frame: FrameType) -> type:
    """Of a method's object, or that of a class method."""
    owner = frame.f_locals.get("cls")
    return owner if isinstance(owner, type) else type(_self(frame))
