"""Configs that have, between them, every model, loss, activation, norm and kind of feature."""

from collections.abc import Iterator
from itertools import product

from models.backbone import tiny_blocks
from models.small_v2 import spelled

from tzmmoe.nn.activations import KERAS, OF_LOGITS, TORCH

NORMS: dict[str, dict] = {"plain": {}, "batch": {"use_bn": True}, "layer": {"use_ln": True}}
ACTIVATIONS = ["", "Dice", "nn.GELU(approximate='tanh')", *(f"nn.{name}" for name in TORCH)]
FEATURES = [
    'id_feature { feature_name: "one" num_buckets: 50 embedding_dim: 4 }',
    'id_feature { feature_name: "mean" num_buckets: 30 embedding_dim: 4 pooling: "mean" }',
    'id_feature { feature_name: "still" num_buckets: 30 embedding_dim: 4 trainable: false }',
    'id_feature { feature_name: "weighted" num_buckets: 20 embedding_dim: 3 weighted: true }',
    'id_feature { feature_name: "shared" num_buckets: 20 embedding_dim: 3 '
    'embedding_name: "weighted_emb" }',
    'raw_feature { feature_name: "bucket" boundaries: [0, 1] embedding_dim: 2 }',
    'raw_feature { feature_name: "plain" value_dim: 2 }',
    'raw_feature { feature_name: "soft" embedding_dim: 3 value_dim: 2 '
    "autodis { num_channels: 4 } }",
    'raw_feature { feature_name: "linear" embedding_dim: 3 value_dim: 2 mlp {} }',
    'raw_feature { feature_name: "waves" embedding_dim: 3 value_dim: 2 default_value: "" '
    "periodic { sigma: 0.5 } }",
    'raw_feature { feature_name: "bins" embedding_dim: 3 boundaries: [0, 1, 2] default_value: "" '
    "piecewise_linear {} }",
]
NAMES = [feature.split('"')[1] for feature in FEATURES]
BINARY = [
    *("binary_cross_entropy", "binary_focal_loss", "hinge_loss", "f1_reweighted_loss"),
    *("pair_wise_loss", "pairwise_logistic_loss", "pairwise_focal_loss", "pairwise_hinge_loss"),
]
NUMBERS = ["l2_loss", "l1_loss", "huber_loss", "msle_loss", "sigmoid_l2_loss"]
ORDERED = {"order_calibrate_loss": {"tower_names": ["binary_cross_entropy"]}}
CONFIG = """
data_config {{ label_fields: ["label", "other"] num_workers: 0 fg_mode: FG_DAG }}
{features}
model_config {{ {groups} {model} }}
train_config {{
  sparse_optimizer {{ adam_optimizer {{ lr: 0.01 max_gradient: 1 gradient_clipping: true }} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.01 }} }}
}}
"""


def text(model: dict, groups: dict[str, list[str]] | None = None, names: list[str] = NAMES) -> str:
    """A config of a model over groups of features (default: one of all ``names``)."""
    members = [
        {"group_name": name, "feature_names": each}
        for name, each in (groups or {"all": names}).items()
    ]
    used = {name for each in members for name in each["feature_names"]}
    features = [feature for feature in FEATURES if feature.split('"')[1] in used]
    return CONFIG.format(
        features="\n".join(f"feature_configs {{ {feature} }}" for feature in features),
        groups=spelled({"feature_groups": members}),
        model=spelled(model),
    )


def tower(name: str, loss: str, **more: object) -> dict:
    return {"tower_name": name, "label_name": "label", "losses": {loss: {}}, **more}


def towers() -> list[dict]:
    """Each loss, output activation, and combination of a norm and an activation in a tower."""
    made = [tower(loss, loss) for loss in (*BINARY, *NUMBERS, "kld_loss")]
    made += [
        tower(f"{loss}{count}", loss, num_class=count)
        for loss, count in product(("softmax_cross_entropy", "kld_loss"), (2, 3))
    ]
    made += [tower(f"out_{name}", "l2_loss", output_activation=name) for name in OF_LOGITS[:-1]]
    made += [
        tower("out_softmax", "softmax_cross_entropy", num_class=3, output_activation="softmax"),
        tower("sure", "l2_loss", output_activation="sigmoid"),
        tower("ranked", "", num_class=2, losses={"jrc_loss": {"session_name": "other"}}),
        tower("ordered", "order_calibrate_loss", losses=ORDERED),
    ]
    for place, (norm, name) in enumerate(product(NORMS, ACTIVATIONS)):
        mlp = {"hidden_units": [4], "activation": name, **NORMS[norm], "dropout_ratio": [0.5]}
        made.append(tower(f"mlp{place}", "binary_cross_entropy", mlp=mlp))
    return made


