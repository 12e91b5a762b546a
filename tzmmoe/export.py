"""python -m tzmmoe.export: write a model for serving."""

import logging
from collections.abc import Sequence

from tzmmoe.system import cli

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("Export a checkpoint as a program that needs no config.")
    parser.add_argument(
        "--checkpoint_path", help="a checkpoint, or a model_dir; unset: by export_config"
    )
    parser.add_argument("--export_dir", help="a new folder")
    arguments = parser.parse_args(argv)
    if not arguments.pipeline_config or not arguments.export_dir:
        parser.error("--pipeline_config and --export_dir are needed")

    from tzmmoe.pipeline import Pipeline

    if arguments.device not in (None, "auto", "cpu"):
        log.warning("--device has no effect: an export is made on the CPU, for any device")
    arguments.device = "cpu"
    folder = Pipeline.load(arguments.pipeline_config, **cli.changes(arguments)).export(
        arguments.export_dir, arguments.checkpoint_path
    )
    log.info("exported to %s", folder)


if __name__ == "__main__":
    cli.run(main)
