"""python -m tzmmoe.predict: score files with an export or a checkpoint."""

import argparse
import logging
from collections.abc import Sequence

from tzmmoe.system import cli

log = logging.getLogger(__name__)

PATIENCE_S = 600.0  # how long a process waits for the others before it gives up
MAX_ROWS = 1 << 24

NEED_CONFIG = (  # flags that mean nothing to an export
    *("checkpoint_path", "model_dir", "train_input_path", "eval_input_path"),
    *("set", "edit_config_json", "accept_changes", "auxiliary"),
)


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("Score Parquet or CSV files; they need no labels.")
    parser.add_argument("--saved_model_dir", "--scripted_model_path", help="an exported folder")
    parser.add_argument(
        "--checkpoint_path", help="with --pipeline_config: a checkpoint or a model_dir"
    )
    parser.add_argument("--predict_input_path", help="files, folders or globs, separated by commas")
    parser.add_argument(
        "--predict_output_path",
        help="a .parquet or .csv file, or a folder, which gets part-0.parquet; an existing file is "
        "replaced once all rows are scored, and left as it is if that fails",
    )
    parser.add_argument(
        "--reserved_columns",
        help="input columns to copy to the output: a,b or ALL_COLUMNS",
        default="",
    )
    parser.add_argument(
        "--output_columns", help="outputs to write, such as probs_ctr (default: all)"
    )
    parser.add_argument(
        "--auxiliary", action="store_true", help="write the outputs of auxiliary towers too"
    )
    parser.add_argument("--key_file", help="the secret that the export must have been signed with")
    parser.add_argument("--batch_size", type=int, help="rows scored at a time")
    cli.add_accept_changes(parser)
    arguments = parser.parse_args(argv)
    if not arguments.predict_input_path or not arguments.predict_output_path:
        parser.error("--predict_input_path and --predict_output_path are required")
    if bool(arguments.saved_model_dir) == bool(arguments.pipeline_config):
        parser.error("give either --saved_model_dir, or --pipeline_config for a checkpoint")
    without_effect = [name for name in NEED_CONFIG if getattr(arguments, name)]
    if arguments.saved_model_dir and arguments.auxiliary:
        words = "--auxiliary has no effect with --saved_model_dir, which has the outputs that were "
        parser.error(f"{words}chosen for it; export again with --auxiliary")
    if arguments.saved_model_dir and without_effect:
        parser.error(f"--{without_effect[0]} has no effect with --saved_model_dir; leave it out")
    if arguments.pipeline_config and arguments.key_file:
        parser.error("--key_file has no effect with --pipeline_config; leave it out")
    if arguments.batch_size is not None and not 1 <= arguments.batch_size <= MAX_ROWS:
        parser.error(f"--batch_size is {arguments.batch_size}; must be from 1 to {MAX_ROWS:,}")
    rows = _from_export(arguments) if arguments.saved_model_dir else _from_checkpoint(arguments)
    if not rows:
        path = arguments.predict_input_path
        log.warning("%s: no rows in these files, so the predictions have none either", path)
    log.info("wrote %s predictions to %s", f"{rows:,}", arguments.predict_output_path)


def _from_export(arguments: argparse.Namespace) -> int:
    from tzmmoe.registry import Modules, OwnErrors
    from tzmmoe.serving.predictions import PredictionWriter, check_form, write_predictions
    from tzmmoe.serving.scorer import Scorer
    from tzmmoe.system.localpath import local
    from tzmmoe.system.runtime import find_device, meet

    arguments.predict_output_path = local(arguments.predict_output_path, "--predict_output_path")
    check_form(arguments.predict_output_path, "--predict_output_path")
    device = find_device(arguments.device or "auto")
    world = meet(device, PATIENCE_S)
    scorer = Scorer.of_command(
        arguments.saved_model_dir,
        device,
        allow_modules=arguments.allow_modules or (),
        key_file=arguments.key_file,
    )
    with OwnErrors(Modules.of(arguments.allow_modules)):
        loader = scorer.loader(
            arguments.predict_input_path,
            reserved=cli.names(arguments.reserved_columns),
            batch_size=arguments.batch_size or 4096,
            num_workers=2,
            world=world,
        )
        output, reads = arguments.predict_output_path, loader.source.files
        with PredictionWriter(output, reads, world) as writer:
            chosen = cli.names(arguments.output_columns)
            write_predictions(loader.once(), scorer.predict, writer, chosen)
    return sum(world.gather(writer.num_rows))


def _from_checkpoint(arguments: argparse.Namespace) -> int:
    from tzmmoe.pipeline import Pipeline

    return Pipeline.of_command(arguments.pipeline_config, **cli.changes(arguments)).predict(
        arguments.predict_input_path,
        arguments.predict_output_path,
        checkpoint_path=arguments.checkpoint_path,
        reserved_columns=cli.names(arguments.reserved_columns),
        output_columns=cli.names(arguments.output_columns),
        batch_size=arguments.batch_size,
        accept_changes=arguments.accept_changes,
        auxiliary=arguments.auxiliary,
    )


if __name__ == "__main__":
    cli.run(main)
