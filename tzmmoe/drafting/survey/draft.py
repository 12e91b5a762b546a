"""Findings -> a config with a comment on every choice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tzmmoe.data.reading.split import Split
from tzmmoe.drafting.draft import Draft, DraftPart
from tzmmoe.drafting.survey.feature import NOTES, DraftedFeature
from tzmmoe.drafting.survey.findings import DraftRequest, Findings, unique_names
from tzmmoe.drafting.survey.summary import files_of, leaked, left_out
from tzmmoe.drafting.survey.task import LabelTask
from tzmmoe.protos.data_pb2 import FG_DAG, DatasetType, FieldType
from tzmmoe.protos.model_pb2 import DEEP

STEPS = 300  # of a pass, at least
ALL_STEPS = 2000  # of the run, where that takes no more than LONGEST passes
SMALLEST_BATCH, LARGEST_BATCH = 32, 4096
LONGEST = 10
METRICS = {
    "auc": "chance that a 1 gets a higher prediction than a 0; thresholds: 0 makes it exact",
    "accuracy": "share of rows whose most likely class is right",
    "mean_absolute_error": "in the units of the label",
    "mean_squared_error": "what the loss measures",
}
LOSSES = {
    "binary_cross_entropy": "the prediction is the probability of a 1",
    "softmax_cross_entropy": "the prediction is a probability for each class",
    "l2_loss": "the prediction is the expected value",
}


@dataclass(frozen=True)
class TrainingPlan:
    """``batch_size`` rows a step, a power of two; ``num_epochs`` passes."""

    batch_size: int
    num_epochs: int

    @classmethod
    def of(cls, num_rows: int) -> "TrainingPlan":
        power = 2 ** int(math.log2(max(num_rows / STEPS, 1)))
        size = min(max(power, SMALLEST_BATCH), LARGEST_BATCH)
        steps = max(num_rows / size, 1)
        return cls(size, min(math.ceil(ALL_STEPS / steps), LONGEST))


def drafted(findings: Findings) -> Draft:
    """The config."""
    schedule = TrainingPlan.of(findings.num_rows)
    draft = Draft()
    root = draft.root
    _paths(root, findings.request)
    _training(root.part("train_config"), findings.request, schedule)
    _reading(root.part("data_config"), findings, schedule)
    _features(root, findings)
    _model(root.part("model_config"), findings)
    return draft


def heading(findings: Findings, command: str) -> Iterator[str]:
    """What the config's file begins with. ``command`` trains with it."""
    yield f"Drafted by python -m tzmmoe.init. It trains as it is:\n    {command}"
    rows = f"{findings.survey.seen} of {files_of(findings)}"
    yield f"Counts and ranges in the comments are those of {rows}."
    yield from (each.advice for each in findings.tasks if each.advice)


def _paths(root: DraftPart, request: DraftRequest) -> None:
    files = "a file, a folder, a glob, or several, separated by commas"
    if request.frames:
        files = f"rows in memory, as fit gets them; or files: {files}"
    root.set("train_input_path", request.files, files)
    if request.eval_files:
        root.set("eval_input_path", request.eval_files, "evaluated, never trained on")
    elif not request.split:
        remark = 'eval_input_path: ""  # name files with other rows here; without, no evaluation'
        root.remark("eval_input_path", remark)
    root.set("model_dir", request.model_dir, "checkpoints, logs and results")


def _training(train: DraftPart, request: DraftRequest, schedule: TrainingPlan) -> None:
    for name, what in (
        ("sparse_optimizer", "of the embedding tables; only the rows of a batch change"),
        ("dense_optimizer", "of all the rest: experts, gates, towers"),
    ):
        optimizer = train.part(name, what)
        adam = optimizer.part("adam_optimizer", "the first number to tune, by factors of three")
        adam.set("lr", 0.001)
        optimizer.part("constant_learning_rate", "the same lr throughout")
    why = "evaluate and export averages of the weights: steadier, most of all for rare labels"
    train.part("ema", why).set("decay", 0.999, "over the last 1,000 steps, or fewer early on")
    train.set("num_epochs", schedule.num_epochs, "passes over the data")
    if not request.evaluates:
        train.set("save_checkpoints_epochs", 1, "save after every pass")
    else:
        train.set("save_checkpoints_epochs", 1, "save and evaluate after every pass")
        why = "stop after two passes that do not lower the loss of evaluation; the best pass counts"
        stopping = train.part("early_stopping", why)
        stopping.set("monitor", "val_loss")
        stopping.set("patience", 2)
    train.set("keep_checkpoint_max", 3, "the newest ones, and the best beside them")


