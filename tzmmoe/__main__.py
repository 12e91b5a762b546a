"""The command ``tzmmoe``, which is also ``python -m tzmmoe``: its first word names the rest."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tzmmoe.errors import did_you_mean
from tzmmoe.system import cli

COMMANDS = {
    "train": "train a model, evaluating it and saving checkpoints along the way",
    "eval": "evaluate a checkpoint",
    "export": "export a model for serving",
    "predict": "score files with an export or a checkpoint",
    "init": "draft a config from data files",
    "convert": "write a config that does what a job of another system does",
    "synthetic": "write a made-up data set whose best possible AUC is known",
}
OTHER_WORDS = {
    **dict.fromkeys(("fit", "learn", "run", "check"), "train"),
    **dict.fromkeys(("test", "validate", "metrics"), "eval"),
    **dict.fromkeys(("save", "deploy"), "export"),
    **dict.fromkeys(("score", "infer", "inference", "serve"), "predict"),
    **dict.fromkeys(("draft", "new", "create", "start"), "init"),
    **dict.fromkeys(("import", "migrate"), "convert"),
}


def main(argv: Sequence[str]) -> None:
    """Run the command that the first word names, with the others as its flags."""
    program = "python -m tzmmoe" if Path(sys.argv[0]).name == "__main__.py" else "tzmmoe"
    parser = cli.Parser(
        prog=program,
        usage="%(prog)s COMMAND [flags]; COMMAND --help lists its flags",
        description="".join(f"\n  {name:<10} {what}" for name, what in COMMANDS.items()),
        formatter_class=cli.RAW,
        allow_abbrev=False,
    )
    available = f"available: {', '.join(COMMANDS)}"
    if not argv:
        parser.error(f"name a command; {available}")
    name, *flags = argv
    if name.startswith("-"):
        parser.parse_args(argv)
        parser.error(f"name a command before the flags; {available}")
    if name not in COMMANDS:
        other = OTHER_WORDS.get(name.lower())
        hint = f"; did you mean {other!r}?" if other else did_you_mean(name, COMMANDS)
        parser.error(f"no command {name!r}{hint or f'; {available}'}")
    sys.argv = [f"{program} {name}", *flags]
    if any(flag.startswith("--allow_modules") for flag in flags) and "" not in sys.path:
        sys.path.append("")  # where `python -m` would look first
    module = "tzmmoe.synthetic.__main__" if name == "synthetic" else f"tzmmoe.{name}"
    importlib.import_module(module).main(flags)


def run() -> None:
    """The entry point of the installed command."""
    cli.run(main)


if __name__ == "__main__":
    run()
