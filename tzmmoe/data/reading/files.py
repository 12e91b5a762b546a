"""``train_input_path`` -> files, and the source that reads them."""

import glob
import logging
import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import CsvSource
from tzmmoe.data.reading.parquet import ParquetSource
from tzmmoe.errors import DataError, did_you_mean

log = logging.getLogger(__name__)

KINDS = {
    ".parquet": "ParquetDataset",
    ".pq": "ParquetDataset",
    ".csv": "CsvDataset",
    ".tsv": "CsvDataset",
    ".txt": "CsvDataset",
}
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")


@dataclass(frozen=True)
class Reading:
    """What data_config says about files.

    types: columns of CSV files, in order. targets: labels and weights, which files to predict for
    need not have. only_csv: what is set and means nothing to Parquet files.
    """

    dataset_type: str | None
    delimiter: str
    with_header: bool
    types: Mapping[str, str | None]
    targets: Sequence[str]
    only_csv: Sequence[str] = ()


def open_source(path: str, flag: str, reading: Reading) -> Source:
    """The source for a path: files, folders, globs, or several of these separated by commas.

    ``flag`` is the command line's name of the path, for errors. The reader follows from the files'
    names; only where they do not tell, from ``dataset_type``.
    """
    files = expand(path, flag)
    twice = [file for file, count in Counter(map(os.path.abspath, files)).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]}: {flag} names it twice; its rows would count twice")
    kinds = {_kind(file) or reading.dataset_type for file in files}
    if len(kinds) > 1:
        raise DataError(f"{path}: holds files of several kinds; name files of one kind")
    kind = kinds.pop()
    if kind not in ("ParquetDataset", "CsvDataset"):
        raise DataError(
            f"{files[0]}: its name does not tell how to read it; set data_config.dataset_type to "
            "ParquetDataset or CsvDataset"
        )
    if reading.dataset_type not in (None, kind):
        log.warning("dataset_type is %s, but %s is read as %s", reading.dataset_type, path, kind)
    if kind == "ParquetDataset":
        if reading.only_csv:
            log.warning(
                "%s has no effect on %s, which is Parquet", ", ".join(reading.only_csv), path
            )
        return ParquetSource(files)
    return CsvSource(
        files,
        delimiter=reading.delimiter,
        with_header=reading.with_header,
        names=list(reading.types),
        types=reading.types,
        targets=reading.targets,
    )


def expand(path: str, flag: str) -> list[str]:
    """The files of a path. Raises DataError when there are none; ``flag`` is named then."""
    return [file for part in path.split(",") for file in _expand(part.strip(), flag)]


def _expand(part: str, flag: str) -> list[str]:
    if "://" in part:
        raise DataError(
            f"{part}: only local files can be read; name Parquet or CSV files with {flag}"
        )
    if not part:
        raise DataError(f"{flag} holds an empty path")
    if any(mark in part for mark in "*?["):
        found = sorted(file for file in glob.glob(part, recursive=True) if Path(file).is_file())
        found = found or ([part] if Path(part).is_file() else [])
        if not found:
            raise DataError(f"{part}: no file matches")
        return found
    path = Path(part)
    if path.is_dir():
        found = sorted(str(each) for each in path.iterdir() if each.is_file() and _kind(str(each)))
        found = [each for each in found if not Path(each).name.startswith((".", "_"))]
        if not found:
            raise DataError(f"{part}: the folder holds no {', '.join(KINDS)} files{_deeper(path)}")
        return found
    if not path.exists():
        raise DataError(f"{part}: is not there ({flag}){_near(path)}")
    if not path.is_file():
        raise DataError(f"{part}: is a pipe or a device; name files with {flag}")
    return [part]


def _deeper(folder: Path) -> str:
    """How to name the files of the folders in a folder, if they hold any."""
    below = glob.iglob(f"{glob.escape(str(folder))}/*/**", recursive=True)
    file = next((each for each in below if _kind(each) and Path(each).is_file()), None)
    if file is None:
        return ""
    ending = "".join(Path(file).suffixes[-2 if file.lower().endswith(COMPRESSED) else -1 :])
    return f"; folders in it are not searched: give {folder}/**/*{ending} for the files in them"


def _near(path: Path) -> str:
    siblings: Sequence[str] = ()
    if path.parent.is_dir():
        siblings = [each.name for each in path.parent.iterdir()]
    return did_you_mean(path.name, siblings)


def _kind(file: str) -> str | None:
    name = file.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return KINDS.get(Path(name).suffix)
