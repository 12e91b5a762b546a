"""python -m tzmmoe.init: draft a config from data files, with a comment on every choice."""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tzmmoe.drafting import command
from tzmmoe.errors import ConfigError, UserError
from tzmmoe.system import cli
from tzmmoe.system.localpath import local

if TYPE_CHECKING:
    from tzmmoe.data.frames.frame import Frame
    from tzmmoe.drafting.survey.findings import DraftRequest, Findings
    from tzmmoe.pipeline import Pipeline

log = logging.getLogger("tzmmoe.init")
ARGUMENTS = {"memory:train": "data", "memory:eval": "eval_data"}  # of frames, by their names
NO_FRAMES: Mapping[str, "Frame"] = {}
PATHS = ("data", "eval_data", "model_dir")
LISTS = (  # of names of columns
    *("labels", "auxiliary", "ignore", "ids", "numbers", "lists", "text", "columns"),
)


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    out = command.output(arguments, [])
    for name in LISTS:
        setattr(arguments, name, cli.names(getattr(arguments, name)) or [])
    if arguments.delimiter == "\\t":
        arguments.delimiter = "\t"
    findings = _written(arguments, out)

    from tzmmoe.drafting.survey.summary import summary

    command.show(summary(findings), out)


def draft(
    data: Any,
    labels: Sequence[str],
    out: str | Path | None = None,
    *,
    eval_data: Any = None,
    eval_fraction: float | None = None,
    split_by: str | None = None,
    weights: str | None = None,
    auxiliary: Sequence[str] = (),
    ignore: Sequence[str] = (),
    ids: Sequence[str] = (),
    numbers: Sequence[str] = (),
    lists: Sequence[str] = (),
    text: Sequence[str] = (),
    time_zone: str | None = None,
    model_dir: str | Path | None = None,
    delimiter: str | None = None,
    header: bool = True,
    columns: Sequence[str] = (),
    dataset_type: str | None = None,
    force: bool = False,
    device: str | None = None,
) -> "Pipeline":
    """Write a config for ``data`` to ``out``, as ``python -m tzmmoe.init`` does, and load it. What
    each column was taken for is logged, doubts first.

    ``data`` and ``eval_data``: a path, a list of paths, or a frame, which ``fit(train=frame)`` and
    ``fit(train=frame, eval=other)`` then train with. Without ``out`` the text is not kept, and
    model_dir is a folder of its own, ``experiments/draft-<date>-<time>``.

    Raises:
        UserError: what the caller can repair, by the names of the arguments.
    """
    given = locals()
    from tzmmoe.drafting.survey.summary import summary
    from tzmmoe.pipeline import Pipeline

    with ExitStack() as held:
        if out is None:
            given["out"] = Path(held.enter_context(TemporaryDirectory())) / "draft.config"
            given["model_dir"] = model_dir or f"experiments/draft-{datetime.now():%Y%m%d-%H%M%S}"
        config, findings = _surveyed(given)
        wrote = f"\nwrote {config}" if out else ""
        log.info("%s%s", summary(findings), wrote)
        return Pipeline.load(config, device=device)


def _surveyed(given: dict[str, Any]) -> tuple[Path, "Findings"]:
    """Write the config that the arguments of ``draft`` ask for; its path, and what was found.

    Raises:
        UserError: by the names of the arguments.
    """
    try:
        frames = _frames(given["data"], given["eval_data"])
        given = given | {ARGUMENTS[name]: name for name in frames}
        paths = {name: _path(given[name], f"--{name}") for name in PATHS if given[name] is not None}
        names = {name: _names(given[name]) for name in LISTS}
        arguments = argparse.Namespace(**given | paths | names, no_header=not given["header"])
        config = command.output(arguments, [])
        return config, _written(arguments, config, frames)
    except UserError as error:
        message = re.sub(r"--(?=[a-z])", "", str(error)).replace("no_header", "header=False")
        raise type(error).saying(message) from error


def _frames(data: Any, eval_data: Any) -> dict[str, "Frame"]:
    """Those of the arguments that are frames, by name. Raises DataError for what is no path either.

    A list is one of paths.
    """
    from tzmmoe.run.frames.given import frames_of, is_path

    given = {"train": data, "eval": eval_data}
    rows = {n: r for n, r in given.items() if not (is_path(r) or isinstance(r, list | tuple))}
    return {frame.path: frame for frame in frames_of(**rows)}


