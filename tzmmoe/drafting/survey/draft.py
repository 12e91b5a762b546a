"""The text of a config, with a comment on every choice."""

import textwrap
from collections.abc import Iterator, Sequence

from google.protobuf import text_encoding, text_format
from google.protobuf.message import Message

from tzmmoe.drafting.survey.feature import HASH_ROWS, Drafted, shown
from tzmmoe.drafting.survey.findings import Findings, Request, unique_names
from tzmmoe.drafting.survey.task import Schedule, Task
from tzmmoe.protos.data_pb2 import DataConfig, Field, FieldType
from tzmmoe.protos.feature_pb2 import FeatureConfig

WIDTH = 100
NOTES = f"""\
id_feature: categories. hash_bucket_size: rows of its table; the hash of a value tells its row. \
Ten rows for each distinct value (two, where there are very many), at least {HASH_ROWS:,}, so that \
few values share one. num_buckets: the value itself is the row.
raw_feature: numbers. boundaries cut them into buckets with about equally many rows, each with an \
embedding: any curve can be learned, and extreme values do no harm.
embedding_dim: numbers that stand for a value; 8, or 16 where there are many values.
A missing value adds nothing: its embedding is 0."""


def text(findings: Findings, command: str) -> str:
    """The config. ``command`` trains with it."""
    schedule = Schedule.of(findings.num_rows)
    lines = [
        *_head(findings, command),
        "",
        *_paths(findings.request),
        "",
        *_training(findings.request, schedule),
        "",
        *_reading(findings, schedule),
        "",
        *_features(findings),
        "",
        *_model(findings),
    ]
    return "\n".join(lines) + "\n"


def _head(findings: Findings, command: str) -> Iterator[str]:
    first, more = findings.source.files[0], len(findings.source.files) - 1
    files = f"{first} and {more} more files" if more else first
    yield from _remark("Drafted by python -m tzmmoe.init. It trains as it is:")
    yield f"#   {command}"
    seen = findings.survey.seen
    yield from _remark(f"Counts and ranges in the comments are those of {seen} of {files}.")
    for each in findings.tasks:
        if each.advice:
            yield from _remark(each.advice)


def _paths(request: Request) -> Iterator[str]:
    path = f"train_input_path: {quoted(request.files)}"
    yield from _line(path, "a file, a folder, a glob, or several by commas")
    if request.eval_files:
        yield from _line(
            f"eval_input_path: {quoted(request.eval_files)}", "measured on, never learned from"
        )
    else:
        yield from _line(
            '# eval_input_path: ""', "name files with other rows here; without, nothing is measured"
        )
    yield from _line(f"model_dir: {quoted(request.model_dir)}", "checkpoints, logs and results")


def _training(request: Request, schedule: Schedule) -> Iterator[str]:
    yield "train_config {"
    for name, what in (
        ("sparse", "of the embedding tables; only the rows of a batch change"),
        ("dense", "of all the rest: experts, gates, towers"),
    ):
        yield from _line(f"  {name}_optimizer {{", what)
        adam = "    adam_optimizer { lr: 0.001 }"
        yield from _line(adam, "the first number to vary, threefold each way")
        yield from _line("    constant_learning_rate {}", "the same lr throughout")
        yield "  }"
    yield from _line(f"  num_epochs: {schedule.num_epochs}", "passes over the data")
    if request.eval_files:
        yield from _line("  save_checkpoints_epochs: 1", "save and measure after every pass")
        yield from _line(
            '  early_stopping { monitor: "val_loss" patience: 1 }',
            "stop when a pass did not lower the losses on eval_input_path; the best one counts",
        )
    else:
        yield from _line("  save_checkpoints_epochs: 1", "save after every pass")
    yield from _line("  keep_checkpoint_max: 3", "the newest, and the best beside them")
    yield "}"


def _reading(findings: Findings, schedule: Schedule) -> Iterator[str]:
    request = findings.request
    yield "data_config {"
    yield from _line(
        f"  batch_size: {schedule.batch_size}",
        "rows of a step; 32 to 4096, for some hundred steps a pass",
    )
    if request.eval_files:
        yield from _line("  eval_batch_size: 4096", "larger is faster, and changes no result")
    labels = ", ".join(quoted(name) for name in request.labels)
    yield from _line(f"  label_fields: [{labels}]", "columns to learn")
    if request.weight:
        yield from _line(
            f"  sample_weight_fields: [{quoted(request.weight)}]", "how much each row counts"
        )
    yield from _line("  fg_mode: FG_DAG", "columns hold raw values, not numbers of table rows")
    if findings.sorted_by:
        labels = ", ".join(findings.sorted_by)
        why = f"the files are sorted by {labels}: shuffle them, this reaches 32 batches far"
    else:
        why = "a new order of the rows in every pass"
    yield from _line("  shuffle: true", why)
    yield from _line("  num_workers: 2", "threads that read ahead")
    yield from _csv(findings)
    yield "}"


