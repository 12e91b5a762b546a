"""TorchEasyRec's aliases and old forms -> the canonical form that the rest of the code reads.

Aliases are one table here rather than beside the classes that take the field: they belong to the
dialect, are needed before anything is built, and edits of a config use them too.
"""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.walk import messages
from tzmmoe.errors import Faults, join
from tzmmoe.protos.data_pb2 import FG_DAG, FG_NONE, FG_NORMAL, DataConfig, FgMode, FieldType
from tzmmoe.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.protos.train_pb2 import TrainConfig

# Message: {alias: canonical field}. Setting both to different values is a fault.
ALIASES = {
    "MMoE": {"expert_num": "num_expert"},
    "AUC": {"num_thresholds": "thresholds"},
}

INPUT_FIELDS = "data_config.input_fields_str"
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
    """Rewrite aliases and old forms in place; {path set: path that the user wrote}."""
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
    written |= _averages(pipeline, faults)
    return written | spread_optimizer(pipeline.train_config, faults)


def _rename(message: Message, alias: str, name: str, path: str, faults: Faults) -> None:
    value, other = getattr(message, alias), getattr(message, name)
    if message.HasField(name) and other != value:
        words = f"is {value}, but its synonym {name} is {other}; keep {name}"
        faults.add(join(path, alias), words)
    message.ClearField(alias)
    setattr(message, name, value)


def _fg_encoded(config: DataConfig, faults: Faults) -> None:
    """fg_encoded -> fg_mode: true is FG_NONE, false one of the modes that read raw values."""
    if not config.HasField("fg_encoded"):
        return
    raw = FG_DAG if config.fg_threads > 0 else FG_NORMAL
    modes = (FG_NONE,) if config.fg_encoded else (raw, FG_DAG, FG_NORMAL)
    if config.HasField("fg_mode") and config.fg_mode not in modes:
        switch, mode = str(config.fg_encoded).lower(), FgMode.Name(config.fg_mode)
        words = f"is {switch}, which fg_mode: {mode} contradicts; keep fg_mode"
        faults.add("data_config.fg_encoded", words)
    if not config.HasField("fg_mode"):
        config.fg_mode = modes[0]
    config.ClearField("fg_encoded")


def _input_fields(config: DataConfig, faults: Faults) -> None:
    """``a:BIGINT;b:STRING`` -> input_fields."""
    if config.input_fields:
        faults.add(INPUT_FIELDS, "is set, and so is input_fields; keep one")
        return
    for part in filter(None, (part.strip() for part in config.input_fields_str.split(";"))):
        name, _, kind = (word.strip() for word in part.partition(":"))
        word = TYPES.get(kind.upper(), kind.upper())
        if not name:
            faults.add(INPUT_FIELDS, f"{part!r} has no name; write name:TYPE")
            continue
        field = config.input_fields.add(input_name=name)
        if kind and word not in FieldType.keys():  # noqa: SIM118 (an enum wrapper, not a dict)
            words = f"{part!r} has the unknown type {kind!r}; give one of {', '.join(TYPES)}"
            faults.add(INPUT_FIELDS, words)
        elif kind:
            field.input_type = FieldType.Value(word)
    config.ClearField("input_fields_str")


def _averages(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
    """Move ``ema`` of an optimizer to train_config; check and remove use_dense_ema."""
    config, written = pipeline.train_config, {}
    for name in ("dense_optimizer", "optimizer"):
        optimizer, path = getattr(config, name), f"train_config.{name}.ema"
        if not optimizer.HasField("ema"):
            continue
        if config.HasField("ema") and config.ema != optimizer.ema:
            faults.add(path, "is set, and so is train_config.ema; keep train_config.ema")
        elif not config.HasField("ema"):
            config.ema.CopyFrom(optimizer.ema)
            written[EMA] = path
        optimizer.ClearField("ema")
    for name in ("eval_config", "export_config"):
        part, path = getattr(pipeline, name), f"{name}.use_dense_ema"
        if not part.HasField("use_dense_ema"):
            continue
        if part.use_dense_ema and not config.HasField("ema"):
            faults.add(path, f"is true, but no averages are kept; set {EMA} {{}}, or remove this")
        elif config.HasField("ema") and not part.use_dense_ema:
            words = f"is false, but averages are always used; remove this, or {EMA}"
            faults.add(path, words)
        part.ClearField("use_dense_ema")
    return written


EMA = "train_config.ema"
PATH = "train_config.optimizer"
BOTH = "sparse_optimizer and dense_optimizer"
# Optimizer: fields that have another meaning for tables.
DIFFERS = {"adam_optimizer": {"weight_decay"}}  # decoupled from the gradient for tables
SPARSE = SparseOptimizer.DESCRIPTOR.fields_by_name


def spread_optimizer(config: TrainConfig, faults: Faults) -> dict[str, str]:
    """``optimizer`` -> ``sparse_optimizer`` and ``dense_optimizer``, as ``canonicalize`` does."""
    if not config.HasField("optimizer"):
        return {}
    shared = DenseOptimizer()
    shared.CopyFrom(config.optimizer)
    config.ClearField("optimizer")
    names = ("sparse_optimizer", "dense_optimizer")
    others = [name for name in names if config.HasField(name)]
    if others:
        verb = "is" if len(others) == 1 else "are"
        words = f"is set, and so {verb} {' and '.join(others)}; keep optimizer, or {BOTH}"
        faults.add(PATH, words)
    unfit = list(_unfit(shared))
    for path, words in unfit:
        faults.add(path, words)
    if unfit or others:
        for name in set(names) - set(others):  # a placeholder, so it is not reported as missing
            getattr(config, name).sgd_optimizer.SetInParent()
        return {}
    config.dense_optimizer.CopyFrom(shared)
    for field, value in shared.ListFields():  # the optimizer, and its schedule
        target = getattr(config.sparse_optimizer, field.name)
        target.SetInParent()
        if field.name == shared.WhichOneof("learning_rate"):
            target.CopyFrom(value)
            continue
        for name in _shared_fields(field):  # unset ones too, since tables have other defaults
            setattr(target, name, getattr(value, name))
    return {f"train_config.{name}": PATH for name in names}


def _unfit(shared: DenseOptimizer) -> Iterator[tuple[str, str]]:
    """Path and fault of each setting that does not apply to tables."""
    word = shared.WhichOneof("optimizer")
    if word is None:
        words = [field.name for field in shared.DESCRIPTOR.oneofs_by_name["optimizer"].fields]
        yield PATH, f"has no optimizer; give one of {', '.join(w for w in words if w in SPARSE)}"
        return
    if word not in SPARSE:
        yield f"{PATH}.{word}", f"does not exist for tables; give {BOTH} instead"
        return
    names = _shared_fields(shared.DESCRIPTOR.fields_by_name[word])
    for field, value in getattr(shared, word).ListFields():
        if field.name in names or value == field.default_value:
            continue
        text = str(value).lower() if isinstance(value, bool) else f"{value:g}"
        differs = field.name in DIFFERS.get(word, ())
        why = "works differently for tables" if differs else "does not exist for tables"
        yield f"{PATH}.{word}.{field.name}", f"is {text}, which {why}; give {BOTH} instead"


def _shared_fields(word: FieldDescriptor) -> set[str]:
    """The fields of an optimizer that exist for tables too, with the same meaning."""
    of_tables = SPARSE[word.name].message_type.fields_by_name
    names = {field.name for field in word.message_type.fields if field.name in of_tables}
    return names - DIFFERS.get(word.name, set())


RULES = Rules(rewrite=canonicalize)
