"""The features of a pipeline, one by one."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from tzmmoe.config.dialects.easyrec.ranges import names_of
from tzmmoe.drafting.easyrec.features.ids import put_id
from tzmmoe.drafting.easyrec.features.numbers import put_number
from tzmmoe.drafting.easyrec.source import SEQUENCES, Part
from tzmmoe.drafting.traced import TracedPart
from tzmmoe.errors import did_you_mean
from tzmmoe.protos.compat.easyrec_pb2 import Feature
from tzmmoe.textformat.writer import written

OTHER_KINDS = {
    "ComboFeature": "crossed features are not supported yet; join the columns into one, and read "
    "that with an IdFeature",
    "LookupFeature": "lookups in a map are not supported yet; write the value into a column, and "
    "read that with an IdFeature",
    "ExprFeature": "expressions of several columns are not supported yet; write the value into a "
    "column, and read that with a RawFeature",
    "SequenceFeature": SEQUENCES,
    "PassThroughFeature": "is not supported; remove it",
}
COLLISIONS = "tables that grow are not supported; give hash_bucket_size in its place"
OF_NUMBERS = "a RawFeature has no table by number or word"
OF_ONE_VALUE = "the feature reads one value"
IDLE = {
    "RawFeature": {
        **dict.fromkeys(("hash_bucket_size", "vocab_list", "vocab_file"), OF_NUMBERS),
        "kv_separator": OF_NUMBERS,
    },
    "IdFeature": {
        **dict.fromkeys(("separator", "kv_separator"), OF_ONE_VALUE),
        **dict.fromkeys(("min_val", "max_val", "normalizer_fn", "boundaries"), "it is an id"),
        "raw_input_dim": "it is an id",
    },
    "TagFeature": {
        **dict.fromkeys(("min_val", "max_val", "normalizer_fn", "boundaries"), "it is an id"),
        "raw_input_dim": "it is an id",
    },
}
OF_ALL = {
    "max_partitions": "train_config.table_placement says where tables are",
    "seq_multi_sep": "it is not a sequence",
    "max_seq_len": "it is not a sequence",
    "sequence_combiner": "it is not a sequence",
    "sub_feature_type": "it is not a sequence",
    "sequence_length": "it is not a sequence",
    "lookup_max_sel_elem_num": "it is not a lookup",
    "expression": "it is not an ExprFeature",
    "combo_join_sep": "it is not a ComboFeature",
    "combo_input_seps": "it is not a ComboFeature",
}


@dataclass(frozen=True)
class PipelineFeature:
    """A feature of the pipeline: its setting, its name, and the column that it reads."""

    part: Part
    name: str
    column: str

    @property
    def kind(self) -> str:
        return self.part.value("feature_type")


def features_of(whole: Part) -> list[PipelineFeature]:
    """The features of either form, with those that share a setting written out."""
    if whole.has("feature_configs"):
        parts = whole.parts("feature_configs")
        if whole.has("feature_config"):
            whole.report.idle["feature_config"] = "feature_configs are set"
    else:
        whole.part("feature_config").idle({"embedding_on_cpu": "tables lie where the model does"})
        parts = whole.part("feature_config").parts("features")
    features = []
    expands = whole.part("data_config").value("auto_expand_input_fields")
    for part in parts:
        inputs = part.value("input_names")
        if inputs:
            name = part.value("feature_name") or inputs[0]
            features.append(PipelineFeature(part, name, inputs[0]))
        elif not part.has("shared_names"):
            part.fault("input_names", "is not set; name the column that the feature reads")
        shared = _shared_names(part, expands)
        features += [PipelineFeature(_sharing(part, name), name, name) for name in shared]
    return features


def _shared_names(part: Part, expands: bool) -> list[str]:
    try:
        names = part.value("shared_names")
        return [own for name in names for own in (names_of(name) if expands else [name])]
    except ValueError as error:
        part.fault("shared_names", str(error))
        return []


def _sharing(part: Part, name: str) -> Part:
    """The same setting for the column ``name``."""
    message = Feature()
    message.CopyFrom(part.message)
    message.ClearField("shared_names")
    message.input_names[:] = [name]
    return replace(part, message=message)


class Features:
    """Adds features to a config. ``columns``: the settings of input_fields by name. ``grouped``:
    the names of features that a feature group reads. ``resolve`` finds a file that a path names."""

    def __init__(
        self,
        root: TracedPart,
        columns: Mapping[str, Part],
        grouped: Set[str],
        resolve: Callable[[str], str],
    ) -> None:
        self.root, self.columns, self.grouped, self.resolve = root, columns, grouped, resolve
        self._paths: dict[str, str] = {}  # {name: path} of the features so far

    def add(self, feature: PipelineFeature) -> None:
        part = feature.part
        if (first := self._paths.setdefault(feature.name, part.path)) != part.path:
            words = f"is {feature.name!r}, the name of {first} too; rename it, or keep one of them"
            part.faults.add(part.path_of("feature_name"), words)
        if feature.kind in OTHER_KINDS:
            self._other_kind(feature)
            return
        for index, name in enumerate(part.value("input_names")):
            if self.columns and name not in self.columns:
                hint = did_you_mean(name, self.columns)
                words = f"{name!r} is not among data_config.input_fields{hint}"
                part.fault(f"input_names[{index}]", words)
        part.idle(OF_ALL | IDLE[feature.kind])
        part.refuse({"use_embedding_variable": COLLISIONS})
        if part.has("ev_params"):
            part.fault("ev_params", COLLISIONS)
        if part.value("precision") >= 0 and feature.kind != "RawFeature":
            part.fault("precision", "numbers are not rounded before hashing; write ids as text")
        owner = self.root.part("feature_configs")
        owner.mark(part.path, feature.kind)
        column = self.columns.get(feature.column)
        if feature.kind == "RawFeature":
            made = owner.part("raw_feature")
            put_number(made, part, "" if column is None else column.value("default_val"))
        else:
            made = owner.part("id_feature")
            put_id(made, part, column, self.resolve)
        made.message.feature_name = feature.name
        if feature.name != feature.column:
            made.message.expression = f"user:{feature.column}"
        what = f"{made.path.rpartition('.')[2]} {_size(made)}".rstrip()
        self.root.draft.report.features.append(f"{feature.name} ({feature.kind}) -> {what}")

    def _other_kind(self, feature: PipelineFeature) -> None:
        if feature.name in self.grouped:
            feature.part.fault("feature_type", f"is {feature.kind}: {OTHER_KINDS[feature.kind]}")
        else:
            why = f"{feature.name}, a {feature.kind}: no feature group reads it"
            feature.part.report.left_out[feature.part.path] = why


def _size(made: TracedPart) -> str:
    """What gives the number of rows, if it is short."""
    for field, value in made.message.ListFields():
        if field.name in ("hash_bucket_size", "num_buckets", "vocab_file", "boundaries"):
            return f"{field.name} {written(field, value)}"
    return ""
