"""train_data_args, val_data_args, test_data_args -> the paths, and how files are read."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from tzmmoe.config.scalars import json_kind
from tzmmoe.convert.draft import Part
from tzmmoe.convert.section import Given, Section
from tzmmoe.protos.data_pb2 import CsvDataset

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
