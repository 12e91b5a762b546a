"""From a path such as ``train_input_path`` to its files, and the source that reads them."""

import glob
import logging
import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import COMPRESSED, CsvSource
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


def open_source(path: str, flag: str, reading: Reading) -> Source:
    """The source for a path: files, folders or globs, separated by commas.

    ``flag`` is the command-line flag for the path, named in errors. The suffix of the files decides
    how they are read, and ``dataset_type`` does if the suffix is unknown.

    Raises:
        DataError: no such files, a file listed twice, or files of several or unknown kinds.
    """
    files = expand(path, flag)
    repeated = [file for file, count in Counter(map(os.path.abspath, files)).items() if count > 1]
    if repeated:
        raise DataError(f"{repeated[0]}: listed twice in {flag}; remove one")
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
        log.warning(
            "dataset_type is %s, but %s is read as %s by its suffix",
            reading.dataset_type,
            path,
            kind,
        )
    if kind == "ParquetDataset":
        if reading.only_csv:
            log.warning("%s: no effect on %s, which is Parquet", ", ".join(reading.only_csv), path)
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


def expand(path: str, flag: str) -> list[str]:
    """The files of a path. Raises DataError, which names ``flag``, if there are none."""
    return [file for part in path.split(",") for file in _expand(part.strip(), flag)]


def _expand(part: str, flag: str) -> list[str]:
    if "://" in part:
        raise DataError(f"{part}: not a local file; set {flag} to local Parquet or CSV files")
    if not part:
        raise DataError(f"{flag} contains an empty path; remove the extra comma, or set a path")
    if any(mark in part for mark in "*?["):
        files = sorted(file for file in glob.glob(part, recursive=True) if Path(file).is_file())
        files = files or ([part] if Path(part).is_file() else [])
        if not files:
            raise DataError(f"{part}: no file matches; check {flag}")
        return files
    path = Path(part)
    if path.is_dir():
        files = sorted(str(file) for file in path.iterdir() if file.is_file() and _kind(str(file)))
        files = [file for file in files if not Path(file).name.startswith((".", "_"))]
        if not files:
            raise DataError(f"{part}: no {', '.join(KINDS)} files in this folder{_deeper(path)}")
        return files
    if not path.exists():
        raise DataError(f"{part}: does not exist ({flag}){_near(path)}")
    if not path.is_file():
        raise DataError(f"{part}: is a pipe or a device; set {flag} to regular files")
    return [part]


def _deeper(folder: Path) -> str:
    """The advice to use a glob if there are data files in subfolders."""
    below = glob.iglob(f"{glob.escape(str(folder))}/*/**", recursive=True)
    file = next((file for file in below if _kind(file) and Path(file).is_file()), None)
    if file is None:
        return ""
    suffix = "".join(Path(file).suffixes[-2 if file.lower().endswith(COMPRESSED) else -1 :])
    return f"; subfolders are not searched: use {folder}/**/*{suffix} for the files in them"


def _near(path: Path) -> str:
    siblings: Sequence[str] = ()
    if path.parent.is_dir():
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    return did_you_mean(path.name, siblings)


def _kind(file: str) -> str | None:
    """The ``dataset_type`` that a file's suffix stands for; None for an unknown suffix."""
    name = file.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return KINDS.get(Path(name).suffix)
