"""A kind of feature that is not in the schema: it reads two origins and a file of its own."""

import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tzmmoe.features import FEATURES, Feature
from tzmmoe.features.column import plain
from tzmmoe.features.forms import as_text
from tzmmoe.features.lookup import Identity, find_file, look_up, vocabulary
from tzmmoe.features.shared import Default, SharedFields, Tally
from tzmmoe.jagged import Jagged
from tzmmoe.protos import pipeline_pb2

WORD = "pair_feature"
UNDERSCORE = pa.scalar("_", pa.large_string())
FIELDS = ["feature_name", "left", "right", "default_value", "fg_encoded_default_value"]
FIELDS += ["separator", "words_file"]  # texts; beside them numbers, a flag and a message


class PairFeature(Feature):
    """The word that ``left`` and ``right`` are together, as ``red_car``; its row is its line in
    ``words_file``. A row of data without one of them has no word; unknown words have row 0."""

    origin_fields = ("left", "right")
    file_fields = ("words_file",)

    def __init__(self, shared: SharedFields, *, words_file: str) -> None:
        super().__init__(shared)
        file = find_file(words_file, shared.setting.folder, "words_file")
        words = vocabulary(file.read_text().split(), "", unknown=0)
        self._lookup = words
        if shared.setting.encoded:
            self._lookup = Identity(words.rows, "ROW_ZERO", encoded=True)
        self.table = shared.table(words.rows)
        self.width = self.table.dim
        self._default = Default(shared, self._lookup)

    def values(self, arrays: Sequence[Jagged]) -> Jagged:
        if len(arrays) == 1:  # the words themselves
            return arrays[0]
        left, right = arrays
        empties = [each.empty() for each in arrays if each.empty() is not None]
        if empties:
            gone = np.logical_or.reduce(empties)
            left, right = left.without(gone), right.without(gone)
        texts = [as_text(plain(each).values) for each in (left, right)]
        return Jagged(pc.binary_join_element_wise(*texts, UNDERSCORE), left.lengths)

    def encode(self, arrays: Sequence[Jagged]) -> tuple[Jagged, Tally]:
        return self._default.fill(*look_up(self._lookup, self.values(arrays)))


def schema() -> type:
    """The class of Pipeline in a schema whose FeatureConfig has ``pair_feature`` too."""
    pool, added = descriptor_pool.DescriptorPool(), set()

    def add(file) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for other in file.dependencies:
            add(other)
        proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        if file.name.endswith("feature.proto"):
            extend(proto)
        pool.AddSerializedFile(proto.SerializeToString())

    add(pipeline_pb2.DESCRIPTOR)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tzmmoe.protos.Pipeline"))


def extend(proto: descriptor_pb2.FileDescriptorProto) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    message = proto.message_type.add(name="PairFeature")
    types = dict.fromkeys(FIELDS, kinds.TYPE_STRING)
    types |= {"embedding_dim": kinds.TYPE_UINT32, "use_mask": kinds.TYPE_BOOL}
    for number, (name, kind) in enumerate(types.items(), 1):
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    message.field[FIELDS.index("separator")].default_value = "\x1d"
    message.field[FIELDS.index("default_value")].default_value = ""
    message.field[-1].default_value = "false"
    message.field.add(
        name="embedding_constraints",
        number=50,
        type=kinds.TYPE_MESSAGE,
        type_name=".tzmmoe.protos.ParameterConstraints",
        label=kinds.LABEL_OPTIONAL,
    )
    owner = next(each for each in proto.message_type if each.name == "FeatureConfig")
    owner.field.add(
        name=WORD,
        number=2000,
        type=kinds.TYPE_MESSAGE,
        type_name=".tzmmoe.protos.PairFeature",
        label=kinds.LABEL_OPTIONAL,
        oneof_index=0,
    )


def enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the kind one of the schema's, as a message and a file of its own would."""
    monkeypatch.setattr(FEATURES, "words", (*FEATURES.words, WORD))
    monkeypatch.setitem(FEATURES._classes, WORD, PairFeature)
    monkeypatch.setattr(sys.modules["tzmmoe.config.load"], "Pipeline", schema())
