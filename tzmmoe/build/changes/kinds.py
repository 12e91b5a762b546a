"""Each field of the schema by what a change of it between two runs would do.

A test fails for a field that is not listed here: whoever adds one decides what its change means.
"""

from enum import Enum
from functools import cache

from google.protobuf.descriptor import FieldDescriptor


class Kind(Enum):
    """What another value of a field would do to weights that were learned with the first one."""

    MEANING = "values, weights or outputs would be read in another way"
    SHAPE = "layers would be missing or others, even where the tensors that are left fit"
    FINGERPRINT = "refused already, by the fingerprint or by the shapes of tensors"
    RESULTS = "training would go on for another objective, and results are not comparable"
    LEARNING = "training would go on in another way"
    NONE = "only where files lie, how fast it is, or what is reported"
    KEY = "the name by which two configs are compared"


# Everything below these messages is of one kind. A setting that an optimizer gets some day is one
# of learning, whatever it is; likewise for the others.
SUBTREES = {
    **dict.fromkeys(("SparseOptimizer", "DenseOptimizer", "GradScaler", "EMA"), Kind.LEARNING),
    **dict.fromkeys(("GradClipping", "EarlyStopping"), Kind.LEARNING),
    **dict.fromkeys(("ParameterConstraints", "TrainSpeedLogger", "TensorBoard"), Kind.NONE),
    **dict.fromkeys(("ExportConfig", "EvalConfig"), Kind.NONE),
    # Swapped inputs, another slice or function leave all shapes as they are. See also OF_LAYERS.
    **dict.fromkeys(("Block", "BlockPackage", "KerasMLP"), Kind.MEANING),
    "EvalSplit": Kind.RESULTS,  # a resumed run refuses another one by itself
    "Metric": Kind.RESULTS,
}

# Settings of blocks that the weights, once learned, do not depend on: dropout, how weights start,
# how fast statistics move, and what is not trained.
OF_LAYERS = frozenset(
    "dropout_ratio dropout_rate feature_dropout_rate dropout rate momentum initializer "
    "kernel_initializer bias_initializer alpha_initializer init_gate_bias sigma "
    "stop_gradient".split()
)

_FORM = "separator list_format na_values"
_DATES = "date_part date_format time_zone"
_TABLE = "init_fn use_mask trainable"