def _path(given: Any, flag: str) -> str:
    """A path, or several, as one text. Raises ConfigError for anything else, such as rows."""
    if isinstance(given, list | tuple):
        return ",".join(_path(each, flag).replace(",", "\\,") for each in given)
    return local(given, flag)


def _names(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _written(
    arguments: argparse.Namespace, out: Path, frames: Mapping[str, "Frame"] = NO_FRAMES
) -> "Findings":
    """Survey the files, or frames in their place, and write the config."""
    from tzmmoe.drafting.survey import draft
    from tzmmoe.drafting.survey.findings import find

    findings = find(replace(_request(arguments, out), frames=frames))
    in_python = ", ".join(f"{name.partition(':')[2]}=frame" for name in frames)
    trains = f'Pipeline.load("{out}").fit({in_python})' if frames else command.training(out)
    heading = draft.heading(findings, trains)
    command.write(out, draft.drafted(findings).text(heading))
    return findings


def _request(arguments: argparse.Namespace, out: Path) -> "DraftRequest":
    from tzmmoe.data.reading.split import Split
    from tzmmoe.drafting.survey.feature import ROLES
    from tzmmoe.drafting.survey.findings import DraftRequest
    from tzmmoe.drafting.survey.reading import CsvFlags

    fraction, by = arguments.eval_fraction, arguments.split_by
    if by and fraction is None:
        raise ConfigError.at("--split_by", "has no effect without --eval_fraction; set it")
    if fraction is not None and arguments.eval_data:
        raise ConfigError.at("--eval_fraction", "has no effect with --eval_data; leave one out")
    return DraftRequest(
        files=arguments.data,
        labels=arguments.labels,
        weight=arguments.weights or "",
        ignore=arguments.ignore,
        eval_files=arguments.eval_data or "",
        model_dir=arguments.model_dir or f"experiments/{out.stem}",
        csv=CsvFlags(
            delimiter=arguments.delimiter,
            header=not (arguments.no_header or arguments.columns),
            names=arguments.columns,
            dataset_type=arguments.dataset_type,
        ),
        split=None if fraction is None else Split(fraction, by),
        roles={role: getattr(arguments, role) for role in ROLES},
        time_zone=arguments.time_zone or "",
        auxiliary=arguments.auxiliary,
    )


def _parser() -> command.CommandParser:
    parser = command.CommandParser(
        "tzmmoe.init",
        "Draft a config from data files, with a comment on every choice.",
        needed=("--data", "--labels", "--out"),
    )
    add = parser.add_argument
    add("--data", help="Parquet or CSV: a file, a folder, a glob, or several, separated by commas")
    add("--labels", help="columns to predict, a,b")
    add("--eval_data", help="files to evaluate on, as --data")
    add("--eval_fraction", type=float, help="share of --data to evaluate on instead, such as 0.2")
    add("--split_by", help="a column: --eval_fraction holds out its values, with all their rows")
    add("--weights", help="the column of sample weights")
    add("--auxiliary", help="columns that prediction will not have: tasks, not features, a,b")
    add("--ignore", help="columns to leave out, a,b")
    add("--ids", help="columns that name things: a table of embeddings, a,b")
    add("--numbers", help="columns that measure something, a,b")
    add("--lists", help="columns of texts that hold several values each, a,b")
    add("--text", help="columns of texts that are one value each, a,b")
    add("--time_zone", help="in which points in time are taken, such as Europe/Berlin")
    add("--model_dir", help="where training writes; default: experiments/<FILE>")
    add("--delimiter", help="between the columns of CSV files; detected by default")
    add("--no_header", "--no-header", action="store_true", help="CSV files have no header line")
    add("--columns", help="column names of CSV files without a header, a,b,c, in order")
    add(
        "--dataset_type",
        choices=("ParquetDataset", "CsvDataset"),
        help="for files whose names do not show their format",
    )
    return parser


if __name__ == "__main__":
    cli.run(main)
