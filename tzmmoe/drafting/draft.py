"""A config in the making: messages, and a comment on each setting."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from tzmmoe.drafting.report import Report
from tzmmoe.drafting.tencent.section import Given
from tzmmoe.errors import join
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat.writer import in_braces, written

DETAIL = "job_detail."  # in all paths of a job; comments leave it out


@dataclass(frozen=True)
class Draft:
    """The config. comments: {path: comment}. origins: {path: key that it comes from}."""

    pipeline: Pipeline
    report: Report
    comments: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> "Part":
        return Part(self, self.pipeline, "")

    def mark(self, path: str, key: str, why: str = "") -> None:
        """Comment on a setting with the key that it comes from; without one it is a default."""
        if key:
            self.origins[path] = key
        origin = key.removeprefix(DETAIL) or "default"
        self.comments[path] = f"{origin}: {why}" if why else origin


@dataclass(frozen=True)
class Part:
    """One message of the config, and its path."""

    draft: Draft
    message: Message
    path: str

    def put(self, name: str, given: Given, why: str = "") -> None:
        """Set a field, with a comment that tells its origin; nothing when there is no value."""
        if given.value is None:
            return
        self.set(name, given.value)
        field = self.message.DESCRIPTOR.fields_by_name[name]
        path, value = join(self.path, name), written(field, getattr(self.message, name))
        plain = re.sub(r"\[\d+\]", "", path)
        if given:
            self.draft.report.became.append((given.path, plain, value))
        else:
            self.draft.report.defaults[plain] = value
        self.draft.mark(path, given.path, why)

    def set(self, name: str, value: Any) -> None:
        """Set a field, or add to a repeated one; nothing for None."""
        if value is None:
            return
        if self.message.DESCRIPTOR.fields_by_name[name].is_repeated:
            getattr(self.message, name).extend(value if _is_several(value) else [value])
        else:
            setattr(self.message, name, value)

    def part(self, name: str, source: str = "", why: str = "") -> "Part":
        """The message in a field, which is set with it; a new one of a repeated field. ``source``
        is the key that it comes from."""
        path, inner = join(self.path, name), getattr(self.message, name)
        if self.message.DESCRIPTOR.fields_by_name[name].is_repeated:
            path = f"{path}[{len(inner)}]"
            inner = inner.add()
        else:
            inner.SetInParent()
        if source:
            self.draft.mark(path, source, why)
        return Part(self.draft, inner, path)

    def told(self, source: str, words: str = "") -> None:
        """Comment on this message, and report it, as made from the key ``source``."""
        self.draft.mark(self.path, source)
        self.tell(source, words or in_braces(self.message))

    def tell(self, source: str, words: str) -> None:
        """Report what the key ``source`` became within this message."""
        plain = re.sub(r"\[\d+\]", "", self.path)
        self.draft.report.became.append((source, plain, words))


def _is_several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
