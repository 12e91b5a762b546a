"""python -m tzmmoe.synthetic: write rows of clicks and conversions with a known best AUC.

Files: OUT/train/part-000.parquet ..., OUT/eval/part-000.parquet, OUT/optimum.json. Columns:

  user_id, segment          whole numbers from 0; each user has a segment
  item_id, category         likewise, of the item
  hour, position            likewise, of the impression
  viewed_tags               list of tags
  tag_scores                map of tag to weight
  price_ratio, match_score  numbers, of the item and of the impression
  click, conversion         labels, 0 or 1; no conversion without click
  p_click, p_conversion     the probabilities that the labels were drawn with

No model can rank rows better than these probabilities do. Their AUC is printed and kept in
optimum.json: auc_ctr of P(click), auc_cvr_in_space of P(conversion | click) over the clicked rows,
auc_ctcvr of P(conversion). tzmmoe/synthetic/population.py tells how they follow from the columns.
The rows follow from the seed and the sizes, not from the number of files or the format.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tzmmoe.errors import UserError, exactly
from tzmmoe.system import cli
from tzmmoe.system.durable import check_writable
from tzmmoe.system.localpath import local

MOST_ROWS = 10**12
MOST_IDS = 10**8  # of a kind: at 150 bytes each while they are drawn, 15 GB
MOST = {
    "rows": MOST_ROWS,
    "eval_rows": MOST_ROWS,
    "users": MOST_IDS,
    "items": MOST_IDS,
    "tags": MOST_IDS,
    "categories": 10**6,
    "max_values": 1000,
}


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description, and tells the defaults."""


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m tzmmoe.synthetic",
        description=__doc__,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    made.add_argument("--rows", type=int, default=300_000, help="of OUT/train")
    made.add_argument("--eval_rows", type=int, default=50_000, help="of OUT/eval; 0 for none")
    made.add_argument(
        "--out",
        required=True,
        help="folder; an earlier data set in it is replaced",
        default=argparse.SUPPRESS,
    )
    made.add_argument(
        "--format", choices=("parquet", "csv"), default="parquet", help="of the files"
    )
    made.add_argument("--files", type=int, default=1, help="of OUT/train; OUT/eval has one")
    made.add_argument("--seed", type=int, default=0, help="all follows from it")
    made.add_argument("--users", type=int, default=1_000, help="number of user ids")
    made.add_argument("--items", type=int, default=500, help="number of item ids")
    made.add_argument("--categories", type=int, default=50, help="of items")
    made.add_argument("--tags", type=int, default=100, help="of viewed_tags and of tag_scores")
    made.add_argument(
        "--max_values", type=int, default=4, help="of a cell of tags; 0 leaves both columns out"
    )
    made.add_argument(
        "--ids", choices=("int", "string"), default="int", help="string: user_id_17 for 17"
    )
    made.add_argument(
        "--text_cells",
        action="store_true",
        help="Parquet: write tags as text, 3|17 and 3:0.5|17:1.25; CSV always does",
    )
    made.add_argument(
        "--missing",
        type=float,
        default=0.0,
        help="share of missing values in each feature's column",
    )
    return made


def faults(arguments: argparse.Namespace) -> list[str]:
    """What is wrong with the arguments, all of it."""
    least = {"rows": 1, "eval_rows": 0, "files": 1, "seed": 0, "max_values": 0}
    least |= dict.fromkeys(("users", "items", "categories", "tags"), 1)
    found = [
        f"--{name} is {getattr(arguments, name)}; give {bound} or more"
        for name, bound in least.items()
        if getattr(arguments, name) < bound
    ]
    found += [
        f"--{name} is {getattr(arguments, name)}; give {bound:,} or fewer"
        for name, bound in MOST.items()
        if getattr(arguments, name) > bound
    ]
    if arguments.files > max(arguments.rows, 1):
        found.append(f"--files is {arguments.files}, more than --rows; give at most that")
    if arguments.max_values > arguments.tags:
        found.append(f"--max_values is {arguments.max_values}, more than --tags; raise --tags")
    if not 0 <= arguments.missing < 1:
        found.append(f"--missing is {exactly(arguments.missing)}; give a share within [0, 1)")
    return found


def main(argv: Sequence[str]) -> None:
    """Raises UserError when the files cannot be written, or lie on another machine."""
    command = parser()
    arguments = command.parse_args(argv)
    found = faults(arguments)
    if found:
        command.error("\n".join(found))
    arguments.out = Path(local(arguments.out, "--out"))
    check_writable(arguments.out, "--out", is_folder=True)

    from tzmmoe.synthetic.files import OPTIMUM, DatasetRequest, write
    from tzmmoe.synthetic.population import Sizes

    names = ("users", "items", "categories", "tags", "max_values")
    sizes = Sizes(*(getattr(arguments, name) for name in names))
    rest = {name: value for name, value in vars(arguments).items() if name not in names}
    try:
        written = write(DatasetRequest(sizes=sizes, **rest))
    except MemoryError as error:
        raise UserError(
            "the memory does not hold so many ids; give fewer --users, --items, --categories or "
            "--tags"
        ) from error
    for split, summary in written.items():
        best = {name: value for name, value in summary.items() if name.startswith("auc")}
        texts = [f"{name} {'undefined' if a is None else f'{a:.4f}'}" for name, a in best.items()]
        print(
            f"{split}: {summary['rows']:,} rows | click {summary['click_rate']:.2%} | conversion "
            f"{summary['conversion_rate']:.2%} | best possible {', '.join(texts)}"
        )
    print(f"wrote {arguments.out}; the figures are in {arguments.out / OPTIMUM}")


if __name__ == "__main__":
    cli.run(main)
