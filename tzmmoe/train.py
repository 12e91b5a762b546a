"""python -m tzmmoe.train: train a model, evaluating it and saving checkpoints along the way."""

from collections.abc import Sequence
from functools import partial

from tzmmoe.system import cli


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("Train the model of a config.")
    parser.add_argument(
        "--continue_train", action="store_true", help="resume from model_dir's newest checkpoint"
    )
    parser.add_argument(
        "--ignore_restore_optimizer", action="store_true", help="resume with the weights only"
    )
    cli.add_accept_changes(parser)
    parser.add_argument(
        "--map_path",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="resume with data files or folders that lie elsewhere now; repeatable",
    )
    parser.add_argument("--fine_tune_checkpoint", help="start from this checkpoint's weights")
    parser.add_argument(
        "--predictions_path", help="write the last evaluation's predictions to this file"
    )
    parser.add_argument(
        "--check", action="store_true", help="build everything, read the first batch, then stop"
    )
    parser.add_argument("--graph", metavar="FILE.svg", help="with --check: draw the model's parts")
    arguments = parser.parse_args(argv)
    if not arguments.pipeline_config:
        parser.error("--pipeline_config is required")
    if arguments.graph and not arguments.check:
        parser.error("--graph has no effect without --check; add that")
    from tzmmoe.pipeline import Pipeline

    fields = (
        *cli.FIELDS,
        *("train_config.fine_tune_checkpoint", "eval_config.predictions_path"),
    )
    pipeline = Pipeline.of_command(arguments.pipeline_config, **cli.changes(arguments, fields))
    act = partial(pipeline.check, graph=arguments.graph) if arguments.check else pipeline.fit
    act(
        continue_train=arguments.continue_train,
        ignore_restore_optimizer=arguments.ignore_restore_optimizer,
        accept_changes=arguments.accept_changes,
        map_path=arguments.map_path,
    )


if __name__ == "__main__":
    cli.run(main)
