"""EasyRec's multi-task samples from components, and those of its documentation, on made-up rows."""

from drafting.easyrec.pipelines import BUILT_IN, COMPONENTS, TOWERS
from written import changed

START = COMPONENTS.index("  backbone {")
GROUP = 'inputs { feature_group_name: "all" }'
CTR, CVR = TOWERS[: len(TOWERS) // 2], TOWERS[len(TOWERS) // 2 :]


def components(backbone: str, towers: str = TOWERS, groups: str = "") -> str:
    """A pipeline with this backbone and these towers, and further feature groups."""
    end = (
        f"  backbone {{ {backbone} }}\n  model_params {{ {towers} l2_regularization: 1e-6 }}\n}}\n"
    )
    return COMPONENTS[:START] + groups + end


def mlp(name: str, reads: str, units: str, more: str = "") -> str:
    layer = f'keras_layer {{ class_name: "MLP" mlp {{ hidden_units: {units} {more} }} }}'
    return f'blocks {{ name: "{name}" {reads} {layer} }}'


def block(name: str) -> str:
    return f'inputs {{ block_name: "{name}" }}'


MMOE = 'keras_layer { class_name: "MMoE" mmoe { num_task: TASKS num_expert: 3 EXPERTS } }'
EXPERTS = "expert_mlp { hidden_units: [8, 6] }"


def mmoe(name: str, reads: str, tasks: int = 2, experts: str = EXPERTS) -> str:
    layer = MMOE.replace("TASKS", str(tasks)).replace("EXPERTS", experts)
    return f'blocks {{ name: "{name}" {reads} {layer} }}'


RELATED = CVR.replace(
    "num_class: 1",
    'num_class: 1 relation_tower_names: "ctr" relation_dnn { hidden_units: [4] }',
)
CALIBRATED = RELATED.replace(
    "loss_type: CLASSIFICATION",
    "losses { loss_type: CLASSIFICATION weight: 1 } losses { loss_type: ORDER_CALIBRATE_LOSS }",
)
AITM = (
    mlp("share", GROUP, "[8]")
    + mlp("ctr", block("share"), "[6]")
    + mlp("cvr", block("share"), "[6]")
    + 'blocks { name: "cvr_aitm" inputs { block_name: "cvr" } inputs { block_name: "ctr" }'
    " merge_inputs_into_list: true"
    ' keras_layer { class_name: "AITMTower" aitm { project_dim: 6'
    " transfer_mlp { hidden_units: 6 use_bn: false } } } }"
    + 'output_blocks: "ctr" output_blocks: "cvr_aitm"'
)
MASKS = (
    'blocks { name: "mask_net" ' + GROUP + ' keras_layer { class_name: "MaskNet" masknet {'
    " mask_blocks { aggregation_size: 8 output_size: 4 }"
    " mask_blocks { aggregation_size: 8 output_size: 4 }"
    " mask_blocks { aggregation_size: 8 output_size: 4 }"
    " mlp { hidden_units: [8, 6] } } } }"
)
PPNETS = (
    'blocks { name: "ppnet" inputs { block_name: "mask_net" }'
    ' inputs { feature_group_name: "domain" } merge_inputs_into_list: true'
    " repeat { num_repeat: 3 keras_layer { class_name: 'PPNet' ppnet {"
    " mlp { hidden_units: [8, 6] } gate_params { output_dim: 6 } mode: 'eager'"
    " full_gate_input: false } } } }"
)
WITHOUT_EXPERTS = (
    'blocks { name: "mmoe" inputs { block_name: "ppnet" } inputs { feature_group_name: "all" }'
    f" {MMOE.replace('TASKS', '2').replace('EXPERTS', '')} }}"
)
DOMAIN = 'feature_groups { group_name: "domain" feature_names: "price" wide_deep: DEEP }\n'
STACKED = mmoe("first", GROUP, tasks=3) + mmoe(
    "second", 'inputs { block_name: "first" input_fn: "lambda x: tf.concat(x, axis=1)" }'
)
MIRRORED = (
    "num_steps: 6",
    "num_steps: 6 train_distribute: MultiWorkerMirroredStrategy num_gpus_per_worker: 2",
)
SEVERAL_LOSSES = (
    "loss_type: CLASSIFICATION",
    "losses { loss_type: CLASSIFICATION weight: 1 } losses { loss_type: PAIR_WISE_LOSS weight: 1 }",
)
DBMTL_ON_BACKBONE = changed(
    ("model_params {", "dbmtl {"),
    ('model_class: "MultiTaskModel"', 'model_class: "DBMTL"'),
    text=components(MASKS + "concat_blocks: ['mask_net']", CTR + RELATED),
)
SIMPLE_ON_BACKBONE = changed(
    ("model_params {", "simple_multi_task {"),
    ('model_class: "MultiTaskModel"', 'model_class: "SimpleMultiTask"'),
    text=components(f'blocks {{ name: "identity" {GROUP} }}'),
)
WIDE = """
  feature_groups { group_name: "wide" feature_names: "user" feature_names: "tags" wide_deep: WIDE }
  feature_groups { group_name: "numbers" feature_names: "hours" wide_deep: DEEP }
"""
WIDE_BLOCKS = """
    blocks { name: "wide" inputs { feature_group_name: "wide" } input_layer {
      only_output_feature_list: true wide_output_dim: 4
    } }
    blocks { name: "wide_sum" inputs { block_name: "wide" } lambda {
      expression: "lambda x: tf.add_n(x)"
    } }
    blocks { name: "raw" inputs { feature_group_name: "numbers" } raw_input {} }
    blocks { name: "number" inputs { block_name: "raw" input_slice: "[0]" } }
    blocks { name: "own" inputs { feature_group_name: "all" } embedding_layer {
      embedding_dim: 4 vocab_size: 90
    } }
"""
FIELD = '  input_fields { input_name: "price" input_type: INT32 }\n'
NUMBER = (FIELD, FIELD + FIELD.replace("price", "hours").replace("INT32", "DOUBLE"))
HOURS = (
    "feature_config: {",
    "feature_config: { features { input_names: 'hours' feature_type: RawFeature }",
)
FORMS = {
    "WIDE groups, raw_input and embedding_layer": changed(
        NUMBER, HOURS, text=components(WIDE_BLOCKS, groups=WIDE)
    ),
    "DBMTL on a backbone": DBMTL_ON_BACKBONE,
    "simple multi-task on a backbone": SIMPLE_ON_BACKBONE,
    "several losses": changed(SEVERAL_LOSSES, text=BUILT_IN),
    "mirrored strategy": changed(MIRRORED, text=COMPONENTS),
    "case 8, MMoE": components(mmoe("mmoe", GROUP)),
    "case 10, MaskNet, PPNet and MMoE": components(MASKS + PPNETS + WITHOUT_EXPERTS, groups=DOMAIN),
    "DBMTL": components(mlp("bottom", GROUP, "[8]") + mmoe("mmoe", block("bottom")), CTR + RELATED),
    "simple multi-task": components(f'blocks {{ name: "all" {GROUP} input_layer {{}} }}', TOWERS),
    "AITM": components(AITM, CTR + CALIBRATED),
    "MMoE on MMoE": components(STACKED),
}