def _reading(part: DraftPart, findings: Findings, schedule: TrainingPlan) -> None:
    request = findings.request
    why = "rows of a step; 32 to 4096, for a few hundred steps a pass"
    part.set("batch_size", schedule.batch_size, why)
    if request.evaluates:
        part.set("eval_batch_size", 4096, "larger is faster, and changes no result")
    if request.split:
        _split(part, request.split)
    part.set("label_fields", request.learned, "columns to predict")
    if request.weight:
        part.set("sample_weight_fields", [request.weight], "how much each row counts")
    part.set("fg_mode", FG_DAG, "columns hold raw values, not numbers of table rows")
    why = "a new order of the rows in every pass"
    if findings.sorted_by:
        labels = ", ".join(findings.sorted_by)
        why = f"the files are sorted by {labels}; this mixes rows of all places in them"
    part.set("shuffle", True, why)
    part.set("num_workers", 2, "threads that read ahead")
    _csv(part, findings)


def _split(part: DraftPart, split: Split) -> None:
    what = f"values of {split.by}, with all their rows" if split.by else "rows"
    why = f"{what} that are evaluated, never trained on; a hash chooses, always the same ones"
    held_out = part.part("eval_split", why)
    held_out.set("fraction", split.fraction, f"share of the {what.partition(',')[0]}")
    held_out.set("by", split.by, "instead of single rows")


def _csv(part: DraftPart, findings: Findings) -> None:
    """What only CSV files need to be told."""
    reading = findings.reading
    if reading.dataset_type:
        kind = DatasetType.Value(reading.dataset_type)
        part.set("dataset_type", kind, "the files' names do not show it")
    if findings.typed:
        return
    if reading.with_header:
        part.set("with_header", True, "the first line of each file names the columns")
    if reading.null_values:
        what = "texts that mean a missing value, as the files hold them; so do empty cells"
        part.set("null_values", list(reading.null_values), what)
    if reading.delimiter != ",":
        part.set("delimiter", reading.delimiter, "between two columns")
    flags = [each.column.name for each in findings.tasks if each.flag]
    for name in reading.types or flags:
        field = part.part("input_fields", "true is 1, false is 0" if name in flags else "")
        field.set("input_name", name)
        field.set("input_type", FieldType.BOOL if name in flags else None)


def _features(root: DraftPart, findings: Findings) -> None:
    root.remark("feature_configs", NOTES)
    for each in findings.features:
        root.copy("feature_configs", each.config, _why(each, findings))
    if findings.left_out:
        reasons = [f"  {line}" for line in left_out(findings)]
        root.remark("model_config", "\n".join(["Columns that are not features:", *reasons]))


def _why(feature: DraftedFeature, findings: Findings) -> str:
    if feature.column not in findings.leaks:
        return feature.why
    labels = leaked(feature.column, findings, ", ")
    return f"{feature.why}; leaks? alone it predicts {labels}: remove it if made from the label"


def _model(part: DraftPart, findings: Findings) -> None:
    request = findings.request
    why = "what enters the model; one name fewer is one column fewer"
    group = part.part("feature_groups", why)
    group.set("group_name", "all")
    group.set("feature_names", [each.name for each in findings.features])
    group.set("group_type", DEEP, "embeddings and numbers side by side")
    mmoe = part.part("mmoe", "each task mixes the same experts by a gate of its own")
    mmoe.part("expert_mlp", "layers of an expert").set("hidden_units", [64])
    mmoe.set("num_expert", 8, "more help tasks that have little in common")
    towers = unique_names(request.learned)
    for task in findings.tasks:
        _tower(mmoe, task, towers[task.column.name], request.weight)


def _tower(mmoe: DraftPart, task: LabelTask, name: str, weight: str) -> None:
    tower = mmoe.part("task_towers", task.why)
    tower.set("tower_name", name, "names of outputs and metrics end in it")
    tower.set("label_name", task.column.name, "the column it learns")
    if task.auxiliary:
        tower.set("auxiliary", True, "helps the others; has no outputs in exports and predictions")
    if task.classes:
        tower.set("label_classes", list(task.classes), "the values of the column, from class 0 on")
    if task.num_class > 1:
        tower.set("num_class", task.num_class, "one output for each class")
    tower.part("mlp", "the task's own layers").set("hidden_units", [16])
    for metric in task.metrics:
        tower.copy("metrics", metric, METRICS[metric.WhichOneof("metric")])
    tower.copy("losses", task.loss, LOSSES[task.loss.WhichOneof("loss")])
    if weight:
        tower.set("sample_weight_name", weight, "how much each row counts")
    if task.auxiliary:
        why = "0.3 / variance; a label would have 1 / variance"
        tower.set("weight", task.weight, why if task.is_quantity else "a label would have 1")
    elif task.weight != 1:
        tower.set("weight", task.weight, "1 / variance, so that no task drowns the others")
