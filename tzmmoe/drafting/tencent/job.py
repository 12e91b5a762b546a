"""A job and its inputs -> a config."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tzmmoe.drafting.draft import Draft, Part
from tzmmoe.drafting.tencent import inputs as groups
from tzmmoe.drafting.tencent.evaluation import put_evaluation
from tzmmoe.drafting.tencent.features import Features
from tzmmoe.drafting.tencent.inputs import Inputs, plain_name
from tzmmoe.drafting.tencent.keys import DETAIL, EVALUATION, FILES, JOB, MODEL, TRAINING
from tzmmoe.drafting.tencent.labels import Binding, bind, check_labels
from tzmmoe.drafting.tencent.losses import LossOfTower, losses, put_loss
from tzmmoe.drafting.tencent.metrics import measured, of_towers, put_metrics
from tzmmoe.drafting.tencent.model import output_acts, put_model, structs
from tzmmoe.drafting.tencent.section import Given, Section
from tzmmoe.drafting.tencent.training import batch_size, put_model_dir, put_training
from tzmmoe.drafting.tencent.words import DEVICES, meant
from tzmmoe.errors import Faults, few
from tzmmoe.protos.data_pb2 import FARM_HASH, FG_DAG, CsvDataset
from tzmmoe.tasks.losses import LOSSES
from tzmmoe.textformat.scalars import json_kind


@dataclass(frozen=True)
class Job:
    """The parts of a job. ``place`` finds files: a path in the job -> one from here."""

    job: Section
    model: Section
    training: Section
    evaluation: Section
    sets: dict[str, Section]
    folder: str
    place: Callable[[Given], str]

    @classmethod
    def of(cls, job: Section, folder: str, place: Callable[[Given], str]) -> "Job":
        detail = job.section("job_detail", DETAIL)
        for name in ("model_args", "train_args", "train_data_args"):
            if not detail.has(name):
                detail.fault(name, "is not set")
        return cls(
            job,
            detail.section("model_args", MODEL),
            detail.section("train_args", TRAINING),
            detail.section("eval_args", EVALUATION),
            {name: detail.section(name, FILES) for name in PATHS},
            folder,
            place,
        )


def open_job(value: dict[str, Any], faults: Faults, draft: Draft) -> Section:
    return Section(value, "", JOB, faults, draft.report)


def convert(
    job: Job, inputs: Inputs, draft: Draft, faults: Faults, chosen: Sequence[str] | None
) -> None:
    """Fill the draft. ``faults`` are those of the inputs; the job's own are in its sections."""
    towers = structs(job.model)
    has = groups.used(inputs, job.model, faults)
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
        if any(column in group for group in has.values()):
            features.add(column)
    config = root.part("model_config")
    groups.put(has, features.names, config)
    model = config.part("mmoe_v2", job.model.path)
    put_model(model, job.model, towers, has)
    _put_data(root, job, inputs, binding, hashes=features.hashes)
    acts = output_acts(job.model, len(towers))
    labels = binding.labels if binding else []
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


def _put_data(
    root: Part, job: Job, inputs: Inputs, binding: Binding | None, *, hashes: bool
) -> None:
    part, size = root.part("data_config"), batch_size(job.training)
    part.put("batch_size", size, "rows of a step")
    part.put("eval_batch_size", size, "changes no result")
    labels = binding.labels if binding else []
    part.put("label_fields", Given(labels, "labels"), "one for each tower")
    if inputs.weight:
        path = inputs.definitions[inputs.weight].path
        part.put("sample_weight_fields", Given([inputs.weight], path))
        words = f"{inputs.weight} weighs rows by their share of a batch's weights; Keras divides by"
        job.job.report.notes.append(f"{words} the number of rows instead")
    part.put("fg_mode", Given(FG_DAG), "columns hold raw values")
    if hashes:
        part.put("hash_function", Given(FARM_HASH), "TensorFlow's")
    put_reading(part, job.sets, list(inputs.definitions), max(size.value, 1))


