"""A config in the making: messages, and comments on their settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from google.protobuf.message import Message

from tzmmoe.errors import join
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat import writer


@dataclass(frozen=True)
class Draft:
    """The config, {path: comment beside its setting} and {path: remark above it}."""

    pipeline: Pipeline = field(default_factory=Pipeline)
    comments: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> "DraftPart":
        return DraftPart(self, self.pipeline, "")

    def text(self, heading: Iterable[str]) -> str:
        """The config's file; each text of the heading is a comment of its own."""
        head = [line for each in heading for line in writer.remark(each)]
        body = writer.lines(self.pipeline, self.comments, self.remarks)
        return "\n".join([*head, "", *body]) + "\n"


@dataclass(frozen=True)
class DraftPart:
    """One message of the config, and its path."""

    draft: Draft
    message: Message
    path: str

    def set(self, name: str, value: Any, comment: str = "") -> None:
        """Set a field, or add to a repeated one; nothing for None."""
        if value is None:
            return
        if self.message.DESCRIPTOR.fields_by_name[name].is_repeated:
            several = isinstance(value, Sequence) and not isinstance(value, str)
            getattr(self.message, name).extend(value if several else [value])
        else:
            setattr(self.message, name, value)
        if comment:
            self.draft.comments[join(self.path, name)] = comment

    def part(self, name: str, comment: str = "") -> Self:
        """The message in a field, which is set with it; a new one of a repeated field."""
        path, inner = join(self.path, name), getattr(self.message, name)
        if self.message.DESCRIPTOR.fields_by_name[name].is_repeated:
            path = f"{path}[{len(inner)}]"
            inner = inner.add()
        else:
            inner.SetInParent()
        if comment:
            self.draft.comments[path] = comment
        return replace(self, message=inner, path=path)

    def copy(self, name: str, message: Message, comment: str = "") -> None:
        """Set a field to a message, or add it to a repeated one."""
        self.part(name, comment).message.CopyFrom(message)

    def remark(self, name: str, text: str) -> None:
        """Write paragraphs above a field, or above the next element of a repeated one."""
        if self.message.DESCRIPTOR.fields_by_name[name].is_repeated:
            name = f"{name}[{len(getattr(self.message, name))}]"
        self.draft.remarks[join(self.path, name)] = text
