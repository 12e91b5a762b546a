"""How data files are read: what the flags say, and what the first file shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tzmmoe.config.rules.data import delimiter_fault
from tzmmoe.data.frames.frame import Frame
from tzmmoe.data.reading.base import Source
from tzmmoe.data.reading.csv import DELIMITERS, CsvSource
from tzmmoe.data.reading.files import KINDS, NO_FRAMES, Reading, expand, open_source
from tzmmoe.data.reading.quoting import SAMPLE_BYTES
from tzmmoe.data.reading.stream import COMPRESSED, first_line, head
from tzmmoe.drafting.survey.kinds import dataset_type
from tzmmoe.errors import ConfigError, DataError, Faults
from tzmmoe.features.forms import parse_number

NULL = b"\\N"  # how Hive and MySQL write a missing value; hardly a part of anything else


@dataclass(frozen=True)
class CsvFlags:
    """``delimiter`` None: detected. ``names``: the columns of files without a header."""

    delimiter: str | None
    header: bool
    names: Sequence[str]
    dataset_type: str | None

    def open(
        self, path: str, flag: str, frames: Mapping[str, Frame] = NO_FRAMES
    ) -> tuple[Source, Reading]:
        """The files, and how they are read. ``frames``: those in memory, by names in place of a
        path.

        Raises:
            DataError: missing files, files of unknown kind, or a column that is repeated.
            ConfigError: flags that do not suit the files.
        """
        self._check()
        if path in frames:
            self._check_unused("a frame")
            reading = Reading(None, ",", True, types={}, targets=())
            return open_source(path, flag, reading, frames), reading
        kind = self.dataset_type or _kind_by_content(path, flag)
        reading = Reading(kind, self.delimiter or ",", True, types={}, targets=())
        source = open_source(path, flag, reading)
        if not isinstance(source, CsvSource):
            self._check_unused("Parquet files")
            return _checked(source), reading
        if self.delimiter is None:
            reading = replace(reading, delimiter=_delimiter(path, flag, reading))
            source = open_source(path, flag, reading)
        if NULL in head(source.files[0], SAMPLE_BYTES):
            reading = replace(reading, null_values=("\\N",))
        if not self.header:
            reading = self._with_names(source, reading)
        return _checked(open_source(path, flag, reading)), reading

    def _check(self) -> None:
        """Raise ConfigError for faults that the flags alone show."""
        faults = Faults()
        if self.delimiter is not None and (words := delimiter_fault(self.delimiter)):
            faults.add("--delimiter", words)
        for name, count in Counter(self.names).items():
            if count > 1:
                faults.add("--columns", f"{name!r} is listed {count} times; rename all but one")
        faults.stop()

    def _with_names(self, source: CsvSource, reading: Reading) -> Reading:
        """Files without a header: the names of --columns, or column_1, column_2, ..."""
        width = len(source.columns(source.files[0]))
        names = self.names or [f"column_{number + 1}" for number in range(width)]
        if len(names) != width:
            raise ConfigError.at(
                "--columns",
                f"names {len(names)} columns, but {source.files[0]} has {width}, separated by "
                f"{reading.delimiter!r}; name each",
            )
        return replace(reading, with_header=False, types=dict.fromkeys(names))

    def _check_unused(self, what: str) -> None:
        given = {
            "--delimiter": self.delimiter,
            "--columns": self.names,
            "--no_header": not self.header,
        }
        for flag in (flag for flag, value in given.items() if value):
            raise ConfigError.at(flag, f"is for CSV files, but --data is {what}; leave it out")


def _kind_by_content(path: str, flag: str) -> str | None:
    """The dataset_type of files whose suffix is unknown; None if it is known."""
    files = expand(path, flag)
    return None if any(_suffix(file) in KINDS for file in files) else dataset_type(files[0])


def _suffix(file: str) -> str:
    """Without that of a compression."""
    path = Path(file.lower())
    return path.with_suffix("").suffix if path.suffix in COMPRESSED else path.suffix


def looks_like_data(names: Sequence[str]) -> bool:
    """Whether a name is a number, which hardly ever happens in a header."""
    return any(parse_number(name) is not None for name in names)


def _delimiter(path: str, flag: str, reading: Reading) -> str:
    """The one that splits the first line into the most columns; the comma wins ties.

    Raises:
        DataError: none splits it without rows of different widths.
    """
    widths: dict[str, int] = {}
    failures: dict[str, DataError] = {}
    for delimiter in (*DELIMITERS, " "):
        source = open_source(path, flag, replace(reading, delimiter=delimiter))
        try:
            widths[delimiter] = len(source.columns(source.files[0]))
        except DataError as error:
            widths[delimiter], failures[delimiter] = 0, error
    best = max(DELIMITERS, key=widths.__getitem__)
    best = best if widths[best] > 1 or widths[" "] < 2 else " "
    if widths[best] > 1 or not failures:
        return best
    line = first_line(open_source(path, flag, reading).files[0])
    raise failures[max(failures, key=lambda mark: (mark != " ", line.count(mark)))]


def _checked(source: Source) -> Source:
    """The source, unless its first file has two columns of one name."""
    file = source.files[0]
    names = source.columns(file)
    for name, count in Counter(names).items():
        if count > 1 and name:
            hint = ", or pass --no_header if they are data" if looks_like_data(names) else ""
            raise DataError(f"{file}: {count} columns are called {name!r}; rename them{hint}")
    return source
