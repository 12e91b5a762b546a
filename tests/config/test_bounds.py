"""A number that is too small is answered with a bound that is then accepted."""

import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from written import CONFIG, built, changed, load, message_types, read, said

from tzmmoe import config as configs
from tzmmoe.build import rules
from tzmmoe.config.facts import FACTS
from tzmmoe.registry import Modules

UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def unsigned(descriptor: Descriptor) -> list[FieldDescriptor]:
    return [field for field in descriptor.fields if field.cpp_type in UNSIGNED]


def refused_zeros(message: Message, lines: str) -> set[str]:
    """The unsigned fields that are 0 and of which lines say so."""
    return {
        f"{message.DESCRIPTOR.name}.{field.name}"
        for field in unsigned(message.DESCRIPTOR)
        if f"{field.name}: is 0; give 1 or more" in lines
    }


def test_all_fields_that_must_be_positive_exist() -> None:
    every = {f"{d.name}.{f.name}" for d in message_types().values() for f in unsigned(d)}
    assert set(FACTS.positive) <= every


@pytest.mark.parametrize("section", ["train_config", "eval_config", "data_config"])
def test_a_field_that_must_not_be_0_is_known_as_positive(tmp_path: Path, section: str) -> None:
    pipeline = read(changed())
    message = getattr(pipeline, section)
    for field in unsigned(message.DESCRIPTOR):
        if not field.is_repeated and field.name not in ("num_samples", "num_val_samples"):
            setattr(message, field.name, 0)
    (tmp_path / "zeros.config").write_text(text_format.MessageToString(pipeline))
    lines = "\n".join(built(load(tmp_path / "zeros.config"))[1])
    refused = refused_zeros(message, lines)
    assert refused
    assert refused <= set(FACTS.positive)


RATE = "constant_learning_rate {}"
ITEM = 'id_feature { feature_name: "item" num_buckets: 20 embedding_dim: 4 }'
OF_ITEM = 'id_feature { feature_name: "item" FIELDS }'
ARGUMENTS = """{
  num_buckets: 20 hash_bucket_size: null vocab_list: [] vocab_dict {} vocab_file: null
  default_bucketize_value: null out_of_range: "ROW_ZERO"
}"""
PRICE = 'raw_feature { feature_name: "price" boundaries: [1, 2] embedding_dim: 4 }'
EPOCHS, DATA = "num_epochs: 1", "data_config {"
METRIC = "      metrics { auc {} }\n"
LOSS = "      losses { binary_cross_entropy {} }\n"
CLASSES = "num_class: 4 losses { softmax_cross_entropy {} } metrics { accuracy { FIELDS } }\n"
MODEL = CONFIG[CONFIG.index("  mmoe {") :]
LEVEL = f"""  ple {{
    extraction_networks {{
      FIELDS task_expert_net {{ hidden_units: 4 }} share_expert_net {{ hidden_units: 4 }}
    }}
{MODEL[MODEL.index("    task_towers") :]}"""
V2 = """  mmoe_v2 {
    mmoe_group: "all" wide_group: "all" FIELDS
    task_towers { tower_name: "ctr" label_name: "click" }
    task_towers { tower_name: "cvr" label_name: "buy" }
  }
}
"""
V2_FIELDS = {
    "num_experts": "2",
    "expert_layers": "4",
    "task_structs": "{ units: [4, 1] } task_structs { units: 1 }",
}
STRUCT = "num_experts: 2 expert_layers: 4 task_structs { FIELDS } task_structs { units: 1 }"

