"""One optimizer for everything -> one for the tables and one for the rest."""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tzmmoe.errors import Faults
from tzmmoe.protos.optimizer_pb2 import DenseOptimizer, SparseOptimizer
from tzmmoe.protos.train_pb2 import TrainConfig

PATH = "train_config.optimizer"
BOTH = "sparse_optimizer and dense_optimizer"
# Word: fields whose meaning for tables is another one.
DIFFERS = {"adam_optimizer": {"weight_decay"}}  # decoupled from the gradient there
SPARSE = SparseOptimizer.DESCRIPTOR.fields_by_name


def spread(config: TrainConfig, faults: Faults) -> dict[str, str]:
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
