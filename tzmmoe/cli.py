"""What the command lines share: flags, and exit codes.

0 done, 2 what the user can repair (a message, no traceback), 1 a fault of ours, 130 or 143 when a
signal stopped it.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from tzmmoe.errors import Interrupted, UserError

USER_ERROR = 2


def parser(description: str, *, config: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags of every command; with those of a config if there is one."""
    made = argparse.ArgumentParser(description=description, allow_abbrev=False)
    made.add_argument("--device", help="auto, cpu, cuda or cuda:1; before the config's own")
    if config:
        made.add_argument(
            "--pipeline_config",
            "--pipeline_config_path",
            metavar="FILE",
            help="the config, in protobuf text format, or JSON if it ends in .json",
        )
        made.add_argument("--model_dir", help="in place of the config's")
        made.add_argument("--train_input_path", help="in place of the config's")
        made.add_argument("--eval_input_path", help="in place of the config's")
        made.add_argument(
            "--set",
            metavar="PATH=VALUE",
            action="append",
            default=[],
            help="change any field, such as model_config.mmoe.num_expert=6; repeatable",
        )
        made.add_argument(
            "--edit_config_json",
            metavar="JSON",
            help='several changes at once: {"feature_configs[:].id_feature.embedding_dim": 8}',
        )
    return made


def settings(arguments: argparse.Namespace) -> list[str]:
    """--set and the flags that stand for fields, as PATH=VALUE."""
    paths = ("model_dir", "train_input_path", "eval_input_path")
    given = [(name, getattr(arguments, name)) for name in paths]
    return [*arguments.set, *(f"{name}={path}" for name, path in given if path is not None)]


def names(text: str | None) -> list[str] | None:
    """``a,b`` -> names; None stays."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command line and exit with its code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"{error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except Interrupted as stopped:
        sys.exit(128 + stopped.signum)
    except KeyboardInterrupt:
        sys.exit(130)
