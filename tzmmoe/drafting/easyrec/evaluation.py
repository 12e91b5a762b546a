"""eval_config and export_config."""

from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.easyrec.words import OF_EVALUATION, OF_EXPORTS, OF_METRICS
from tzmmoe.drafting.section import Entry
from tzmmoe.drafting.traced import TracedPart

KINDS = {"final": "latest", "latest": "latest", "best": "best"}


def put_evaluation(root: TracedPart, evaluation: Part, data: Part, *, with_metrics: bool) -> None:
    """eval_config, which counts rows in EasyRec and batches here. ``with_metrics``: the model reads
    its metrics; ``put_model`` moves them to the tower."""
    rows, size = evaluation.entry("num_examples"), max(data.value("eval_batch_size"), 1)
    if rows.value:
        steps = Entry(-(-rows.value // size), rows.path)
        root.part("eval_config").put("num_steps", steps, f"batches of {size:,} rows")
    evaluation.idle(OF_EVALUATION)
    if not with_metrics:
        evaluation.idle(OF_METRICS)


def put_export(root: TracedPart, export: Part, training: Part) -> None:
    """export_config, and the early stopping that it holds."""
    kind, metric = export.entry("exporter_type"), export.entry("best_exporter_metric")
    if kind.value == "none":
        why = "an export is made when it is asked for: python -m tzmmoe.export"
        export.report.idle[export.path_of("exporter_type")] = why
    elif kind.value not in KINDS:
        export.fault("exporter_type", f"is {kind.value!r}; give final, latest, best or none")
    elif kind:
        root.part("export_config").put("exporter_type", Entry(KINDS[kind.value], kind.path))
    part = root.part("export_config") if metric or export.has("metric_bigger") else None
    if metric:
        part.put("best_exporter_metric", metric)
    if export.has("metric_bigger"):
        part.put("metric_larger_is_better", export.entry("metric_bigger"))
    if export.value("enable_early_stop"):
        _put_stopping(root, export, training)
    else:
        why = "enable_early_stop is not set"
        export.idle(dict.fromkeys(("max_check_steps", "early_stop_func", "early_stop_params"), why))
    export.idle(OF_EXPORTS)


def _put_stopping(root: TracedPart, export: Part, training: Part) -> None:
    words = "functions of yours cannot stop a run; give max_check_steps"
    export.refuse(dict.fromkeys(("early_stop_func", "early_stop_params"), words))
    metric, checks = export.entry("best_exporter_metric"), export.entry("max_check_steps")
    stopping = root.part("train_config").part("early_stopping")
    monitor = Entry(metric.value, metric.path or export.path_of("enable_early_stop"))
    stopping.put("monitor", monitor, "" if metric else "best_exporter_metric is not set")
    stopping.put("mode", Entry("max" if export.value("metric_bigger") else "min"))
    every = max(training.value("save_checkpoints_steps"), 1)
    patience = Entry(max(-(-checks.value // every), 1), checks.path)
    stopping.put("patience", patience, f"evaluations, {every:,} steps apart")
    stopping.put("restore_best_weights", Entry(False))
    export.differs("stopping")
