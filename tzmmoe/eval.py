"""python -m tzmmoe.eval: evaluate a checkpoint."""

from collections.abc import Sequence

from tzmmoe.system import cli


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("Evaluate a checkpoint.")
    parser.add_argument(
        "--checkpoint_path", help="a checkpoint or a model_dir (default: the config's model_dir)"
    )
    parser.add_argument("--predictions_path", help="write outputs and labels to this file")
    cli.add_accept_changes(parser)
    arguments = parser.parse_args(argv)
    if not arguments.pipeline_config:
        parser.error("--pipeline_config is required")
    if arguments.eval_input_path and arguments.test_input_path is None:
        arguments.test_input_path = ""  # else the config's test files would win over the flag

    from tzmmoe.pipeline import Pipeline

    fields = (*cli.FIELDS, "eval_config.predictions_path")
    Pipeline.of_command(arguments.pipeline_config, **cli.changes(arguments, fields)).evaluate(
        arguments.checkpoint_path,
        arguments.predictions_path,
        accept_changes=arguments.accept_changes,
    )


if __name__ == "__main__":
    cli.run(main)
