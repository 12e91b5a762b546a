"""A job and its inputs -> a config."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.report import Report
from tzmmoe.drafting.section import Entry, Section
from tzmmoe.drafting.tencent.features import Features
from tzmmoe.drafting.tencent.groups import put_groups, read_groups
from tzmmoe.drafting.tencent.inputs import Inputs, plain_name
from tzmmoe.drafting.tencent.keys import DETAIL, EVALUATION, FILES, JOB, MODEL, TRAINING
from tzmmoe.drafting.tencent.labels import Binding, bind, check_labels
from tzmmoe.drafting.tencent.losses import LossOfTower, losses, put_loss
from tzmmoe.drafting.tencent.metrics import measured, of_towers, put_metrics
from tzmmoe.drafting.tencent.model import output_acts, put_model, structs
from tzmmoe.drafting.tencent.training import batch_size, put_evaluation, put_model_dir, put_training
from tzmmoe.drafting.tencent.words import DEVICES, meant
from tzmmoe.drafting.traced import TracedDraft, TracedPart
from tzmmoe.errors import Faults, few
from tzmmoe.protos.data_pb2 import FARM_HASH, FG_DAG, CsvDataset
from tzmmoe.tasks.losses import LOSSES
from tzmmoe.textformat.scalars import json_kind

PATHS = {
    "train_data_args": "train_input_path",
    "val_data_args": "eval_input_path",
    "test_data_args": "test_input_path",
}
MEANINGS = {
    "train_data_args": "learned from",
    "val_data_args": "measured on after every epoch",
    "test_data_args": "measured on at the end",
}
ALIKE = ("field_delim", "with_headers", "headers", "file_type")
OF_TRAINING = ("shuffle", "shuffle_buffer_size", "drop_remainder")


def put_paths(root: TracedPart, sets: dict[str, Section], place: Callable[[Entry], str]) -> None:
    """The three paths; one that the job does not name stays unset."""
    for key, section in sets.items():
        given = section.any("data_file")
        if not given:
            if key == "train_data_args" or section.value:
                section.fault("data_file", "is not set; name the files")
            continue
        files = given.value if isinstance(given.value, list) else [given.value]
        if not files or not all(isinstance(file, str) and file.strip() for file in files):
            section.fault("data_file", f"is {json_kind(given.value)}; name the files")
            continue
        several = isinstance(given.value, list)
        if not several:
            files = given.value.split(",")
        parts = [
            place(Entry(file.strip(), f"{given.path}[{index}]" if several else given.path))
            for index, file in enumerate(files)
        ]
        root.put(PATHS[key], Entry(",".join(parts), given.path), MEANINGS[key])


def put_data(
    root: TracedPart,
    sets: dict[str, Section],
    training: Section,
    inputs: Inputs,
    labels: list[str],
    *,
    hashes: bool,
) -> None:
    """Everything of data_config. ``hashes``: a feature hashes its values."""
    part, size = root.part("data_config"), batch_size(training)
    part.put("batch_size", size, "rows of a step")
    part.put("eval_batch_size", size, "changes no result")
    part.put("label_fields", Entry(labels, "labels"), "one for each tower")
    if inputs.weight:
        path = inputs.definitions[inputs.weight].path
        part.put("sample_weight_fields", Entry([inputs.weight], path))
        words = f"{inputs.weight} weighs rows by their share of a batch's weights; Keras divides by"
        part.note(f"{words} the number of rows instead")
    part.put("fg_mode", Entry(FG_DAG), "columns hold raw values")
    if hashes:
        part.put("hash_function", Entry(FARM_HASH), "TensorFlow's")
    for name in ALIKE:
        _agree(sets, name)
    first = next((each for each in sets.values() if each.value), sets["train_data_args"])
    _put_format(part, first, list(inputs.definitions))
    _put_order(part, sets, max(size.value, 1))


def _put_format(part: TracedPart, first: Section, columns: Sequence[str]) -> None:
    """How the files are read: as the first set says, which the others must repeat."""
    kind = first.text("file_type")
    if kind.value.strip().lower() not in ("", "csv"):
        first.fault("file_type", f"{kind.value!r} is not supported; give csv")
    part.put("dataset_type", Entry(CsvDataset, kind.path))
    part.put("delimiter", first.text("field_delim", ","), "between two columns")
    headers = _headers(first)
    with_headers = first.flag("with_headers", not headers)
    part.put("with_header", with_headers, "the first line of a file names its columns")
    if with_headers.value:
        first.idle("headers", "the files have their own")
    else:
        for name in headers or columns:
            part.part("input_fields").set("input_name", name)


def _put_order(part: TracedPart, sets: dict[str, Section], batch_size: int) -> None:
    """Shuffling, and whether the last partial batch counts: of the training files only."""
    training = sets["train_data_args"]
    shuffle = training.flag("shuffle")
    part.put("shuffle", shuffle)
    if shuffle.value:
        rows = training.whole("shuffle_buffer_size", 2 * batch_size, least=1)
        window = Entry(math.ceil(rows.value / batch_size), rows.path)
        part.put("shuffle_buffer_size", window, "in batches")
    else:
        training.idle("shuffle_buffer_size", "shuffle is not true")
    part.put("drop_remainder", training.flag("drop_remainder"))
    for key, section in sets.items():
        for name in OF_TRAINING if key != "train_data_args" else ():
            if section.value.get(name):
                section.idle(name, "only training does so")


def _agree(sets: dict[str, Section], name: str) -> None:
    found: dict[str, Any] = {k: each.value.get(name) for k, each in sets.items() if each.value}
    keys = list(found)
    for key in keys[1:]:
        if found[key] != found[keys[0]]:
            said = json_kind(found[keys[0]])
            words = f"is {json_kind(found[key])}, but that of {keys[0]} is {said}; give one for all"
            sets[key].fault(name, words)


def _headers(section: Section) -> list[str]:
    """Names of the columns that the job tells."""
    value = section.any("headers").value
    names = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        section.fault("headers", f"is {json_kind(value)}; give the names of the columns in order")
        return []
    return [name.strip() for name in names if name.strip()]


@dataclass(frozen=True)
class Job:
    """The parts of a job. ``place`` finds files: a path in the job -> one from here."""

    job: Section
    model: Section
    training: Section
    evaluation: Section
    sets: dict[str, Section]
    folder: str
    place: Callable[[Entry], str]

    @classmethod
    def of(
        cls,
        value: dict[str, Any],
        folder: str,
        place: Callable[[Entry], str],
        faults: Faults,
        report: Report,
    ) -> "Job":
        job = Section(value, "", JOB, faults, report)
        detail = job.section("job_detail", DETAIL)
        for name in ("model_args", "train_args", "train_data_args"):
            if not detail.has(name):
                detail.fault(name, "is not set; add it")
        return cls(
            job,
            detail.section("model_args", MODEL),
            detail.section("train_args", TRAINING),
            detail.section("eval_args", EVALUATION),
            {name: detail.section(name, FILES) for name in PATHS},
            folder,
            place,
        )


def convert(
    job: Job, inputs: Inputs, draft: TracedDraft, faults: Faults, chosen: Sequence[str] | None
) -> None:
    """Fill the draft. ``faults`` are those of the inputs; the job's own are in its sections."""
    towers = structs(job.model)
    groups = read_groups(inputs, job.model, faults)
    binding = _bind(job, inputs, len(towers), chosen) if towers and inputs.labels else None
    if not inputs.labels and inputs.definitions:
        faults.add("inputs", "defines no label; set is_label: true of some")
    root = draft.root
    put_paths(root, job.sets, job.place)
    put_model_dir(root, job.training, job.model.text("name", "mmoe v2").value, job.place)
    validated = job.sets["val_data_args"].has("data_file")
    put_training(root.part("train_config"), job.training, has_validation=validated)
    features = Features(root, inputs.definitions, job.folder)
    for column in inputs.definitions:
        if any(column in group for group in groups.values()):
            features.add(column)
    config = root.part("model_config")
    put_groups(groups, features.names, config)
    model = config.part("mmoe_v2")
    model.mark(job.model.path)
    put_model(model, job.model, towers, groups)
    labels = binding.labels if binding else []
    put_data(root, job.sets, job.training, inputs, labels, hashes=features.hashes)
    acts = output_acts(job.model, len(towers))
    found = losses(job.training, len(towers), labels, acts)
    if binding:
        names = _tower_names(binding, faults)
        _put_towers(model, job, inputs.weight, names, found)
        _put_output_acts(model, job.model, acts)
        if job.evaluation.value:
            put_evaluation(root, job.evaluation, names, job.place)
    _put_runtime(root.part("runtime_config"), job.job)


