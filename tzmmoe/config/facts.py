"""The facts of this schema for the text engine: words it lacks, fields that exclude each other.

A word of a neighbouring system that the schema lacks is "not supported yet" rather than an unknown
field. It leaves its list when the schema adds it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import takewhile

from google.protobuf.descriptor import Descriptor

from tzmmoe.config.dialects.easyrec.alternatives import refusal
from tzmmoe.config.dialects.easyrec.backbone import ON_BACKBONE
from tzmmoe.config.dialects.torcheasyrec import ALIASES
from tzmmoe.config.dialects.words import counterpart
from tzmmoe.errors import did_you_mean, few, join, lies_in, parts_with
from tzmmoe.protos.model_pb2 import ModelConfig
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.textformat.facts import SchemaFacts
from tzmmoe.textformat.named import has_any_names

_TORCH_EASY_REC = """
asset_dir batch_cost_size bool_mask_feature combine_feature combo_feature
commitment_loss contrastive_loss dat data_type dc2vr dcn_v1 dcn_v2 deepfm
delta_embedding_dump_config din_encoder dlrm dlrm_hstu dssm dssm_v2 dynamicemb
embedding_name_suffix enable_global_grad_clip expr_feature fg_value_type force_base_data_group fused
grouped_xauc hard_negative_sampler hard_negative_sampler_v2 hstu_match in_order is_orderby_partition
is_profiling kernel kv_dot_product lamb_optimizer lars_sgd_optimizer listwise_rank_loss
lookup_feature mask_net match_feature min_batch_size mind multi_tower multi_tower_din
multi_window_din_encoder multiclass_auc negative_sample_mask_prob negative_sampler
negative_sampler_v2 odps_data_compression overlap_feature pareto_min_loss_weight part_optimizers
partial_rowwise_adam_optimizer partial_rowwise_lamb_optimizer pepnet pooling_encoder recall_at_k
recon_loss rocket_launching sample_cost_field save_checkpoints_timestamp_interval
save_checkpoints_timestamp_quorum save_checkpoints_timestamps self_attention_encoder
sequence_bool_mask_feature sequence_combine_feature sequence_combo_feature sequence_custom_feature
sequence_delim sequence_encoders sequence_expr_feature sequence_feature sequence_fields
sequence_groups sequence_id_feature sequence_kv_dot_product sequence_length sequence_lookup_feature
sequence_match_feature sequence_overlap_feature sequence_raw_feature sequence_tokenize_feature
sid_rqkmeans sid_rqvae simple_attention stub_type tdm tdm_sampler
tensorboard_summaries tokenize_feature train_metrics ultra_hstu use_pareto_loss_weight
variational_dropout wide_and_deep wide_embedding_dim wukong xauc xdeepfm zch
"""

_EASY_REC = """
bias_tower bottom_cmbf bottom_uniter feature_config optimizer_config sequence_dnn sequence_features
tag_feature use_feature_bn use_feature_ln
"""

WORDS = dict.fromkeys(_TORCH_EASY_REC.split(), "TorchEasyRec") | dict.fromkeys(
    _EASY_REC.split(), "EasyRec"
)

MOST_PLACES = 3  # that an error lists
_VALUES = {"KafkaDataset", "SEQUENCE", "JAGGED_SEQUENCE"}
_LISTS = ("ARRAY_", "MAP_")  # types of columns, such as ARRAY_INT64
MODELS = [field.message_type for field in ModelConfig.DESCRIPTOR.oneofs_by_name["model"].fields]


def unknown_field(word: str, owner: Descriptor) -> str:
    """The fault of a field that the message ``owner`` lacks."""
    if words := counterpart(word, owner) or refusal(word):
        return words
    if not word.strip(".…"):
        return "stands for lines that a document left out; write them, or remove it"
    if word in WORDS:
        return f"a word of {WORDS[word]} that tzmmoe does not support yet; remove it"
    if word.isdecimal():
        return "is a number in place of a name; write numbers without commas"
    if place := right_place(word, owner, Pipeline.DESCRIPTOR):
        return f"no such field here; it belongs {place}"
    names = [field.name for field in owner.fields if not field.GetOptions().deprecated]
    hint = did_you_mean(word, owner.fields_by_name)
    return f"no such field{hint or f'; use one of {few(names)}'}"


def unknown_value(word: str, values: Collection[str]) -> str:
    """The fault of a value that an enum lacks."""
    choices = ", ".join(values)
    if word in _VALUES or word.startswith(_LISTS):
        return f"is {word}, which tzmmoe does not support yet; give one of {choices}"
    return f"is {word or 'empty'}; give one of {choices}{did_you_mean(word, values)}"


def right_place(word: str, owner: Descriptor, root: Descriptor) -> str:
    """Where a field that ``owner`` lacks belongs in ``root``, such as ``in data_config``.

    Empty if it belongs nowhere or in too many places, or is a misspelt field of ``owner``.
    """
    places = _places(root).get(word, ())
    if owner in MODELS:  # fields of other models would mislead
        places = [place for place in places if not place.startswith("model_config.")]
    near = get_close_matches(word, owner.fields_by_name, n=1, cutoff=0.9)
    if not places or near or parts_with(word, owner.fields_by_name):
        return ""
    sections = [place for place in places if "." not in place]
    if len(places) > MOST_PLACES >= len(sections) > 0:  # a deeper one is less likely meant
        places = sections
    if len(places) <= MOST_PLACES:
        return f"in {' or '.join(place or 'the top level' for place in places)}"
    around = _common(places)
    is_there = any(message is owner for path, message in _messages(root) if lies_in(path, around))
    return f"inside {around}" if around and not is_there else ""


def _common(paths: Sequence[str]) -> str:
    """The path of the innermost message that contains all of these."""
    parts = zip(*(path.split(".") for path in paths), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len({*names}) == 1, parts))


@cache
def _places(root: Descriptor) -> Mapping[str, Sequence[str]]:
    """{field: paths of the messages that have it}; the path of ``root`` is empty."""
    places: dict[str, list[str]] = {}
    for path, message in _messages(root):
        for name in message.fields_by_name:
            places.setdefault(name, []).append(path)
    return places


def _messages(owner: Descriptor, path: str = "") -> Iterator[tuple[str, Descriptor]]:
    """The message and all below it, with their paths."""
    yield path, owner
    for field in owner.fields:
        kind = field.message_type
        if field.GetOptions().deprecated:  # messages of such fields may contain themselves
            continue
        if kind is not None and not (kind.GetOptions().map_entry or has_any_names(kind)):
            yield from _messages(kind, join(path, field.name))


POSITIVE = """
ExponentialDecayLR.decay_size CosineAnnealingLR.T_max CosineAnnealingWarmRestartsLR.T_0
CosineAnnealingWarmRestartsLR.T_mult TrainConfig.num_steps TrainConfig.num_epochs
TrainConfig.save_checkpoints_steps TrainConfig.log_step_count_steps
TrainConfig.save_checkpoints_epochs GradScaler.growth_interval
TrainConfig.gradient_accumulation_steps TrainConfig.num_samples TrainConfig.num_val_samples
TrainSpeedLogger.every_batches EvalConfig.num_steps EvalConfig.log_step_count_steps
EvalConfig.batch_size Accuracy.top_k RecallAtTopK.topk DataConfig.batch_size
MaxF1.thresholds DataConfig.eval_batch_size
DataConfig.shuffle_buffer_size IdFeature.embedding_dim RawFeature.value_dim
AutoDisEmbedding.num_channels MLP.hidden_units MMoE.num_expert MMoE.expert_num
MMoE.num_members DBMTL.num_members PLE.num_members SharedBottom.num_members MMoEV2.num_members
TaskTower.num_class
ExtractionNetwork.expert_num_per_task MMoEV2.num_experts MMoEV2.expert_layers TaskStruct.units
IdFeature.hash_bucket_size IdFeature.num_buckets MMoEV2.wide_width RawFeature.embedding_dim
CustomFeature.embedding_dim
KerasMLP.hidden_units SENet.reduction_ratio SENet.num_squeeze_group MMoELayer.num_task
CIN.hidden_feature_sizes BiLinear.num_output_units Highway.num_layers Dense.units
AutoDisEmbeddingLayer.embedding_dim AutoDisEmbeddingLayer.num_bins
MultiHeadAttention.num_heads MultiHeadAttention.key_dim MultiHeadAttention.value_dim
MultiHeadAttention.output_shape RecurrentLayer.num_steps RepeatLayer.num_repeat
Cross.projection_dim MaskBlock.output_size MaskBlock.aggregation_size MaskBlock.projection_dim
GateNN.hidden_dim Highway.emb_size AITM.project_dim InputLayer.wide_output_dim
EmbeddingLayer.embedding_dim Periodic.frequencies
"""

FACTS = SchemaFacts(
    unknown_field=unknown_field,
    unknown_value=unknown_value,
    exclusive={
        "TrainConfig": [
            {"save_checkpoints_steps", "save_checkpoints_epochs"},
            *({"optimizer", name} for name in ("sparse_optimizer", "dense_optimizer")),
        ],
        "IdFeature": [
            {"hash_bucket_size", "num_buckets", "vocab_list", "vocab_dict", "vocab_file"}
        ],
        "RawFeature": [{"boundaries", "autodis", "mlp", "periodic"}],
        "DataConfig": [{"input_fields", "input_fields_str"}, {"fg_mode", "fg_encoded"}],
        **{name: [{*pair} for pair in aliases.items()] for name, aliases in ALIASES.items()},
    },
    beside={"ModelConfig": {"backbone": dict.fromkeys(ON_BACKBONE.values(), "model_params")}},
    remedies={
        "ModelConfig": {
            "backbone": "write the network as blocks and the towers in model_params, as "
            "docs/backbone.md shows"
        }
    },
    positive=frozenset(POSITIVE.split()),
    replacing={"TrainConfig": [{"num_steps", "num_epochs"}]},
    units={
        f"RuntimeConfig.{name}": "s" for name in ("timeout", "grace_period", "collective_timeout")
    },
)