# For each message that has unsigned fields: changes of the small config that leave FIELDS in it,
# and the fields that it cannot do without.
Change = list[tuple[str, str]]
PLACES: dict[str, tuple[list[tuple[str, str]], dict[str, str]]] = {
    "TrainConfig": ([(EPOCHS, "FIELDS")], {}),
    "ExponentialDecayLR": (
        [(RATE, "exponential_decay_learning_rate { FIELDS }")],
        {"decay_size": "5"},
    ),
    "ManualStepLR": (
        [(RATE, "manual_step_learning_rate { learning_rates: 0.1 FIELDS }")],
        {"schedule_sizes": "5"},
    ),
    "CosineAnnealingLR": ([(RATE, "cosine_annealing_learning_rate { FIELDS }")], {"T_max": "5"}),
    "CosineAnnealingWarmRestartsLR": (
        [(RATE, "cosine_annealing_warm_restarts_learning_rate { FIELDS }")],
        {"T_0": "5"},
    ),
    "GradScaler": ([(EPOCHS, "mixed_precision: 'FP16' grad_scaler { FIELDS }")], {}),
    "EarlyStopping": ([(EPOCHS, "early_stopping { FIELDS }")], {}),
    "TrainSpeedLogger": ([(EPOCHS, "train_speed_logger { FIELDS }")], {}),
    "TensorBoard": ([(EPOCHS, "tensorboard { FIELDS }")], {}),
    "EvalConfig": ([(DATA, f"eval_config {{ FIELDS }} {DATA}")], {}),
    "DataConfig": ([("batch_size: 8", "FIELDS")], {}),
    "AUC": ([("auc {}", "auc { FIELDS }")], {}),
    "Accuracy": ([(METRIC + LOSS, CLASSES)], {}),
    "IdFeature": ([(ITEM, OF_ITEM)], {"num_buckets": "20", "embedding_dim": "4"}),
    "IdFeature.hash_bucket_size": ([(ITEM, OF_ITEM)], {"embedding_dim": "4"}),
    "IdFeature.default_bucketize_value": (
        [(ITEM, OF_ITEM)],
        {"vocab_list": '["a", "b", "c", "d"]', "embedding_dim": "4"},
    ),
    "RawFeature": (
        [(PRICE, 'raw_feature { feature_name: "price" boundaries: [1, 2] FIELDS }')],
        {"embedding_dim": "4"},
    ),
    "AutoDisEmbedding": (
        [(PRICE, 'raw_feature { feature_name: "price" embedding_dim: 4 autodis { FIELDS } }')],
        {},
    ),
    "Periodic": (
        [(PRICE, 'raw_feature { feature_name: "price" embedding_dim: 4 periodic { FIELDS } }')],
        {"sigma": "0.1"},
    ),
    "CustomFeature": (
        [
            (
                ITEM,
                'custom_feature { feature_name: "item" FIELDS }',
            )
        ],
        {"class": '"tzmmoe.features.id.IdFeature"', "embedding_dim": "4", "args": ARGUMENTS},
    ),
    "MMoE": ([("num_expert: 2", "FIELDS")], {}),
    "DBMTL": (
        [
            ("mmoe {", "dbmtl {"),
            ("expert_mlp { hidden_units: [4] }", ""),
            ("num_expert: 2", "FIELDS"),
        ],
        {},
    ),
    "SharedBottom": (
        [
            ("mmoe {", "shared_bottom {"),
            ("expert_mlp {", "bottom_mlp {"),
            ("num_expert: 2", "FIELDS"),
        ],
        {},
    ),
    "PLE": (
        [
            (
                MODEL,
                LEVEL.replace("FIELDS", "expert_num_per_task: 2").replace("ple {", "ple { FIELDS"),
            )
        ],
        {},
    ),
    "DNN": ([(METRIC + LOSS, f"{METRIC + LOSS} dnn {{ FIELDS }}")], {}),
    "MLP": ([("hidden_units: [4]", "FIELDS")], {}),
    "MaxF1": ([(METRIC, "metrics { max_f1 { FIELDS } }")], {}),
    "RecallAtTopK": (
        [
            (METRIC, "num_class: 3 metrics { recall_at_topk { FIELDS } }"),
            (LOSS, "losses { softmax_cross_entropy {} }"),
        ],
        {},
    ),
    "TaskTower": ([(METRIC + LOSS, "FIELDS")], {}),
    "ExtractionNetwork": ([(MODEL, LEVEL)], {"expert_num_per_task": "2", "share_num": "1"}),
    "MMoEV2": ([(MODEL, V2)], V2_FIELDS),
    "TaskStruct": ([(MODEL, V2.replace("FIELDS", STRUCT))], {"units": "1"}),
}
# Of a block: what it reads, and the layer.
LIST, JOINED = "input_layer { only_output_feature_list: true }", "input_layer {}"
PLACED = "input_layer { only_output_3d_tensor: true }"
BLOCKS = """backbone {
  blocks { name: "x" inputs { feature_group_name: "all" } INPUT }
  blocks { name: "y" inputs { block_name: "x" } inputs { block_name: "x" } LAYER }
  blocks { name: "z" inputs { block_name: "y" } LAST }
"""
FLAT = "keras_layer { flatten {} }"
NONE = "lambda { expression: 'lambda x: x' }"
READ = "extra_input_fn: 'lambda x: x[0]'"
HALF = "extra_input_fn: 'lambda x: x[:, :12]'"


def of_layer(layer: str, reads: str = JOINED, trim: str = HALF, last: str = NONE) -> Change:
    """The small config with a layer in place of its model. Its fields are FIELDS."""
    text = BLOCKS.replace("INPUT", reads).replace("LAST", last)
    body = CONFIG[CONFIG.index("  mmoe {") :].replace("  mmoe {", "", 1)
    towers = body[body.index("    task_towers") :]
    own = text.replace("LAYER", f"{trim} keras_layer {{ {layer} }}") + towers
    return [(CONFIG[CONFIG.index("  mmoe {") :], own)]


