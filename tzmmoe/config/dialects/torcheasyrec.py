"""Other names and old forms -> the one canonical form that the rest of the code reads."""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.towers import name_towers
from tzmmoe.errors import Faults, join
from tzmmoe.models.mmoe_v2 import rules
from tzmmoe.protos.data_pb2 import FG_DAG, FG_NONE, FG_NORMAL, DataConfig, FgMode, FieldType
from tzmmoe.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import TrainConfig

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
    name_towers(pipeline.model_config)
    written |= rules.spread(pipeline, faults)
    written |= spread_optimizer(pipeline.train_config, faults)
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


PATH = "train_config.optimizer"
BOTH = "sparse_optimizer and dense_optimizer"
# Word: fields whose meaning for tables is another one.
DIFFERS = {"adam_optimizer": {"weight_decay"}}  # decoupled from the gradient there
SPARSE = SparseOptimizer.DESCRIPTOR.fields_by_name


def spread_optimizer(config: TrainConfig, faults: Faults) -> dict[str, str]:
    """``optimizer`` -> ``sparse_optimizer`` and ``dense_optimizer``, in place; the paths that this
    fills, with that which it reads."""
    if not config.HasField("optimizer"):
        return {}
    given = DenseOptimizer()
    given.CopyFrom(config.optimizer)
    config.ClearField("optimizer")
    names = ("sparse_optimizer", "dense_optimizer")
    others = [name for name in names if config.HasField(name)]
    if others:
        faults.add(PATH, f"and {' and '.join(others)} are set; keep optimizer, or {BOTH}")
    found = list(_faults(given))
    for path, words in found:
        faults.add(path, words)
    if found or others:
        for name in set(names) - set(others):  # never used, but nobody shall say that it lacks
            getattr(config, name).sgd_optimizer.SetInParent()
        return {}
    config.dense_optimizer.CopyFrom(given)
    for field, value in given.ListFields():  # the optimizer, and its schedule
        chosen = getattr(config.sparse_optimizer, field.name)
        chosen.SetInParent()
        if field.name == given.WhichOneof("learning_rate"):
            chosen.CopyFrom(value)
            continue
        for shared in _shared(field):  # unset ones too: the defaults of tables are others
            setattr(chosen, shared, getattr(value, shared))
    return {f"train_config.{name}": PATH for name in names}


def _faults(given: DenseOptimizer) -> Iterator[tuple[str, str]]:
    """Paths, and what tables cannot do."""
    word = given.WhichOneof("optimizer")
    if word is None:
        words = [field.name for field in given.DESCRIPTOR.oneofs_by_name["optimizer"].fields]
        yield PATH, f"has no optimizer; give one of {', '.join(w for w in words if w in SPARSE)}"
        return
    if word not in SPARSE:
        yield f"{PATH}.{word}", f"tables have no such optimizer; give {BOTH} instead"
        return
    chosen: Message = getattr(given, word)
    shared = _shared(given.DESCRIPTOR.fields_by_name[word])
    for field, value in chosen.ListFields():
        if field.name in shared or value == field.default_value:
            continue
        text = str(value).lower() if isinstance(value, bool) else f"{value:g}"
        differs = field.name in DIFFERS.get(word, ())
        why = "would act otherwise on tables" if differs else "tables do not have"
        yield f"{PATH}.{word}.{field.name}", f"is {text}, which {why}; give {BOTH} instead"


def _shared(word: FieldDescriptor) -> set[str]:
    """Fields of an optimizer that tables have too, with the same meaning."""
    of_tables = SPARSE[word.name].message_type.fields_by_name
    names = {field.name for field in word.message_type.fields if field.name in of_tables}
    return names - DIFFERS.get(word.name, set())