def _csv(findings: Findings) -> Iterator[str]:
    """What only CSV files need to be told."""
    reading = findings.reading
    if reading.dataset_type:
        yield from _line(f"  dataset_type: {reading.dataset_type}", "the files' names do not tell")
    if findings.typed:
        return
    if reading.with_header:
        yield from _line("  with_header: true", "the first line of each file names the columns")
    if reading.delimiter != ",":
        yield from _line(f"  delimiter: {quoted(reading.delimiter)}", "between two columns")
    flags = [each.column.name for each in findings.tasks if each.flag]
    for name in reading.types or flags:
        field = Field(input_name=name)
        if name in flags:
            field.input_type = FieldType.BOOL
        meaning = "true is 1, false is 0" if name in flags else ""
        yield from _line(f"  {short(DataConfig(input_fields=[field]))}", meaning)


def _features(findings: Findings) -> Iterator[str]:
    for note in NOTES.split("\n"):
        yield from _remark(note)
    for each in findings.features:
        yield from _line("feature_configs {", _why(each, findings))
        yield from _feature(each.config)
        yield "}"
    if findings.left_out:
        yield from _remark("Columns that are no features:")
    for column in findings.left_out:
        yield from _remark(f"  {shown(column.column)}: {column.why}")


def _why(feature: Drafted, findings: Findings) -> str:
    suspects = findings.leaks.get(feature.column, {})
    found = ", ".join(f"{shown(label)} (AUC {auc:.4f})" for label, auc in suspects.items())
    if not found:
        return feature.why
    return f"{feature.why}; leaks? alone it tells {found}: remove it if it is made from the label"


def _feature(config: FeatureConfig) -> Iterator[str]:
    """One line, and the boundaries of numbers as many as they need."""
    cuts = [repr(cut).removesuffix(".0") for cut in config.raw_feature.boundaries]
    if not cuts:
        yield f"  {short(config)}"
        return
    rest = FeatureConfig()
    rest.CopyFrom(config)
    rest.raw_feature.ClearField("boundaries")
    yield f"  {short(rest)[:-2]}"
    yield from _list("boundaries", cuts)
    yield "  }"


def _model(findings: Findings) -> Iterator[str]:
    request = findings.request
    yield "model_config {"
    yield from _line("  feature_groups {", "what enters the model; a name less is a column less")
    yield '    group_name: "all"'
    yield from _list("feature_names", [quoted(each.name) for each in findings.features])
    yield from _line("    group_type: DEEP", "embeddings and numbers side by side")
    yield "  }"
    yield from _line("  mmoe {", "each task mixes the same experts by a gate of its own")
    yield from _line("    expert_mlp { hidden_units: [64] }", "layers of an expert")
    yield from _line("    num_expert: 8", "more help tasks that have little in common")
    towers = unique_names(request.labels)
    for task in findings.tasks:
        yield from _tower(task, towers[task.column.name], request.weight)
    yield "  }"
    yield "}"


def _tower(task: Task, name: str, weight: str) -> Iterator[str]:
    yield from _line("    task_towers {", task.why)
    yield from _line(f"      tower_name: {quoted(name)}", "outputs and metrics end in it")
    yield from _line(f"      label_name: {quoted(task.column.name)}", "the column it learns")
    if task.num_class > 1:
        yield from _line(f"      num_class: {task.num_class}", "one output for each class")
    yield from _line("      mlp { hidden_units: [16] }", "the task's own layers")
    for metric in task.metrics:
        meaning = METRICS[metric.WhichOneof("metric")]
        yield from _line(f"      metrics {{ {short(metric)} }}", meaning)
    yield from _line(f"      losses {{ {short(task.loss)} }}", LOSSES[task.loss.WhichOneof("loss")])
    if weight:
        yield from _line(f"      sample_weight_name: {quoted(weight)}", "how much each row counts")
    if task.weight != 1:
        why = "1 / variance, so that no task drowns the others"
        yield from _line(f"      weight: {task.weight:g}", why)
    yield "    }"


METRICS = {
    "auc": "chance that a 1 gets a higher prediction than a 0; thresholds: 0 makes it exact",
    "accuracy": "share of rows whose most likely class is right",
    "mean_absolute_error": "in the units of the label",
    "mean_squared_error": "what the loss measures",
}
LOSSES = {
    "binary_cross_entropy": "the prediction is the chance of a 1",
    "softmax_cross_entropy": "the prediction is a chance for each class",
    "l2_loss": "the prediction is what to expect on average",
}


def quoted(value: str) -> str:
    """A string as the text format writes it."""
    return f'"{text_encoding.CEscape(value, as_utf8=True)}"'


def short(message: Message) -> str:
    return text_format.MessageToString(
        message, as_one_line=True, as_utf8=True, use_short_repeated_primitives=True
    )


def _list(name: str, items: Sequence[str]) -> Sequence[str]:
    """Items without spaces in them, on as many lines as they need."""
    return textwrap.wrap(
        f"{name}: [{', '.join(items)}]",
        WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _line(code: str, comment: str) -> Iterator[str]:
    """Code with its comment, which goes on below where it is long."""
    room = max(WIDTH - len(code) - 4, 40)
    first, *more = textwrap.wrap(comment, room) or [""]
    yield f"{code}  # {first}" if first else code
    for part in more:
        yield f"{' ' * len(code)}  # {part}"


def _remark(comment: str) -> Sequence[str]:
    return textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="#   ")
