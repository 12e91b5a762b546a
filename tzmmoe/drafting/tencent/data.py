"""Files of a job and how they are read -> the paths and the data_config."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from tzmmoe.drafting.section import Entry, Section
from tzmmoe.drafting.tencent.inputs import Inputs
from tzmmoe.drafting.tencent.training import batch_size
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.protos.data_pb2 import FARM_HASH, FG_DAG, CsvDataset
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
