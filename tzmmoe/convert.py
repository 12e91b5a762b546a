"""python -m tzmmoe.convert: the jobs of another system as a config."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tzmmoe.drafting import command
from tzmmoe.errors import did_you_mean
from tzmmoe.system import cli
from tzmmoe.system.localpath import local

OURS = "the written config has faults, which is a bug in tzmmoe; the file is kept:"


def main(argv: Sequence[str]) -> None:
    forms = "".join(f"\n  {name}  {what}" for name, (what, _) in COMMANDS.items())
    parser = cli.Parser(
        prog="python -m tzmmoe.convert",
        usage="%(prog)s COMMAND (--job | --config) FILE --out FILE ...",
        description=f"Convert a job of another system into an equivalent config.{forms}",
        formatter_class=cli.RAW,
    )
    known = f"available: {', '.join(COMMANDS)}"
    if not argv:
        parser.error(f"name a command; {known}")
    name, *flags = argv
    if name in ("-h", "--help", "--version"):
        parser.parse_args([name])
    if name not in COMMANDS:
        parser.error(f"no command {name!r}{did_you_mean(name, COMMANDS)}; {known}")
    _, convert = COMMANDS[name]
    convert(flags)


def tencent(argv: Sequence[str]) -> None:
    """A job of the MMoE V2 template, and its inputs, as a config."""
    arguments = _tencent_parser().parse_args(argv)
    arguments.job = local(arguments.job, "--job")
    if arguments.inputs is not None:
        arguments.inputs = local(arguments.inputs, "--inputs")
    out = command.output(arguments, [arguments.job, arguments.inputs])

    from tzmmoe.drafting.placeholders import Placeholders, variables
    from tzmmoe.drafting.report import Report
    from tzmmoe.drafting.tencent import conversion

    job, given = Path(arguments.job), variables(arguments.var)
    placeholders = Placeholders(given, str(job.parent), datetime.now(), Report())
    labels = cli.names(arguments.labels)
    draft, sources = conversion.converted(job, arguments.inputs, placeholders, labels)
    command.write(out, draft.text(conversion.heading(sources, command.training(out))))
    for name in placeholders.unused():
        draft.report.idle[f"--var {name}"] = "no placeholder has this name"
    command.show(draft.report.text(), out)
    _check_written(out)


def _tencent_parser() -> command.CommandParser:
    parser = command.CommandParser(
        "tzmmoe.convert tencent",
        "Write a config that does what a JSON job of the MMoE V2 template does, with a comment on "
        "every setting, and report what became what.",
        needed=("--job", "--out"),
    )
    add = parser.add_argument
    add("--job", metavar="FILE", help="the job")
    add("--inputs", metavar="FILE", help="the inputs, in place of model_input_config_file")
    add(
        "--var",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="the value of ${NAME}$ in the job; repeatable; takes precedence over the environment",
    )
    add("--labels", help="the labels of the towers, a,b,c, in the order of task_structs")
    return parser


def easyrec(argv: Sequence[str]) -> None:
    """A pipeline of EasyRec as a config."""
    parser = command.CommandParser(
        "tzmmoe.convert easyrec",
        "Write a config that does what a pipeline of EasyRec does, with every default that differs "
        "written out, and report what became what, what has no counterpart and what differs.",
        needed=("--config", "--out"),
    )
    parser.add_argument("--config", metavar="FILE", help="the pipeline of EasyRec")
    parser.add_argument(
        "--allow_modules",
        metavar="NAMES",
        help="modules that may be imported for classes of your own: a,b; all inside them, too",
    )
    arguments = parser.parse_args(argv)
    arguments.config = local(arguments.config, "--config")
    out = command.output(arguments, [arguments.config])

    from tzmmoe.drafting.easyrec import conversion
    from tzmmoe.drafting.easyrec.data import missing_flags
    from tzmmoe.registry import Modules

    modules = Modules.of(arguments.allow_modules)
    draft = conversion.converted(Path(arguments.config), modules)
    flags = missing_flags(draft.pipeline)
    if modules.allowed:
        flags.append(f"--allow_modules {','.join(modules.allowed)}")
    train = command.training(out, flags)
    command.write(out, draft.text(conversion.heading(Path(arguments.config), train)))
    command.show(draft.report.text(), out, flags)
    _check_written(out)


def _check_written(out: Path) -> None:
    """Assert that the written config has no faults."""
    from tzmmoe import build, config

    faults = config.load(out, rules=build.rules()).faults
    assert not faults, "\n".join([OURS, *(str(fault) for fault in faults)])


COMMANDS = {
    "tencent": ("a JSON job of the MMoE V2 template, with its JSON of inputs", tencent),
    "easyrec": ("a whole pipeline of EasyRec, in text form", easyrec),
}


if __name__ == "__main__":
    cli.run(main)
