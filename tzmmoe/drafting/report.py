"""What a conversion did, for the person who asked for it."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

WIDTH = 100


@dataclass
class Report:
    """values: {placeholder: (value, where it comes from)}. expansions: {path: (before, after)}.
    towers: a line for each, and why. became: (path in the job, path in the config, value).
    features: a line for each. idle: {path: why it has no effect}. defaults: {path in the config:
    value}. left_out: {path: why, and what fills it}. differences: what works differently here.
    notes: what a reader should know. source: what is converted.
    """

    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    expansions: dict[str, tuple[str, str]] = field(default_factory=dict)
    towers: list[str] = field(default_factory=list)
    became: list[tuple[str, str, str]] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    idle: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    source: str = "the job"
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Sections of lines, without empty ones."""
        expansions = [f"{path}: {new}" for path, (_, new) in self.expansions.items()]
        values = [f"{name} = {value} ({source})" for name, (value, source) in self.values.items()]
        sections = {
            "placeholders": values + expansions,
            "towers, and the labels that they learn": self.towers,
            "what became what": list(dict.fromkeys(self._became())),
            "features": self.features,
            "no effect here": _with_reasons(self.idle),
            "left out": _with_reasons(self.left_out),
            f"not in {self.source}, and written with their defaults": list(self._defaults()),
            "works differently here": self.differences,
            "take note": self.notes,
        }
        return "\n".join(
            "\n".join([f"{title}:", *(part for line in lines for part in _wrapped(line))])
            for title, lines in sections.items()
            if lines
        )

    def _became(self) -> Iterator[str]:
        """Keys that keep their names, together by object; then the others, one by one."""
        kept: dict[tuple[str, str], list[str]] = {}
        for source, path, value in self.became:
            (owner, _, key), (place, _, name) = source.rpartition("."), path.rpartition(".")
            if key == name:
                settings = kept.setdefault((owner, place), [])
                settings += [text] if (text := f"{name} {value}") not in settings else []
        for (owner, place), settings in kept.items():
            yield f"{owner or self.source} -> {place or 'the config'}: {', '.join(settings)}"
        for source, path, value in self.became:
            if source.rpartition(".")[2] != path.rpartition(".")[2]:
                yield f"{source} -> {path} {value}"

    def _defaults(self) -> Iterator[str]:
        """Settings by the message that they are in."""
        found: dict[str, list[str]] = {}
        for path, value in self.defaults.items():
            place, _, name = path.rpartition(".")
            found.setdefault(place, []).append(f"{name} {value}")
        for place, settings in found.items():
            yield ": ".join(filter(None, [place, ", ".join(settings)]))


def _with_reasons(reasons: Mapping[str, str]) -> list[str]:
    return [f"{path}: {why}" if why else path for path, why in reasons.items()]


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
