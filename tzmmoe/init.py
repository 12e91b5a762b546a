"""python -m tzmmoe.init: draft a config from data files, with a comment on every choice."""

from collections.abc import Sequence

from tzmmoe.drafting import command
from tzmmoe.system import cli


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    out = command.output(arguments, [])

    from tzmmoe.drafting.survey import draft
    from tzmmoe.drafting.survey.feature import ROLES
    from tzmmoe.drafting.survey.findings import DraftRequest, find
    from tzmmoe.drafting.survey.reading import CsvFlags
    from tzmmoe.drafting.survey.summary import summary

    names = cli.names(arguments.columns) or []
    request = DraftRequest(
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
        roles={role: cli.names(getattr(arguments, role)) or [] for role in ROLES},
    )
    findings = find(request)
    heading = draft.heading(findings, command.training(out))
    command.write(out, draft.drafted(findings).text(heading))
    command.show(summary(findings), out)


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
    add("--weights", help="the column of sample weights")
    add("--ignore", help="columns to leave out, a,b")
    add("--ids", help="columns that name things: a table of embeddings, a,b")
    add("--numbers", help="columns that measure something, a,b")
    add("--lists", help="columns of texts that hold several values each, a,b")
    add("--text", help="columns of texts that are one value each, a,b")
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