def _bind(
    job: Job, inputs: Inputs, num_towers: int, chosen: Sequence[str] | None
) -> Binding | None:
    """The labels of the towers; None after a fault."""
    with_metrics = measured(job.training) or measured(job.evaluation)
    report, found = job.job.report, None
    with job.job.faults.under(""):
        found = bind(inputs.labels, num_towers, with_metrics, chosen)
        report.towers += [
            f"tower {number}, {job.model.path}.task_structs[{number - 1}]: {label}"
            for number, label in enumerate(found.labels, start=1)
        ]
        report.towers.append(f"why: {found.why}")
        if found.unused:
            report.towers.append(f"not used: {few(found.unused, 20)}")
    learned = found.labels if found else inputs.labels
    for section, name in (
        (job.training, "losses"),
        (job.training, "metrics"),
        (job.evaluation, "metrics"),
    ):
        check_labels(section, name, learned, inputs.labels)
    return found


def _tower_names(binding: Binding, faults: Faults) -> dict[str, str]:
    """{label: tower}."""
    names = {label: plain_name(label) for label in binding.labels}
    for label, name in names.items():
        if list(names.values()).count(name) > 1:
            faults.add("inputs", f"the label {label!r} and another both become {name!r}; rename it")
    return names


def _put_towers(
    model: TracedPart, job: Job, weight: str, names: dict[str, str], found: list[LossOfTower]
) -> None:
    """One tower for each label."""
    metrics = of_towers(job.training, list(names))
    for index, (label, loss) in enumerate(zip(names, found, strict=False)):
        struct = f"{job.model.path}.task_structs[{index}]"
        tower = model.part("task_towers")
        tower.mark(struct)
        tower.set("tower_name", names[label])
        tower.set("label_name", label)
        *hidden, num_class = model.message.task_structs[index].units
        model.draft.origins[f"{tower.path}.num_class"] = f"{struct}[{len(hidden)}]"
        if metrics and metrics[index]:
            put_metrics(tower, metrics[index], job.training)
        else:
            _default_metrics(tower, loss, num_class)
        put_loss(tower, loss, num_class)
        tower.set("num_class", num_class)
        tower.set("sample_weight_name", weight or None)


