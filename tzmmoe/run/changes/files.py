"""What became of the files that a checkpoint has read, and of those that it was evaluated on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tzmmoe.data.recorded import Fate, FileRecord, Stat, fate, from_json
from tzmmoe.errors import CheckpointError, few
from tzmmoe.run.changes.moved import FLAG, PathMap
from tzmmoe.system.checkpoint import Checkpoint
from tzmmoe.system.localpath import absolute

READ, EVALUATED = "files", "evaluation_files"  # in state.json
NOT_COMPARABLE = "later results are not comparable with earlier ones"


@dataclass
class FileChanges:
    """``errors``: a line for each file that was read and is another now; ``notes``: for files that
    are new, have grown, or changed before they were read; ``doubts``: for files that may have
    moved. ``records``: those of the checkpoint, brought up to date."""

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    records: dict[str, FileRecord] = field(default_factory=dict)


def file_changes(
    saved: Checkpoint, paths: PathMap, files: Sequence[str], stat: Stat
) -> FileChanges:
    """``files``: those that are given to train on; others may go once they were read.

    Raises:
        CheckpointError: the checkpoint's records cannot be read.
    """
    before = _records(saved, READ, paths)
    found = FileChanges(records=before)
    new = []
    for file in map(absolute, files):
        if file in found.records:
            _compare(file, found, stat)
        elif before:
            new.append(file)
    if new:
        found.notes.append(f"new: {few(new)}")
        found.doubts += _alike(new, found.records, stat)
    return found


def evaluation_changes(
    saved: Checkpoint, paths: PathMap, files: Sequence[str], stat: Stat
) -> list[str]:
    """A line for each change of the ``files`` to evaluate on, after which results cannot be
    compared with earlier ones. A file that has only moved is the same.

    Raises:
        CheckpointError: the checkpoint's records cannot be read.
    """
    before, lines = _records(saved, EVALUATED, paths), []
    files = [absolute(file) for file in files]
    if not (before and files):
        return []
    gone = {file: record for file, record in before.items() if file not in files}
    for file in files:
        record = before.get(file) or _moved(file, gone, stat)
        if record is None:
            lines.append(f"{file}: is new to the evaluation; {NOT_COMPARABLE}")
        elif (now := _changed(file, record, stat)) is not None:
            words = f"{file}, for evaluation: it was {record}, and is {now}"
            lines.append(f"{words}; {NOT_COMPARABLE}")
    return lines + [f"{file}: is no longer evaluated on; {NOT_COMPARABLE}" for file in gone]


def _records(saved: Checkpoint, key: str, paths: PathMap) -> dict[str, FileRecord]:
    try:
        before = from_json(saved.state.get(key, {}))  # earlier versions have none
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{saved.path}: state.json lacks records of files") from error
    return {paths.path(file): record for file, record in before.items()}


def _changed(file: str, record: FileRecord, stat: Stat) -> FileRecord | None:
    """The record of a file now if its content differs."""
    try:
        kind, now = fate(file, record, stat)
    except OSError:  # whoever reads it says so
        return None
    return None if kind is Fate.SAME else now


def _moved(file: str, gone: dict[str, FileRecord], stat: Stat) -> FileRecord | None:
    """The record that a file had at an earlier place, taken out of ``gone``; None if it is new."""
    try:
        size = stat(file).size
        for old, record in gone.items():
            if record.size == size and fate(file, record, stat)[0] is Fate.SAME:
                return gone.pop(old)
    except OSError:
        pass
    return None


def _compare(file: str, found: FileChanges, stat: Stat) -> None:
    record = found.records[file]
    try:
        kind, now = fate(file, record, stat)
    except OSError:  # whoever reads it says so
        return
    found.records[file] = now
    if kind is Fate.SAME:
        return
    if not record.is_read:
        found.notes.append(f"{file}: has changed since the epoch began, before it was read")
    elif kind is Fate.GROWN:
        found.notes.append(f"{file}: has grown from {record} to {now}; what was read is unchanged")
    else:
        how = "is shorter" if now.size < record.size else "has different content"
        found.errors.append(f"{file}: {how}: it was {record} when it was read, and is {now}")


def _alike(new: Sequence[str], records: Mapping[str, FileRecord], stat: Stat) -> list[str]:
    """A line for each new file that looks like one that was read and no longer exists."""
    gone = {
        (record.size, record.head, record.tail): file
        for file, record in records.items()
        if record.is_read and record.head and file not in new and not os.path.exists(file)
    }
    sizes, lines = {size for size, _, _ in gone}, []
    for file in new if gone else ():
        record = stat(file)
        if record.size in sizes:
            record = record.digested(file)
            old = gone.get((record.size, record.head, record.tail))
            if old:
                lines.append(
                    f"{file} looks like {old}, which was read and no longer exists; if it has "
                    f"moved, pass {FLAG} OLD=NEW, or its rows are read again"
                )
    return lines
