"""Data files that lie elsewhere than when a checkpoint was written."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tzmmoe.batch import Position
from tzmmoe.data.plan.order import Order
from tzmmoe.errors import ConfigError, few
from tzmmoe.system.localpath import local

FLAG = "--map_path"
ADVICE = "if files have moved since the checkpoint, name their new place there, and pass"
Reading = tuple[Order, Position]


@dataclass(frozen=True)
class PathMap:
    """Absolute paths of files or folders as a checkpoint has them, each with the one of today."""

    moves: Mapping[str, str]

    @classmethod
    def of(cls, texts: str | Sequence[str]) -> "PathMap":
        """From texts ``OLD=NEW``. Raises ConfigError for one of another form."""
        moves = {}
        for text in [texts] if isinstance(texts, str) else texts:
            old, equals, new = text.partition("=")
            if not (old and equals and new):
                raise ConfigError.at(FLAG, f"is {text!r}; write OLD=NEW, two files or folders")
            moves[os.path.abspath(local(old, FLAG))] = os.path.abspath(local(new, FLAG))
        return cls(moves)

    def path(self, file: str) -> str:
        """Where a file lies today; the longest path that it lies in decides."""
        fit = [old for old in self.moves if file == old or file.startswith(_inside(old))]
        if not fit:
            return file
        old = max(fit, key=len)
        return self.moves[old] + file[len(old.rstrip(os.sep)) :]

    def check(self, files: Iterable[str]) -> None:
        """Raise ConfigError for an old path in which none of the checkpoint's files lies, or a new
        one that does not exist."""
        files = list(files)
        for old, new in self.moves.items():
            if not any(file == old or file.startswith(_inside(old)) for file in files):
                folders = dict.fromkeys(os.path.dirname(file) for file in files)
                words = f"{old}: the checkpoint has read no file there; its files lie in "
                raise ConfigError.at(FLAG, words + (few(list(folders)) or "no folder"))
            if not os.path.exists(new):
                words = f"{new} does not exist; give the place where {old} lies today"
                raise ConfigError.at(FLAG, words)

    def readings(self, saved: Sequence[Reading]) -> list[Reading]:
        """The same orders of the files of today."""
        if not self.moves:
            return list(saved)
        self.check(dict.fromkeys(file for order, _ in saved for file in order.files))
        return [
            (order.renamed({file: self.path(file) for file in _files(order)}), position)
            for order, position in saved
        ]


def _inside(folder: str) -> str:
    """What the paths of files below a folder begin with."""
    return folder.rstrip(os.sep) + os.sep


def _files(order: Order) -> Iterable[str]:
    spans = (span.file for leg in order.passes for span in leg.spans)
    return dict.fromkeys([*order.files, *spans])
