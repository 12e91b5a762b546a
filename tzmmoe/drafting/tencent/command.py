"""python -m tzmmoe.convert tencent: a job of the MMoE V2 template, and its inputs, as a config."""

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tzmmoe.errors import ConfigError
from tzmmoe.system import cli

NEEDED = ("job", "out")
OURS = "the written config has faults, which is tzmmoe's own; it is kept as it is:"


def main(argv: Sequence[str]) -> None:
    parser = _parser()
    arguments = parser.parse_args(argv)
    lacking = [f"--{name}" for name in NEEDED if getattr(arguments, name) is None]
    if lacking:
        parser.error(f"{' and '.join(lacking)} must be given")
    out = Path(arguments.out)
    if out.exists() and not arguments.force:
        raise ConfigError.at("--out", f"{out} is there already; pass --force to replace it")
    if out.exists() and any(
        Path(read).exists() and out.samefile(read)
        for read in filter(None, (arguments.job, arguments.inputs))
    ):
        raise ConfigError.at("--out", f"{out} is what the command reads; name another file")
    if not out.parent.is_dir():
        raise ConfigError.at("--out", f"{out.parent} is no folder; make it first")

    from tzmmoe import build, config
    from tzmmoe.drafting.placeholders import Placeholders, variables
    from tzmmoe.drafting.report import Report
    from tzmmoe.drafting.tencent.conversion import converted, text

    job, given = Path(arguments.job), variables(arguments.var)
    placeholders = Placeholders(given, str(job.parent), datetime.now(), Report())
    draft, sources = converted(job, arguments.inputs, placeholders, cli.names(arguments.labels))
    command = f"python -m tzmmoe.train --pipeline_config {shlex.quote(str(out))}"
    try:
        out.write_text(text(draft, sources, command), encoding="utf-8")
    except OSError as error:
        raise ConfigError.at("--out", f"cannot write {out}: {error.strerror}") from error
    for name in placeholders.unused():
        draft.report.idle[f"--var {name}"] = "no placeholder has this name"
    print("\n".join([draft.report.text(), f"wrote {out}; train with it:", f"  {command}"]))
    faults = config.load(out, rules=build.rules()).faults
    assert not faults, "\n".join([OURS, *(str(fault) for fault in faults)])


def _parser() -> cli.Parser:
    """What is needed is not marked as required, as in tzmmoe.init."""
    parser = cli.Parser(
        prog="python -m tzmmoe.convert tencent",
        description="Write a config that does what a JSON job of the MMoE V2 template does, with a "
        "comment on every setting, and tell what became what. --job and --out are needed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--job", metavar="FILE", help="the job")
    add("--inputs", metavar="FILE", help="the inputs, in place of model_input_config_file")
    add(
        "--var",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="the value of ${NAME}$ in the job; repeatable; the environment comes next",
    )
    add("--labels", help="the labels of the towers, a,b,c, in the order of task_structs")
    add("--out", metavar="FILE", help="the config to write")
    add("--force", action="store_true", help="replace FILE if it is there")
    return parser
