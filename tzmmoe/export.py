"""python -m tzmmoe.export: export a model for serving."""

import logging
from collections.abc import Sequence

from tzmmoe.system import cli

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("Export a checkpoint as a program that can be served without its config.")
    parser.add_argument(
        "--checkpoint_path", help="a checkpoint or a model_dir (default: as export_config says)"
    )
    parser.add_argument("--export_dir", help="a new or empty folder")
    cli.add_accept_changes(parser)
    parser.add_argument("--key_file", help="sign the export with the secret in this file")
    parser.add_argument("--auxiliary", action="store_true", help="export auxiliary towers too")
    arguments = parser.parse_args(argv)
    if not arguments.pipeline_config or not arguments.export_dir:
        parser.error("--pipeline_config and --export_dir are required")

    from tzmmoe.pipeline import Pipeline

    if arguments.device not in (None, "auto", "cpu"):
        log.warning("--device has no effect: models are exported on the CPU and run on any device")
    arguments.device = "cpu"
    folder = Pipeline.of_command(arguments.pipeline_config, **cli.changes(arguments)).export(
        arguments.export_dir,
        arguments.checkpoint_path,
        accept_changes=arguments.accept_changes,
        key_file=arguments.key_file,
        auxiliary=arguments.auxiliary,
    )
    log.info("exported to %s", folder)


if __name__ == "__main__":
    cli.run(main)