# Message or oneof: {kind: the names of its fields}. Fields that are messages have their own kinds.
_FIELDS: dict[str, dict[Kind, str]] = {
    "Pipeline": {Kind.NONE: "train_input_path eval_input_path test_input_path model_dir"},
    "RuntimeConfig": {
        Kind.LEARNING: "seed deterministic",
        Kind.NONE: "device timeout grace_period collective_timeout",
    },
    "DataConfig": {
        Kind.MEANING: "fg_encoded_multival_sep fg_mode null_values",
        Kind.FINGERPRINT: "hash_function",
        Kind.RESULTS: "delimiter with_header",
        Kind.LEARNING: "batch_size drop_remainder sample_mask_prob shuffle shuffle_buffer_size",
        # label_fields and sample_weight_fields count where towers name them. A session says by
        # itself where quoting differs from what was chosen before.
        Kind.NONE: "dataset_type label_fields num_workers pin_memory eval_batch_size fg_threads "
        "odps_data_quota_name sample_weight_fields input_fields_str quoting",
    },
    "Field": {Kind.KEY: "input_name", Kind.MEANING: "input_type"},
    "TrainConfig": {
        Kind.LEARNING: "num_steps num_epochs cudnn_allow_tf32 cuda_matmul_allow_tf32 "
        "mixed_precision gradient_accumulation_steps num_samples num_val_samples grad_process "
        "loss_mean sync_batch_norm",
        Kind.NONE: "save_checkpoints_steps save_checkpoints_epochs fine_tune_checkpoint "
        "fine_tune_ckpt_param_map partial_restore log_step_count_steps use_tensorboard "
        "keep_checkpoint_max table_placement",
    },
    "FeatureConfig.feature": {Kind.MEANING: "id_feature raw_feature custom_feature"},
    "IdFeature": {
        Kind.KEY: "feature_name",
        Kind.MEANING: "expression embedding_name value_dim pooling default_value weighted "
        f"fg_encoded_default_value out_of_range {_FORM} {_DATES}",
        # vocab_file by its content, wherever it lies
        Kind.FINGERPRINT: "embedding_dim hash_bucket_size num_buckets vocab_list vocab_dict "
        "vocab_file default_bucketize_value",
        Kind.LEARNING: _TABLE,
    },
    "RawFeature": {
        Kind.KEY: "feature_name",
        Kind.MEANING: "expression embedding_name value_dim normalizer pooling default_value "
        f"fg_encoded_default_value {_FORM} {_DATES}",
        Kind.FINGERPRINT: "embedding_dim boundaries",
        Kind.LEARNING: _TABLE,
    },
    "RawFeature.dense_emb": {Kind.SHAPE: "autodis mlp periodic piecewise_linear"},
    "CustomFeature": {
        Kind.KEY: "feature_name",
        Kind.MEANING: "expression embedding_name value_dim pooling default_value separator "
        "weighted fg_encoded_default_value",
        Kind.FINGERPRINT: "embedding_dim class args",
        Kind.LEARNING: _TABLE,
    },
    "NumberFormat": {Kind.MEANING: "decimal thousands units"},
    "AutoDisEmbedding": {
        Kind.FINGERPRINT: "num_channels",
        Kind.MEANING: "temperature keep_prob",
    },
    "Periodic": {
        Kind.SHAPE: "frequencies",
        Kind.LEARNING: "sigma",
        Kind.MEANING: "activation",
    },
    "PiecewiseLinear": {Kind.MEANING: "activation"},
    "FeatureGroup": {
        Kind.KEY: "group_name",
        Kind.FINGERPRINT: "feature_names",
        Kind.MEANING: "group_type",
    },
    "ModelConfig.model": {
        Kind.SHAPE: "mmoe ple mmoe_v2 esmm simple_multi_task shared_bottom dbmtl custom_model "
        "backbone",
    },
    "Backbone": {
        Kind.MEANING: "concat_blocks output_blocks logits_from_blocks",
        Kind.RESULTS: "l2_regularization",
        Kind.NONE: "outputs",
    },
    "MLP": {
        Kind.SHAPE: "hidden_units use_bn bias use_ln",
        Kind.MEANING: "activation",
        Kind.LEARNING: "dropout_ratio",
    },
    "ModelConfig": {
        Kind.LEARNING: "dense_start",
        Kind.RESULTS: "embedding_regularization loss_weight_strategy",
    },
    "MMoE": {
        Kind.SHAPE: "num_expert num_members",
        Kind.MEANING: "gate_temperature",
        Kind.LEARNING: "gate_dropout",
        Kind.RESULTS: "l2_regularization gate_entropy_weight gate_balance_weight",
    },
    "DBMTL": {Kind.SHAPE: "num_expert num_members", Kind.RESULTS: "l2_regularization"},
    "SharedBottom": {Kind.SHAPE: "num_members", Kind.RESULTS: "l2_regularization"},
    "SimpleMultiTask": {Kind.RESULTS: "l2_regularization"},
    "PLE": {Kind.SHAPE: "num_members", Kind.RESULTS: "l2_regularization"},
    "GroupNetwork": {Kind.SHAPE: "input"},
    "ExtractionNetwork": {
        Kind.SHAPE: "expert_num_per_task share_num",
        Kind.NONE: "network_name",
    },
    "ESMM": {
        Kind.SHAPE: "share_bottom",
        Kind.MEANING: "ctcvr_label",
        Kind.RESULTS: "l2_regularization",
    },
    "CustomModel": {Kind.FINGERPRINT: "class", Kind.MEANING: "args"},
    "MMoEV2": {
        Kind.SHAPE: "task_use_bias task_use_bn num_experts expert_layers expert_use_bias "
        "expert_use_bn gate_use_bias share_gates use_wide wide_type wide_width feature_cross "
        "output_cross wide_group mmoe_group wide_per_task wide_use_bn wide_feature "
        "dedup_cross_features num_members",
        Kind.MEANING: "task_hidden_act task_output_act expert_act wide_output_is_prob",
        Kind.LEARNING: "task_dropout expert_dropout",
        Kind.RESULTS: "task_l1_reg task_l2_reg expert_l1_reg expert_l2_reg gate_l1_reg "
        "gate_l2_reg wide_l1_reg wide_l2_reg",
        Kind.NONE: "name",
    },
    "TaskStruct": {
        Kind.SHAPE: "units use_bn",
        Kind.MEANING: "hidden_act",
        Kind.LEARNING: "dropout",
    },
    "TaskTower": {
        Kind.KEY: "tower_name",
        Kind.MEANING: "label_name task_space_indicator_label task_space_indicator_name "
        "task_space_indicator_value output_activation relation_tower_names label_classes",
        Kind.FINGERPRINT: "num_class",
        Kind.RESULTS: "weight sample_weight_name use_sample_weight in_task_space_weight "
        "out_task_space_weight",
        Kind.NONE: "auxiliary",
    },
    "Loss.loss": {
        Kind.MEANING: "binary_cross_entropy softmax_cross_entropy l2_loss binary_focal_loss "
        "l1_loss huber_loss msle_loss hinge_loss kld_loss sigmoid_l2_loss jrc_loss pair_wise_loss "
        "pairwise_logistic_loss pairwise_focal_loss pairwise_hinge_loss f1_reweighted_loss "
        "order_calibrate_loss custom_loss",
    },
    "Loss": {
        Kind.RESULTS: "weight",
        Kind.FINGERPRINT: "learn_loss_weight",
        Kind.NONE: "loss_name",
    },
    "BinaryCrossEntropy": {Kind.RESULTS: "label_smoothing pos_weight ignore_weights"},
    "BinaryFocalLoss": {Kind.RESULTS: "gamma alpha use_alpha label_smoothing ohem_ratio"},
    "JRCLoss": {Kind.RESULTS: "session_name alpha same_label_loss"},
    "PairWiseLoss": {Kind.RESULTS: "margin session_name temperature"},
    "PairwiseLogisticLoss": {
        Kind.RESULTS: "temperature session_name hinge_margin ohem_ratio use_label_margin",
    },
    "PairwiseFocalLoss": {
        Kind.RESULTS: "gamma alpha hinge_margin session_name ohem_ratio temperature",
    },
    "PairwiseHingeLoss": {
        Kind.RESULTS: "temperature session_name hinge_margin ohem_ratio use_label_margin",
    },
    "F1ReweightedLoss": {Kind.RESULTS: "f1_beta_square label_smoothing"},
    "OrderCalibrateLoss": {Kind.RESULTS: "tower_names"},
    "SoftmaxCrossEntropy": {Kind.RESULTS: "label_smoothing"},
    "HuberLoss": {Kind.RESULTS: "delta"},
    "Custom": {Kind.MEANING: "class", Kind.RESULTS: "args"},  # of a loss; metrics are a subtree
}
_KINDS = {
    (owner, name): kind
    for owner, kinds in _FIELDS.items()
    for kind, names in kinds.items()
    for name in names.split()
}


@cache
def kind_of(field: FieldDescriptor) -> Kind:
    """A field that nobody has classified, as in a copy with fields of its own, has a meaning."""
    owner, oneof = field.containing_type.name, field.containing_oneof
    return _KINDS.get((f"{owner}.{oneof.name}" if oneof else owner, field.name), Kind.MEANING)


def classified() -> set[tuple[str, str]]:
    """Message, or message and oneof, and field of everything that is listed."""
    return set(_KINDS)