def mmoe() -> Iterator[tuple[str, str]]:
    """Stacked networks take other ways than single ones, wide ones others than narrow ones."""
    two = [tower("a", "binary_cross_entropy"), tower("b", "binary_cross_entropy")]
    deep = {"hidden_units": [5, 4], "activation": "nn.PReLU", "use_bn": True}
    gate = {"hidden_units": [4, 3], "activation": "Dice", "use_ln": True}
    yield "towers", text({"mmoe": {"expert_mlp": deep, "task_towers": towers()}})
    yield (
        "deep experts and gates",
        text({"mmoe": {"expert_mlp": deep, "gate_mlp": gate, "task_towers": two}}),
    )
    for bias in (True, False):
        wide = {"hidden_units": [128, 128], "bias": bias}
        yield f"wide, bias {bias}", text({"mmoe": {"expert_mlp": wide, "task_towers": two}})
    one = {"hidden_units": [5, 4], "bias": False}
    single = {"num_expert": 1, "expert_mlp": one, "gate_mlp": one, "task_towers": two[:1]}
    yield "one expert and task", text({"mmoe": single})
    for names in (["one"], ["weighted"], ["plain", "soft"]):
        model = {"mmoe": {"expert_mlp": one, "task_towers": two[:1]}}
        yield f"only {', '.join(names)}", text(model, names=names)


def relations() -> Iterator[tuple[str, str]]:
    """Models whose towers may read each other, with and without layers for that."""
    mlp = {"hidden_units": [4]}
    for related in ({}, {"relation_mlp": {"hidden_units": [3], "use_bn": True}}):
        reads = {"relation_tower_names": ["a"], **related}
        two = [tower("b", "l2_loss", **reads), tower("a", "binary_cross_entropy", mlp=mlp)]
        kind = "with layers" if related else "plain"
        yield f"simple_multi_task, {kind}", text({"simple_multi_task": {"task_towers": two}})
        yield (
            f"shared_bottom, {kind}",
            text({"shared_bottom": {"bottom_mlp": mlp, "task_towers": two}}),
        )
        for experts in ({}, {"expert_mlp": mlp, "gate_mlp": mlp}):
            dbmtl = {"bottom_mlp": mlp, **experts, "task_towers": two}
            yield f"dbmtl, {kind}, {'no ' * (not experts)}experts", text({"dbmtl": dbmtl})


def ple_and_esmm() -> Iterator[tuple[str, str]]:
    two = [tower("a", "binary_cross_entropy"), tower("b", "l2_loss")]
    for share in (0, 2):
        mlp = {"hidden_units": [4]}
        level = {"expert_num_per_task": 2, "share_num": share, "task_expert_net": mlp}
        if share:
            level["share_expert_net"] = mlp
        levels = [{"network_name": name, **level} for name in ("first", "last")]
        yield (
            f"ple, {share} shared",
            text({"ple": {"extraction_networks": levels, "task_towers": two}}),
        )
    for shared in (True, False):
        ends = {
            "ctr_tower": {"label_name": "label", "mlp": {"hidden_units": [4]}},
            "cvr_tower": {"label_name": "other"},
        }
        esmm = {"bottom_mlp": {"hidden_units": [4]}, "share_bottom": shared, **ends}
        yield f"esmm, share_bottom {shared}", text({"esmm": esmm})
    groups = {"one": ["mean", "plain"], "two": ["bucket"]}
    networks = [{"input": "two", "mlp": {"hidden_units": [4]}}, {"input": "one"}]
    yield "esmm, groups", text({"esmm": {"group_networks": networks, **ends}}, groups)


def mmoe_v2() -> Iterator[tuple[str, str]]:
    groups = {
        "wide": ["plain", "one", "weighted", "bucket", "soft"],
        "mmoe": ["mean", "plain", "one"],
    }
    small = {
        "num_experts": 2,
        "expert_layers": [6, 5],
        "task_structs": [{"units": [4, 1]}, {"units": [3]}, {"units": [1]}],
        "wide_width": 3,
        "task_towers": [
            tower("a", "binary_cross_entropy"),
            tower("b", "softmax_cross_entropy"),
            tower("c", "l2_loss"),
        ],
    }
    names = [name for name in KERAS if name != "none"]
    settings: list[dict] = [
        {"feature_cross": 3, "output_cross": 1, "wide_per_task": True},
        {"feature_cross": 5, "wide_type": "LR", "wide_use_bn": True, "wide_output_is_prob": True},
        {"feature_cross": 1, "wide_type": "raw", "share_gates": True, "gate_use_bias": False},
        {"feature_cross": 2, "wide_feature": "embeddings", "dedup_cross_features": False},
        {"feature_cross": 4, "wide_feature": "latents", "task_use_bias": False},
        {"use_wide": False, "expert_use_bn": [True], "expert_use_bias": False},
        {"expert_layers": [4] * len(names), "expert_act": names},
    ]
    for chosen in settings:
        yield f"mmoe_v2 {spelled(chosen)}", text({"mmoe_v2": small | chosen}, groups)


def backbones() -> Iterator[tuple[str, str]]:
    """Every layer, and every function that an expression may call."""
    members = {"all": ["one", "mean", "still"], "mixed": ["one", "weighted"], "numbers": ["plain"]}
    towers = "".join(spelled({"task_towers": tower(name, "binary_cross_entropy")}) for name in "ab")
    for name, blocks in tiny_blocks.MODELS.items():
        found = text({}, members)
        assert found.count(" }\ntrain_config") == 1
        yield (
            name,
            found.replace(
                " }\ntrain_config", f" backbone {{ {blocks} {towers} }} }}\ntrain_config"
            ),
        )


ALL = dict([*mmoe(), *ple_and_esmm(), *relations(), *mmoe_v2(), *backbones()])
