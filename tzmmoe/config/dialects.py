"""Other names and old forms -> the one canonical form that the rest of the code reads."""

from collections.abc import Iterator

from google.protobuf.message import Message

from tzmmoe.config import mmoe_v2, optimizers
from tzmmoe.errors import Faults, join
from tzmmoe.protos.data_pb2 import FG_DAG, FG_NONE, FG_NORMAL, DataConfig, FgMode, FieldType
from tzmmoe.protos.pipeline_pb2 import Pipeline

# Message: {alias: canonical field}. Both set to different values is a fault.
ALIASES = {
    "MMoE": {"expert_num": "num_expert"},
    "AUC": {"num_thresholds": "thresholds"},
}

INPUT_FIELDS = "data_config.input_fields_str"
# Names of CSV types in it.
TYPES = {
    "BIGINT": "INT64",
    "INT": "INT32",
    "INTEGER": "INT32",
    "SMALLINT": "INT32",
    "TINYINT": "INT32",
    "STRING": "STRING",
    "VARCHAR": "STRING",
    "DOUBLE": "DOUBLE",
    "FLOAT": "FLOAT",
    "BOOLEAN": "BOOL",
}


def canonicalize(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Rewrite aliases and shorthands in place; the paths that this fills, with those it reads."""
    written: dict[str, str] = {}
    for path, message in messages(pipeline):
        for alias, name in ALIASES.get(message.DESCRIPTOR.name, {}).items():
            if message.HasField(alias):
                if not message.HasField(name):
                    written[join(path, name)] = join(path, alias)
                _rename(message, alias, name, path, faults)
    _fg_encoded(pipeline.data_config, faults)
    if pipeline.data_config.HasField("input_fields_str"):
        _input_fields(pipeline.data_config, faults)
        written["data_config.input_fields"] = INPUT_FIELDS
    written |= mmoe_v2.spread(pipeline, faults)
    written |= optimizers.spread(pipeline.train_config, faults)
    return written


def messages(message: Message, path: str = "") -> Iterator[tuple[str, Message]]:
    """Every message that is set, with its path, outer ones first."""
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if not field.is_repeated:
            yield from messages(value, join(path, field.name))
            continue
        for index, element in enumerate(value):
            yield from messages(element, join(path, f"{field.name}[{index}]"))


def _rename(message: Message, alias: str, name: str, path: str, faults: Faults) -> None:
    value = getattr(message, alias)
    if message.HasField(name) and getattr(message, name) != value:
        faults.add(
            join(path, alias),
            f"is {value}, but {name}, which means the same, is {getattr(message, name)}; "
            f"keep {name}",
        )
    message.ClearField(alias)
    setattr(message, name, value)


def _fg_encoded(config: DataConfig, faults: Faults) -> None:
    """The old switch: true is FG_NONE, false raw values."""
    if not config.HasField("fg_encoded"):
        return
    raw = FG_DAG if config.fg_threads > 0 else FG_NORMAL
    meant = (FG_NONE,) if config.fg_encoded else (raw, FG_DAG, FG_NORMAL)
    if config.HasField("fg_mode") and config.fg_mode not in meant:
        given, mode = str(config.fg_encoded).lower(), FgMode.Name(config.fg_mode)
        words = f"is {given}, which fg_mode: {mode} contradicts; keep fg_mode"
        faults.add("data_config.fg_encoded", words)
    if not config.HasField("fg_mode"):
        config.fg_mode = meant[0]
    config.ClearField("fg_encoded")


def _input_fields(config: DataConfig, faults: Faults) -> None:
    """``a:BIGINT;b:STRING`` -> input_fields."""
    if config.input_fields:
        faults.add(INPUT_FIELDS, "and input_fields are both set; keep one")
        return
    for part in filter(None, (part.strip() for part in config.input_fields_str.split(";"))):
        name, _, kind = (word.strip() for word in part.partition(":"))
        word = TYPES.get(kind.upper(), kind.upper())
        if not name:
            faults.add(INPUT_FIELDS, f"{part!r} has no name; write name:TYPE")
            continue
        field = config.input_fields.add(input_name=name)
        if kind and word not in FieldType.keys():  # noqa: SIM118 (an enum wrapper, not a dict)
            faults.add(INPUT_FIELDS, f"{part!r}: no type {kind!r}; give one of {', '.join(TYPES)}")
        elif kind:
            field.input_type = FieldType.Value(word)
    config.ClearField("input_fields_str")
