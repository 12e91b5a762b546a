"""A draft that knows which key of a job each of its settings comes from."""

import re
from dataclasses import dataclass, field

from tzmmoe.drafting.draft import Draft, DraftPart
from tzmmoe.drafting.report import Report
from tzmmoe.drafting.section import Entry
from tzmmoe.errors import join
from tzmmoe.textformat.writer import in_braces, written

DETAIL = "job_detail."  # begins nearly all paths of a job; comments leave it out


@dataclass(frozen=True)
class TracedDraft(Draft):
    """origins: {path of a setting: key that it comes from}."""

    report: Report = field(default_factory=Report)
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> "TracedPart":
        return TracedPart(self, self.pipeline, "")

    def mark(self, path: str, key: str, why: str = "") -> None:
        """Comment on a setting with the key that it comes from, if that is not its own path;
        without a key it is a default."""
        if key:
            self.origins[path] = key
        origin = "" if key == path else key.removeprefix(DETAIL) or "default"
        if words := ": ".join(filter(None, [origin, why])):
            self.comments[path] = words


@dataclass(frozen=True)
class TracedPart(DraftPart):
    draft: TracedDraft

    def put(self, name: str, given: Entry, why: str = "") -> None:
        """Set a field, with its origin as the comment; nothing for None."""
        if given.value is None:
            return
        self.set(name, given.value)
        field, path = self.message.DESCRIPTOR.fields_by_name[name], join(self.path, name)
        value = written(field, getattr(self.message, name))
        if given:
            self.draft.report.became.append((given.path, _plain(path), value))
        else:
            self.draft.report.defaults[_plain(path)] = value
        self.draft.mark(path, given.path, why)

    def mark(self, key: str, why: str = "") -> None:
        """Comment on this message with the key that it comes from."""
        self.draft.mark(self.path, key, why)

    def default(self, words: str) -> None:
        """Comment on this message, and report it, as a default."""
        self.mark("")
        self.draft.report.defaults[_plain(self.path)] = words

    def made_from(self, key: str, words: str = "") -> None:
        """Comment on this message, and report it, as made from a key."""
        self.mark(key)
        self.report(key, words or in_braces(self.message))

    def report(self, key: str, words: str) -> None:
        """Report what a key became within this message."""
        self.draft.report.became.append((key, _plain(self.path), words))

    def note(self, words: str) -> None:
        """Add a note to the report, once."""
        if words not in self.draft.report.notes:
            self.draft.report.notes.append(words)


def _plain(path: str) -> str:
    """A path without places in lists."""
    return re.sub(r"\[\d+\]", "", path)
