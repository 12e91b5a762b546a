"""python -m tzmmoe.convert: the jobs of another system as a config."""

import argparse
from collections.abc import Sequence

from tzmmoe.errors import did_you_mean
from tzmmoe.system import cli

COMMANDS = {"tencent": "a JSON job of the MMoE V2 template, with its JSON of inputs"}


def main(argv: Sequence[str]) -> None:
    forms = "".join(f"\n  {name}  {what}" for name, what in COMMANDS.items())
    parser = cli.Parser(
        prog="python -m tzmmoe.convert",
        usage="%(prog)s COMMAND --job FILE --out FILE ...",
        description=f"Write a config that does what a job of another system does.{forms}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = f"there are: {', '.join(COMMANDS)}"
    if not argv:
        parser.error(f"name a command; {known}")
    name, *flags = argv
    if name in ("-h", "--help"):
        parser.print_help()
        return
    if name not in COMMANDS:
        parser.error(f"no command {name!r}{did_you_mean(name, COMMANDS)}; {known}")

    from tzmmoe.drafting.tencent import command

    command.main(flags)


if __name__ == "__main__":
    cli.run(main)