def _put_output_acts(model: TracedPart, section: Section, acts: list[str]) -> None:
    """Of all towers at once, where they are alike."""
    given, alike = section.any("task_output_act"), len(set(acts)) == 1
    if alike:
        model.put("task_output_act", Entry(acts[0], given.path))
    for index, (tower, act) in enumerate(zip(model.message.task_towers, acts, strict=False)):
        place = f"{model.path}.task_towers[{index}]"
        if not alike:
            TracedPart(model.draft, tower, place).put("output_activation", Entry(act, given.path))
        elif given:
            model.draft.origins[f"{place}.output_activation"] = given.path


def _default_metrics(tower: TracedPart, loss: LossOfTower, num_class: int) -> None:
    """What a tower without metrics is measured by."""
    if "y" in LOSSES[loss.word].outputs:
        words = ["mean_absolute_error", "mean_squared_error"]
    else:
        words = ["auc" if num_class <= 2 else "accuracy"]
    for word in words:
        part = tower.part("metrics")
        part.mark("")
        part.part(word)
        if word == "auc":
            part.message.auc.thresholds = 200
    tower.draft.report.defaults["task_towers.metrics"] = " and ".join(words)


def _put_runtime(part: TracedPart, job: Section) -> None:
    node = job.text("node_affin", "available")
    try:
        device = Entry(meant(node.value, DEVICES), node.path)
        part.put("device", device, "a GPU when there is one" if device.value == "auto" else "")
    except ValueError as error:
        job.fault("node_affin", str(error))
    timeout = job.text("timeout")
    if timeout.value:
        part.put("timeout", Entry(timeout.value.strip(), timeout.path), "saves and stops then")
    workers = job.whole("num_workers", 1, least=1)
    if workers and workers.value == 1:
        job.report.became.append((workers.path, "one process", ""))
    elif workers:
        start = f"torchrun --nproc_per_node={workers.value} -m tzmmoe.train"
        words = f"num_workers is {workers.value}: start the training with {start}, which starts as"
        job.report.notes.append(f"{words} many processes; batch_size is that of each")