def _put_towers(
    model: Part, job: Job, weight: str, names: dict[str, str], found: list[LossOfTower]
) -> None:
    """One tower for each label."""
    metrics = of_towers(job.training, list(names))
    for index, (label, loss) in enumerate(zip(names, found, strict=False)):
        struct = f"{job.model.path}.task_structs[{index}]"
        tower = model.part("task_towers", struct)
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


def _put_output_acts(model: Part, section: Section, acts: list[str]) -> None:
    """Of all towers at once, where they are alike."""
    given, alike = section.any("task_output_act"), len(set(acts)) == 1
    if alike:
        model.put("task_output_act", Given(acts[0], given.path))
    for index, (tower, act) in enumerate(zip(model.message.task_towers, acts, strict=False)):
        place = f"{model.path}.task_towers[{index}]"
        if not alike:
            Part(model.draft, tower, place).put("output_activation", Given(act, given.path))
        elif given:
            model.draft.origins[f"{place}.output_activation"] = given.path


def _default_metrics(tower: Part, loss: LossOfTower, num_class: int) -> None:
    """What a tower without metrics is measured by."""
    if "y" in LOSSES[loss.word].outputs:
        words = ["mean_absolute_error", "mean_squared_error"]
    else:
        words = ["auc" if num_class <= 2 else "accuracy"]
    for word in words:
        part = tower.part("metrics")
        part.draft.mark(part.path, "")
        part.part(word)
        if word == "auc":
            part.message.auc.thresholds = 200
    tower.draft.report.defaults["task_towers.metrics"] = " and ".join(words)


def _put_runtime(part: Part, job: Section) -> None:
    node = job.text("node_affin", "available")
    try:
        device = Given(meant(node.value, DEVICES), node.path)
        part.put("device", device, "a GPU when there is one" if device.value == "auto" else "")
    except ValueError as error:
        job.fault("node_affin", str(error))
    timeout = job.text("timeout")
    if timeout.value:
        part.put("timeout", Given(timeout.value.strip(), timeout.path), "saves and stops then")
    workers = job.whole("num_workers", 1, least=1)
    if workers and workers.value == 1:
        job.report.became.append((workers.path, "one process", ""))
    elif workers:
        start = f"torchrun --nproc_per_node={workers.value} -m tzmmoe.train"
        words = f"num_workers is {workers.value}: start the training with {start}, which starts as"
        job.report.notes.append(f"{words} many processes; batch_size is that of each")


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


def put_paths(root: Part, sets: dict[str, Section], place: Callable[[Given], str]) -> None:
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
            place(Given(file.strip(), f"{given.path}[{index}]" if several else given.path))
            for index, file in enumerate(files)
        ]
        root.put(PATHS[key], Given(",".join(parts), given.path), MEANINGS[key])


def put_reading(
    part: Part, sets: dict[str, Section], columns: Sequence[str], batch_size: int
) -> None:
    """How the files are read, which must be the same for all."""
    for name in ALIKE:
        _agree(sets, name)
    first = next((each for each in sets.values() if each.value), sets["train_data_args"])
    _put_kind(part, first)
    part.put("delimiter", first.text("field_delim", ","), "between two columns")
    headers = _headers(first)
    with_headers = first.flag("with_headers", not headers)
    part.put("with_header", with_headers, "the first line of a file names its columns")
    if with_headers.value:
        first.idle("headers", "the files have their own")
    else:
        for name in headers or columns:
            part.part("input_fields").set("input_name", name)
    training = sets["train_data_args"]
    shuffle = training.flag("shuffle")
    part.put("shuffle", shuffle)
    if shuffle.value:
        rows = training.whole("shuffle_buffer_size", 2 * batch_size, least=1)
        window = Given(math.ceil(rows.value / batch_size), rows.path)
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


def _put_kind(part: Part, first: Section) -> None:
    given = first.text("file_type")
    if given.value.strip().lower() not in ("", "csv"):
        first.fault("file_type", f"{given.value!r} is not supported; give csv")
    part.put("dataset_type", Given(CsvDataset, given.path))


def _headers(section: Section) -> list[str]:
    """Names of the columns that the job tells."""
    value = section.any("headers").value
    names = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        section.fault("headers", "is no list of names; give the columns in order")
        return []
    return [name.strip() for name in names if name.strip()]