PAIR = "merge_inputs_into_list: true"
MLP = "mlp { hidden_units: [4] }"
PLACES |= {
    "KerasMLP": (of_layer("mlp { FIELDS }"), {}),
    "SENet": (of_layer("senet { FIELDS }", LIST, ""), {}),
    "MMoELayer.num_expert": (
        of_layer(f"mmoe {{ FIELDS expert_{MLP} }}", last=""),
        {"num_task": "2"},
    ),
    "MMoELayer": (
        of_layer(f"mmoe {{ FIELDS expert_{MLP} }}", last="extra_input_fn: 'lambda x: x[0]'"),
        {"num_task": "1", "num_expert": "1"},
    ),
    "Cross": (of_layer("cross { FIELDS }", JOINED, PAIR), {}),
    "CIN": (of_layer("cin { FIELDS }", LIST, ""), {}),
    "BiLinear": (of_layer("bilinear { FIELDS }", LIST, ""), {}),
    "MaskBlock": (of_layer("mask_block { FIELDS }"), {"aggregation_size": "1"}),
    "GateNN": (
        of_layer(f"ppnet {{ {MLP} mode: 'lazy' gate_params {{ FIELDS }} }}", JOINED, PAIR),
        {},
    ),
    "Gate": (
        of_layer("gate { FIELDS }", LIST, "extra_input_fn: 'lambda x: [x[0][:, :1], x[1]]'"),
        {},
    ),
    "Highway": (of_layer("highway { FIELDS }"), {}),
    "InputLayer": (
        [
            ('group_name: "all"', 'group_name: "all" group_type: WIDE'),
            *of_layer("relu {}", "input_layer { FIELDS }", ""),
        ],
        {},
    ),
    "EmbeddingLayer": (
        of_layer("relu {}", "embedding_layer { FIELDS }", ""),
        {"embedding_dim": "2"},
    ),
    "AITM": (of_layer("aitm { FIELDS }", JOINED, PAIR), {}),
    "PeriodicEmbedding": (of_layer("periodic_embedding { FIELDS }"), {"sigma": "1"}),
    "AutoDisEmbeddingLayer": (
        of_layer("auto_dis_embedding { FIELDS }"),
        {"temperature": "1", "embedding_dim": "2", "num_bins": "2"},
    ),
    "MultiHeadAttention": (
        of_layer(
            "multi_head_attention { FIELDS }",
            PLACED,
            "extra_input_fn: 'lambda x: [x, x, x]'",
            FLAT,
        ),
        {"num_heads": "1", "key_dim": "1"},
    ),
    "Dense": (of_layer("dense { FIELDS }"), {}),
    "RecurrentLayer": (
        [
            (
                old,
                new.replace(
                    "keras_layer { LAYER }", "recurrent { FIELDS keras_layer { relu {} } }"
                ),
            )
            for old, new in of_layer("LAYER")
        ],
        {},
    ),
    "RecurrentLayer.fixed_input_index": (
        [
            (
                old,
                new.replace(
                    "keras_layer { LAYER }", "recurrent { FIELDS keras_layer { cross {} } }"
                ),
            )
            for old, new in of_layer("LAYER", JOINED, PAIR)
        ],
        {},
    ),
    "RepeatLayer": (
        [
            (old, new.replace("keras_layer { LAYER }", "repeat { FIELDS keras_layer { relu {} } }"))
            for old, new in of_layer("LAYER")
        ],
        {},
    ),
}
# An even number; and a word of EasyRec that becomes a tower's.
OTHERS = ("PeriodicEmbedding.embedding_dim", "ModelConfig.num_class")
EVERY = [
    field
    for descriptor in message_types().values()
    for field in unsigned(descriptor)
    if f"{descriptor.name}.{field.name}" not in OTHERS
]


def said_with(folder: Path, field: FieldDescriptor, value: int) -> list[str]:
    """What is said of a config in which an unsigned field has a value."""
    message = field.containing_type.name
    changes, others = PLACES.get(f"{message}.{field.name}") or PLACES[message]
    fields = others | {field.name: str(value)}
    text = " ".join(f"{n} {v}" if v[0] == "{" else f"{n}: {v}" for n, v in fields.items())
    (folder / "a.config").write_text(changed(*changes).replace("FIELDS", text))
    modules = Modules.of("tzmmoe.features.id")
    config = configs.load(folder / "a.config", rules=rules(modules), modules=modules)
    return built(config)[1]


@pytest.mark.parametrize("field", EVERY, ids=[f"{f.containing_type.name}.{f.name}" for f in EVERY])
def test_a_negative_value_of_any_unsigned_field_is_answered_with_the_least_that_is_accepted(
    tmp_path: Path, field: FieldDescriptor
) -> None:
    least = next(value for value in range(4) if not said_with(tmp_path, field, value))
    of_field = re.compile(rf"\b{field.name}(\[0\])?: (.+)")
    [words] = [
        found[2] for line in said_with(tmp_path, field, -1) if (found := of_field.search(line))
    ]
    assert words == f"is -1; give {least} or more"


@pytest.mark.parametrize(
    ("old", "new", "bound"),
    [
        ("num_expert: 2", "num_expert: -4", "give 1 or more"),
        ("hidden_units: [4]", "hidden_units: [-4]", "give 1 or more"),
        ("batch_size: 8", "batch_size: -8", "give 1 or more"),
        ("batch_size: 8", "batch_size: 8 num_workers: -1", "give 0 or more"),
        ("num_epochs: 1", "num_epochs: 1 keep_checkpoint_max: -1", "give 0 or more"),
    ],
)
def test_a_negative_number_is_answered_with_the_true_bound(
    tmp_path: Path, old: str, new: str, bound: str
) -> None:
    (tmp_path / "a.config").write_text(changed((old, new)))
    [line] = said(load(tmp_path / "a.config"))
    assert bound in line
