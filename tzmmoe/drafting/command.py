"""What the commands that draft a config share: --out and --force, and the next command."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tzmmoe.errors import ConfigError
from tzmmoe.system import cli
from tzmmoe.system.durable import check_writable, unwritable, write_text
from tzmmoe.system.localpath import local


class CommandParser(cli.Parser):
    """The flags of one command. ``needed`` ones are not marked as required: a misspelt flag is
    reported before the one that is missing because of it."""

    def __init__(self, prog: str, description: str, needed: Sequence[str]) -> None:
        self.needed = needed
        super().__init__(
            prog=f"python -m {prog}",
            description=f"{description} {_listed(needed)} are needed.",
            allow_abbrev=False,
        )
        self.add_argument("--out", metavar="FILE", help="the config to write")
        self.add_argument("--force", action="store_true", help="replace an existing FILE")

    def parse_args(self, *arguments: Any) -> argparse.Namespace:
        found = super().parse_args(*arguments)
        missing = [flag for flag in self.needed if getattr(found, flag[2:]) is None]
        if missing:
            self.error(f"{_listed(missing)} must be given")
        return found


def output(arguments: argparse.Namespace, inputs: Sequence[str | None]) -> Path:
    """The path in --out. ``inputs`` are the files that the command reads.

    Raises:
        ConfigError: nothing may be written there.
    """
    out = Path(local(arguments.out, "--out"))
    if out.exists() and not arguments.force:
        raise ConfigError.at("--out", f"{out} already exists; pass --force to replace it")
    if out.exists() and any(Path(f).exists() and out.samefile(f) for f in inputs if f):
        raise ConfigError.at("--out", f"{out} is an input of this command; name another file")
    check_writable(out, "--out")
    if out.is_dir():
        raise ConfigError.at("--out", f"{out} is a folder; choose a file")
    if not out.parent.is_dir():
        raise ConfigError.at("--out", f"the folder {out.parent} does not exist; create it first")
    return out


def training(out: Path, flags: Sequence[str] = ()) -> str:
    """The command that trains with a config. ``flags``: with their values, or alone; those get a
    placeholder, as in ``--train_input_path TRAIN_INPUT_PATH``."""
    filled = "".join(f" {flag}" if " " in flag else f" {flag} {flag[2:].upper()}" for flag in flags)
    return f"python -m tzmmoe.train --pipeline_config {shlex.quote(str(out))}{filled}"


def write(out: Path, text: str) -> None:
    """Raises ConfigError when the file cannot be written."""
    try:
        write_text(out, text)
    except OSError as error:
        raise ConfigError.at("--out", unwritable(out, error)) from error


def show(report: str, out: Path, flags: Sequence[str] = ()) -> None:
    """Print what was done, and the commands to go on with."""
    train = training(out, flags)
    next_steps = [f"wrote {out}; try it on one batch, then train:"]
    print("\n".join([report, *next_steps, f"  {train} --check", f"  {train}"]))


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
