"""``eval_config``, ``export_config`` and ``runtime_config``: everything around training."""

from collections.abc import Iterator

from tzmmoe.config import duration
from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.data import evaluates
from tzmmoe.config.rules.values import at_least, one_of
from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat.paths import is_set


def check(pipeline: Pipeline, faults: Faults) -> None:
    one_of(("latest", "best"), pipeline.export_config, "export_config", "exporter_type", faults)
    if pipeline.export_config.per_task_best:
        path = "export_config.per_task_best"
        if pipeline.export_config.exporter_type == "best":
            words = 'is true, but exporter_type: "best" exports one checkpoint; remove one of them'
            faults.add(path, words)
    counts = ["num_steps", "batch_size", "log_step_count_steps"]
    at_least(1, pipeline.eval_config, "eval_config", counts, faults)
    at_least(0, pipeline.runtime_config, "runtime_config", ["seed"], faults)
    for name in ("timeout", "grace_period", "collective_timeout"):
        if pipeline.runtime_config.HasField(name):
            with faults.under(f"runtime_config.{name}"):
                duration.seconds(getattr(pipeline.runtime_config, name))


def notes(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.eval_config
    if config.reserved_columns and not config.predictions_path:
        yield "eval_config.reserved_columns has no effect without predictions_path"
    if not evaluates(pipeline) and pipeline.export_config.HasField("best_exporter_metric"):
        yield "export_config.best_exporter_metric has no effect without eval_input_path"
    if evaluates(pipeline) or pipeline.test_input_path:
        return
    names = ("num_steps", "predictions_path", "batch_size", "output_file", "task_metrics")
    for name in names:
        if is_set(config, name):
            yield f"eval_config.{name} has no effect without eval_input_path"


RULES = Rules(check=check, notes=notes)
