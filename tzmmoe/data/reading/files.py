"""From a path such as ``train_input_path`` to its files, and the source that reads them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.frames.source import FrameSource
from tzmmoe.data.reading import named
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.data.reading.stream import COMPRESSED
from tzmmoe.errors import ConfigError, DataError, did_you_mean_file
from tzmmoe.system.localpath import is_frame, local

log = logging.getLogger(__name__)

KINDS = {
    ".parquet": "ParquetDataset",
    ".pq": "ParquetDataset",
    ".csv": "CsvDataset",
    ".tsv": "CsvDataset",
    ".txt": "CsvDataset",
}
NO_FRAMES: Mapping[str, Frame] = {}
MOST_TOLD = 3  # files that are reached twice


class NoFilesError(DataError):
    """A path names no file."""


@dataclass(frozen=True)
class Reading:
    """What data_config says about reading files.

    types: the columns of CSV files, in order. targets: labels and weights, which files to be scored
    may lack. only_csv: settings made in the config that have no effect on Parquet files. quoting:
    of CSV files; is_chosen: by looking at one, so that files may contradict it.
    """

    dataset_type: str | None
    delimiter: str
    with_header: bool
    types: Mapping[str, str | None]
    targets: Sequence[str]
    only_csv: Sequence[str] = ()
    quoting: str = "AUTO"
    is_chosen: bool = False
    null_values: Sequence[str] = ()


def open_source(
    path: str, flag: str, reading: Reading, frames: Mapping[str, Frame] = NO_FRAMES
) -> Source:
    """The source for a path: files, folders or globs, separated by commas (``\\\\,`` is none).

    ``flag`` is the command-line flag for the path, or the field that set it, named in errors. The
    suffix of the files decides how they are read, and ``dataset_type`` does if it is unknown.
    ``frames``: those in memory, by names that stand where a path does.

    Raises:
        DataError: no such files, or files of several or unknown kinds.
    """
    if path in frames:
        _warn_of_csv_settings(reading, path, "in memory")
        return FrameSource(frames[path])
    files, repeated = named.once(expand(path, flag))
    for file, first in repeated[:MOST_TOLD]:
        log.warning("%s is the same file as %s, and is read once", file, first)
    if len(repeated) > MOST_TOLD:
        log.warning("so are %s more files", f"{len(repeated) - MOST_TOLD:,}")
    kinds = {_kind(file) or reading.dataset_type for file in files}
    if len(kinds) > 1:
        raise DataError(f"{path}: contains files of several kinds; list files of one kind")
    kind = kinds.pop()
    if kind not in ("ParquetDataset", "CsvDataset"):
        raise DataError(
            f"{files[0]}: unknown suffix; set data_config.dataset_type to ParquetDataset or "
            "CsvDataset"
        )
    if reading.dataset_type not in (None, kind):
        words = "dataset_type is %s, but %s is read as %s by its suffix"
        log.warning(words, reading.dataset_type, path, kind)
    if kind == "ParquetDataset":
        _warn_of_csv_settings(reading, path, "Parquet")
        return ParquetSource(files)
    return CsvSource(
        files,
        delimiter=reading.delimiter,
        with_header=reading.with_header,
        names=list(reading.types),
        types=reading.types,
        targets=reading.targets,
        quoting=reading.quoting,
        is_chosen=reading.is_chosen,
        null_values=reading.null_values,
    )


def _warn_of_csv_settings(reading: Reading, path: str, what: str) -> None:
    """Warn of settings for CSV files where the path is ``what``."""
    if reading.only_csv:
        log.warning("%s: no effect on %s, which is %s", ", ".join(reading.only_csv), path, what)


def expand(path: str, flag: str) -> list[str]:
    """The files of a path. Raises DataError, which names ``flag``, if there are none."""
    if not isinstance(path, str):
        path = local(path, flag)
    if is_frame(path):
        raise DataError(
            f"{path}: is a frame that was given in Python and is not stored; set {flag} to files, "
            "or give it again: Pipeline.fit(train=frame, eval=frame), Pipeline.evaluate(frame)"
        )
    return [file for part in named.listed(path) for file in _expand(part, flag)]


def _expand(part: str, flag: str) -> list[str]:
    if not part:
        raise DataError(f"{flag} contains an empty path; remove the extra comma, or set a path")
    try:
        part = local(part, flag)
    except ConfigError as error:
        words = f"{part}: not a local file; set {flag} to local Parquet or CSV files"
        raise DataError(words) from error
    path = Path(part)
    if not path.exists() and named.is_pattern(part):
        return _matching(part, flag)
    if path.is_dir():
        return _in_folder(part, flag)
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        raise NoFilesError(f"{part}: is a link to {target}, which does not exist; check {flag}")
    if not path.exists():
        raise NoFilesError(f"{part}: does not exist; check {flag}{_near(path)}")
    if not path.is_file():
        raise DataError(f"{part}: is a pipe or a device; set {flag} to regular files")
    return [part]


def _matching(pattern: str, flag: str) -> list[str]:
    """The files that fit a pattern, and those in the folders that fit it.

    A folder that ``**`` fits counts only as the way to its files.
    """
    places = named.matching(pattern)
    files = [place for place in places if Path(place).is_file()]
    if Path(pattern).name == "**":
        files = [file for file in files if _kind(file)]
    elif folders := [place for place in places if Path(place).is_dir()]:
        files += [file for folder in folders for file in named.in_folder(folder) if _kind(file)]
    if not files:
        raise NoFilesError(f"{pattern}: no file matches; check {flag}")
    return list(dict.fromkeys(files))


def _in_folder(folder: str, flag: str) -> list[str]:
    files = [file for file in named.in_folder(folder) if _kind(file)]
    if not files:
        kinds = ", ".join(KINDS)
        raise NoFilesError(f"{folder}: no {kinds} files in this folder or below it; check {flag}")
    return files


def _near(path: Path) -> str:
    siblings: Sequence[str] = ()
    if path.parent.is_dir():
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    return did_you_mean_file(path.name, siblings)


def _kind(file: str) -> str | None:
    """The ``dataset_type`` that a file's suffix stands for; None for an unknown suffix."""
    name = file.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return KINDS.get(Path(name).suffix)
