"""python -m tzmmoe.init: draft a config from data files, with a comment on every choice."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from tzmmoe.errors import ConfigError
from tzmmoe.system import cli

NEEDED = ("data", "labels", "out")


def main(argv: Sequence[str]) -> None:
    parser = _parser()
    arguments = parser.parse_args(argv)
    lacking = [f"--{name}" for name in NEEDED if getattr(arguments, name) is None]
    if lacking:
        parser.error(f"{' and '.join(lacking)} must be given")
    out = Path(arguments.out)
    if out.exists() and not arguments.force:
        raise ConfigError.at("--out", f"{out} is there already; pass --force to replace it")
    if not out.parent.is_dir():
        raise ConfigError.at("--out", f"{out.parent} is no folder; make it first")

    from tzmmoe.drafting.survey import draft, report
    from tzmmoe.drafting.survey.findings import Request, find
    from tzmmoe.drafting.survey.reading import CsvFlags

    names = cli.names(arguments.columns) or []
    request = Request(
        files=arguments.data,
        labels=cli.names(arguments.labels),
        weight=arguments.weights or "",
        ignore=cli.names(arguments.ignore) or [],
        eval_files=arguments.eval_data or "",
        model_dir=arguments.model_dir or f"experiments/{out.stem}",
        csv=CsvFlags(
            delimiter="\t" if arguments.delimiter == "\\t" else arguments.delimiter,
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


def _parser() -> cli.Parser:
    """What is needed is not marked as required: a misspelt flag is told before what it stands for
    is missed."""
    parser = cli.Parser(
        prog="python -m tzmmoe.init",
        description="Draft a config from data files, with a comment on every choice. --data, "
        "--labels and --out are needed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data", help="Parquet or CSV: a file, folder, glob, or several by commas")
    add("--labels", help="columns to learn, a,b")
    add("--out", metavar="FILE", help="the config to write")
    add("--force", action="store_true", help="replace FILE if it is there")
    add("--eval_data", help="files to measure on, as --data")
    add("--weights", help="the column that tells how much each row counts")
    add("--ignore", help="columns to leave out, a,b")
    add("--model_dir", help="where training will write; experiments/<FILE> if unset")
    add("--delimiter", help="between the columns of CSV files; found out if unset")
    add("--no_header", "--no-header", action="store_true", help="CSV files have no line of names")
    add("--columns", help="names for CSV files without header, a,b,c, in order")
    add(
        "--dataset_type",
        choices=("ParquetDataset", "CsvDataset"),
        help="for files whose names do not tell",
    )
    return parser


if __name__ == "__main__":
    cli.run(main)
