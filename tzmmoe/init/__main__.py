"""python -m tzmmoe.init: draft a config from data files, with a comment on every choice."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from tzmmoe import cli
from tzmmoe.errors import ConfigError


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    out = Path(arguments.out)
    if out.exists() and not arguments.force:
        raise ConfigError.at("--out", f"{out} is there already; pass --force to replace it")
    if not out.parent.is_dir():
        raise ConfigError.at("--out", f"{out.parent} is no folder; make it first")

    from tzmmoe.init import draft, report
    from tzmmoe.init.findings import Request, find
    from tzmmoe.init.reading import CsvFlags

    names = cli.names(arguments.columns)
    request = Request(
        files=arguments.data,
        labels=cli.names(arguments.labels),
        weight=arguments.weights,
        ignore=cli.names(arguments.ignore),
        eval_files=arguments.eval_data,
        model_dir=arguments.model_dir or f"experiments/{out.stem}",
        csv=CsvFlags(
            delimiter=arguments.delimiter.replace("\\t", "\t") or None,
            header=not (arguments.no_header or names),
            names=names,
            dataset_type=arguments.dataset_type,
        ),
    )
    command = f"python -m tzmmoe.train --pipeline_config {shlex.quote(str(out))}"
    findings = find(request)
    try:
        out.write_text(draft.text(findings, command), encoding="utf-8")
    except OSError as error:
        raise ConfigError.at("--out", f"cannot write {out}: {error.strerror}") from error
    print(report.summary(findings, out, command))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tzmmoe.init",
        description="Draft a config from data files, with a comment on every choice.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", required=True, help="Parquet or CSV: a file, folder, glob, or several by commas")
    add("--labels", required=True, help="columns to learn, a,b")
    add("--out", required=True, metavar="FILE", help="the config to write")
    add("--force", action="store_true", help="replace FILE if it is there")
    add("--eval_data", default="", help="files to measure on, as --data")
    add("--weights", default="", help="the column that tells how much each row counts")
    add("--ignore", default="", help="columns to leave out, a,b")
    add("--model_dir", default="", help="where training will write; experiments/<FILE> if unset")
    add("--delimiter", default="", help="between the columns of CSV files; found out if unset")
    add("--no_header", "--no-header", action="store_true", help="CSV files have no line of names")
    add("--columns", default="", help="names for CSV files without header, a,b,c, in order")
    add(
        "--dataset_type",
        choices=("ParquetDataset", "CsvDataset"),
        help="for files whose names do not tell",
    )
    return parser


if __name__ == "__main__":
    cli.run(main)
