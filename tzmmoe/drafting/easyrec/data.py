"""data_config and the paths: files, columns and batches."""

from collections.abc import Iterator

from tzmmoe.config.dialects.easyrec.ranges import names_of
from tzmmoe.drafting.easyrec.source import Part
from tzmmoe.drafting.easyrec.words import DATASETS, OF_DATA, QUOTING, REFUSED_DATA
from tzmmoe.drafting.section import Entry
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.protos.data_pb2 import FARM_HASH, FG_NORMAL, DataConfig, DatasetType, FieldType
from tzmmoe.protos.pipeline_pb2 import Pipeline

PATHS = ("train_input_path", "eval_input_path", "model_dir")  # each also has a flag of its name
REMOTE = ("oss://", "odps://", "hdfs://", "hive://", "viewfs://")


def put_paths(root: TracedPart, whole: Part, places: tuple[str, ...]) -> None:
    """The paths of files here. All others are left out: flags give them when training."""
    kind = whole.part("data_config").value("input_type")
    reads = kind in DATASETS or not whole.part("data_config").has("input_type")
    for name in PATHS:
        flag, entry = f"--{name}", whole.entry(name)
        if not entry and name != "model_dir":
            entry = whole.entry(f"parquet_{name.removesuffix('_path')}")
        if entry and entry.value.startswith(REMOTE):
            whole.report.left_out[entry.path] = f"{entry.value} is not a path here; pass {flag}"
        elif entry and entry.value and not (reads or name == "model_dir"):
            whole.report.left_out[entry.path] = f"{kind} reads no files here; pass {flag}"
        elif entry and entry.value:
            root.put(name, entry)
        else:
            whole.leave_out(name, f"it is not set; pass {flag}")
    for name in places:
        flag = f"--{'train' if 'train' in name else 'eval'}_input_path"
        whole.leave_out(name, f"the block was not read; pass {flag} with files")


def missing_flags(pipeline: Pipeline) -> list[str]:
    """The flags that give the paths a config lacks."""
    return [f"--{name}" for name in PATHS if not pipeline.HasField(name)]


def put_data(root: TracedPart, data: Part) -> None:
    """data_config, except for what concerns training."""
    part = root.part("data_config")
    data.carry(part, "batch_size")
    _put_reader(part, data)
    part.put("label_fields", Entry(_labels(data), data.entry("label_fields").path))
    for name in ("with_header", "drop_remainder"):
        data.carry(part, name)
    data.carry(part, "separator", "delimiter")
    part.put("eval_batch_size", data.entry("eval_batch_size"))
    if weight := data.entry("sample_weight"):
        part.put("sample_weight_fields", Entry([weight.value], weight.path))
    part.put("fg_mode", Entry(FG_NORMAL), "columns hold raw values")
    part.put("hash_function", Entry(FARM_HASH), "EasyRec's")
    _put_shuffle(part, data)
    _put_columns(part, data)
    data.idle(OF_DATA)
    data.refuse(REFUSED_DATA)
    if any(size > 1 for size in data.value("label_dim")):
        data.fault("label_dim", REFUSED_DATA["label_sep"])
    data.differs("labels")


def _put_reader(part: TracedPart, data: Part) -> None:
    kind = data.entry("input_type")
    if kind and kind.value in DATASETS:
        part.put("dataset_type", Entry(DatasetType.Value(DATASETS[kind.value]), kind.path))
        if kind.value in QUOTING:
            quoting = DataConfig.Quoting.Value(QUOTING[kind.value])
            part.put("quoting", Entry(quoting, kind.path), f"as {kind.value} reads them")
    elif kind:
        words = f"{kind.value} has no counterpart; files are read by their suffix, .csv or .parquet"
        data.leave_out("input_type", words)
    else:
        data.fault("input_type", "is not set; give CSVInput, or how the data are stored")


def _put_shuffle(part: TracedPart, data: Part) -> None:
    shuffle, size = data.entry("shuffle"), data.entry("shuffle_buffer_size")
    if not shuffle.value:
        return
    rows = max(data.value("batch_size"), 1)
    part.put("shuffle", shuffle)
    batches = max(-(-size.value // rows), 1)
    part.put("shuffle_buffer_size", Entry(batches, size.path), f"of {size.value:,} rows there")
    data.differs("shuffle")


def columns(data: Part) -> Iterator[tuple[str, Part]]:
    """The name and the setting of each column, ranges written out."""
    for column in data.parts("input_fields"):
        name = column.value("input_name")
        try:
            names = names_of(name) if data.value("auto_expand_input_fields") else [name]
        except ValueError as error:
            column.fault("input_name", str(error))
            names = []
        yield from ((own, column) for own in names)


def _put_columns(part: TracedPart, data: Part) -> None:
    for name, column in columns(data):
        field = part.part("input_fields")
        field.draft.origins[field.path] = column.path
        field.set("input_name", name)
        field.set("input_type", FieldType.Value(column.value("input_type")))
    for column in data.parts("input_fields"):
        why = "a feature says how many values it reads"
        column.idle({"input_dim": why, "input_shape": why})
        if column.value("user_define_fn"):
            words = "columns are not computed here; write its result into the data"
            column.fault("user_define_fn", words)


def _labels(data: Part) -> list[str]:
    names: list[str] = []
    for index, label in enumerate(data.value("label_fields")):
        if not label.strip():
            words = f"is {label!r}; name a column, or remove it"
            data.fault(f"label_fields[{index}]", words)
        try:
            names += names_of(label)
        except ValueError as error:
            data.fault(f"label_fields[{index}]", str(error))
    return names
