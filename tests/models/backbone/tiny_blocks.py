"""The tiny data set with models of blocks, which have between them every layer."""

from pathlib import Path

from e2e import tiny

GROUPS = """
  feature_groups { group_name: "all" feature_names: ["user", "tags", "scores"] }
  feature_groups { group_name: "mixed" feature_names: ["user", "city", "age"] }
  feature_groups { group_name: "numbers" feature_names: ["price"] }
"""
TOWERS = """
    task_towers {
      tower_name: "ctr" label_name: "click" mlp { hidden_units: [4] } metrics { auc {} }
      losses { binary_cross_entropy {} }
    }
    task_towers {
      tower_name: "cvr" label_name: "buy" sample_weight_name: "importance" metrics { auc {} }
      losses { binary_cross_entropy {} }
    }
"""


def block(name: str, source: str, body: str, *more: str) -> str:
    """``source``: a name, or whole inputs."""
    found = source if " " in source else f'inputs {{ feature_group_name: "{source}" }}'
    return f'blocks {{ name: "{name}" {found} {" ".join(more)} {body} }}\n'


def layer(name: str, source: str, text: str, *more: str) -> str:
    return block(name, source, f"keras_layer {{ {text} }}", *more)


LIST = block("list", "all", "input_layer { only_output_feature_list: true }")
CUBE = block("cube", "all", "input_layer { only_output_3d_tensor: true }")
TWICE = 'inputs { feature_group_name: "all" input_fn: "lambda x: [x, 2 * x]" }'
SHARES = 'inputs { block_name: "shares" } inputs { block_name: "list" }'
CUBES = 'inputs { block_name: "cube" input_fn: "lambda x: [x, 2 * x, 3 * x]" }'
DEEP = "{ hidden_units: [6, 4] dropout_ratio: [0.1] }"


def flat(name: str) -> str:
    return layer(f"flat_{name}", name, "flatten {}")


def flat_list(name: str) -> str:
    """Of [output, weights]: both, flat."""
    return "".join(
        layer(f"{name}{i}", f'inputs {{ block_name: "{name}" input_slice: "[{i}]" }}', "flatten {}")
        for i in (0, 1)
    )


# Every layer of the schema, in models whose blocks all reach the output.
MODELS = {
    "mixtures": LIST
    + layer("senet", "list", "senet { reduction_ratio: 2 }")
    + layer("l0", "senet", f"mmoe {{ num_task: 3 num_expert: 2 expert_mlp {DEEP} }}")
    + layer(
        "l1",
        'inputs { block_name: "l0" input_fn: "lambda x: tf.concat(x, axis=1)" }',
        f"mmoe {{ num_task: 2 num_expert: 3 expert_mlp {DEEP} }}",
    ),
    "interactions": LIST
    + CUBE
    + layer("fm", "cube", "fm {}")
    + layer("variant", "list", "fm { use_variant: true }")
    + layer("pairs", "list", "dot_interaction {}")
    + block(
        "cross",
        'inputs { feature_group_name: "all" input_fn: "lambda x: [x, x]" }',
        "recurrent { num_steps: 2 fixed_input_index: 0 keras_layer { "
        "cross { projection_dim: 2 } } }",
    )
    + layer("cin", "cube", "cin { hidden_feature_sizes: [3, 2] }")
    + layer("bilinear", "list", "bilinear { num_output_units: 3 }")
    + layer("fibinet", "list", f"fibinet {{ bilinear {{ num_output_units: 3 }} mlp {DEEP} }}"),
    "gates": LIST
    + layer("mask", "all", "mask_block { reduction_factor: 2 output_size: 3 }")
    + layer("masked", "all", f"masknet {{ mask_blocks {{ reduction_factor: 2 }} mlp {DEEP} }}")
    + layer("ppnet", TWICE, f"ppnet {{ mlp {DEEP} gate_params {{ dropout_rate: 0.1 }} }}")
    + layer("shares", "all", 'dense { units: 3 activation: "softmax" }')
    + layer("gate", SHARES, "gate {}")
    + layer("highway", "all", "highway { emb_size: 5 }")
    + layer("aitm", TWICE, f"aitm {{ project_dim: 3 transfer_mlp {DEEP} }}"),
    "numbers": layer("periodic", "numbers", "periodic_embedding { embedding_dim: 4 sigma: 0.5 }")
    + layer(
        "autodis", "numbers", "auto_dis_embedding { embedding_dim: 4 num_bins: 3 temperature: 0.7 }"
    ),
    "attention": CUBE
    + layer("attention", CUBES, "attention { scale_by_dim: true }")
    + layer("heads", CUBES, "multi_head_attention { num_heads: 2 key_dim: 3 dropout: 0.1 }")
    + flat("attention")
    + layer("mean", "heads", "global_average_pooling1d {}")
    + layer("largest", "heads", "global_max_pool1d {}"),
    "merging": "".join(
        layer(word, "list", f"{word} {{}}")
        for word in ("add", "multiply", "average", "maximum", "minimum", "concatenate")
    )
    + LIST
    + layer("subtract", TWICE, "subtract {}")
    + layer("dot", TWICE, "dot { axes: 1 normalize: true }"),
    "shaping": CUBE
    + layer("mlp", "mixed", f"mlp {DEEP}")
    + layer("dropout", "mlp", "dropout { rate: 0.2 }")
    + layer("batch", "cube", "batch_normalization {}")
    + layer("normed", "batch", "layer_normalization { axis: [1, 2] }")
    + layer("softmax", "normed", "softmax { axis: 1 }")
    + layer("shaped", "softmax", "reshape { target_shape: [-1] }")
    + layer("tanh", "shaped", 'activation { activation: "tanh" }')
    + layer("relu", "dropout", "relu { negative_slope: 0.1 max_value: 3 }")
    + layer("leaky", "relu", "leaky_relu {}")
    + layer("prelu", "leaky", "prelu {}")
    + layer("elu", "prelu", "elu {}"),
}
# Every function that an expression may call, of x (B, 12), and what Python's own operators give.
EXPRESSIONS = """
x + 1; x - 2 * x; x / 3; x // 2; 2 / (x * x + 1); 2 ** x; (x * x) ** 2; -x; 2 // (x * x + 1)
tf.add(x, 1); tf.multiply(x, x); tf.subtract(x, 1); tf.divide(x, 2); tf.maximum(x, 0)
tf.minimum(x, x * x); tf.maximum(x, x / 2); tf.minimum(x, 1); tf.add_n([x, x])
tf.square(x); tf.sqrt(x * x + 1); tf.abs(x); tf.exp(x); tf.log(x * x + 1); tf.sigmoid(x); tf.tanh(x)
tf.reduce_sum(x, axis=1, keepdims=True); tf.reduce_mean(x, axis=-1, keepdims=True)
tf.reduce_max(x, axis=1, keepdims=True); tf.reduce_min(x, axis=[1], keepdims=True)
tf.concat([x, x[:, :2]], axis=1); tf.reshape(tf.stack([x, x], axis=1), [-1, 24])
tf.concat(tf.unstack(tf.reshape(x, [-1, 3, 4]), axis=1), axis=1)
tf.concat(tf.split(x, 3, axis=1), axis=1); tf.split(x, [4, -1], axis=1)[1]
tf.squeeze(tf.expand_dims(x, axis=1), axis=1); tf.tile(x, [1, 2])
tf.reshape(tf.matmul(tf.reshape(x, [-1, 3, 4]), tf.reshape(x, [-1, 4, 3])), [-1, 9])
tf.reshape(tf.matmul(x[:, None, :], x[:, None, :], transpose_b=True), [-1, 1])
tf.reshape(tf.matmul(tf.reshape(x, [-1, 3, 4]), tf.reshape(x, [-1, 3, 4]), True), [-1, 16])
tf.cast(tf.cast(x, tf.int32), tf.float32); tf.cast(tf.cast(x, tf.int64), tf.float32)
tf.cast(tf.cast(x, tf.float64), tf.float32); tf.identity(x); tf.stop_gradient(x) + x
tf.ones_like(x) * x; tf.zeros_like(x) + x; tf.nn.relu(x); tf.nn.sigmoid(x); tf.nn.tanh(x)
tf.nn.softmax(x); tf.nn.softmax(tf.reshape(x, [-1, 12, 1]), axis=1)[:, :, 0]; x[:, 1:9:2]
x[..., 3:]
torch.relu(x); torch.softmax(x, dim=-1); torch.add(x, x); torch.sub(x, 1); torch.mul(x, 2)
torch.div(x, 2); torch.sum(x, dim=1, keepdim=True); torch.mean(x, dim=1, keepdim=True)
torch.amax(x, dim=1, keepdim=True); torch.amin(x, dim=1, keepdim=True); torch.cat([x, x], dim=1)
torch.reshape(torch.stack([x, x], dim=1), [-1, 24])
torch.unbind(torch.reshape(x, [-1, 3, 4]), dim=1)[2]
torch.squeeze(torch.unsqueeze(x, dim=1), dim=1); torch.square(x); torch.sqrt(x * x); torch.abs(x)
torch.exp(x); torch.log(x * x + 1); torch.sigmoid(x); torch.tanh(x); tf.math.square(x)
"""
FUNCTIONS = [text.strip() for line in EXPRESSIONS.strip().splitlines() for text in line.split("; ")]
MODELS["functions"] = "".join(
    block(f"f{place}", "all", f'lambda {{ expression: "lambda x: {text}" }}')
    for place, text in enumerate(FUNCTIONS)
)
# Settings by which layers compute in another way.
MODELS["settings"] = (
    LIST
    + CUBE
    + layer("square", "list", "dot_interaction { self_interaction: true skip_gather: true }")
    + layer("cross", TWICE, 'cross { diag_scale: 0.1 use_bias: false preactivation: "gelu" }')
    + layer("all_pairs", "list", 'bilinear { type: "all" use_plus: false num_output_units: 2 }')
    + layer("each_pair", "list", 'bilinear { type: "each" num_output_units: 2 }')
    + layer("senet", "list", "senet { use_skip_connection: false use_output_layer_norm: false }")
    + layer(
        "series",
        "all",
        "masknet { mask_blocks { aggregation_size: 3 projection_dim: 2 input_layer_norm: true } "
        "mask_blocks { reduction_factor: 1 output_size: 4 } use_parallel: false }",
    )
    + layer(
        "lazy",
        TWICE,
        'ppnet { mlp { hidden_units: [4] } gate_params { hidden_dim: 3 use_bn: true } mode: "lazy" '
        "full_gate_input: false }",
    )
    + layer("highway", "all", 'highway { num_layers: 2 activation: "tanh" dropout_rate: 0.1 }')
    + layer("aitm", TWICE, "aitm { stop_gradient: false }")
    + layer(
        "scores",
        CUBES,
        'attention { use_scale: true score_mode: "concat" return_attention_scores: true '
        "use_causal_mask: true dropout: 0.1 }",
    )
    + flat_list("scores")
    + layer(
        "heads",
        CUBES,
        "multi_head_attention { num_heads: 2 key_dim: 3 value_dim: 2 use_bias: false "
        "return_attention_scores: true use_causal_mask: true output_shape: 5 attention_axes: [1] }",
    )
    + flat_list("heads")
    + layer(
        "mlp",
        "all",
        'mlp { hidden_units: [4, 3] activation: "dice" use_bn_after_activation: true '
        'use_bias: true use_final_bn: false use_final_bias: true final_activation: "prelu" }',
    )
    + layer(
        "periodic",
        "numbers",
        "periodic_embedding { embedding_dim: 4 sigma: 0.5 "
        "add_linear_layer: false output_tensor_list: true }",
    )
    + layer(
        "autodis",
        "numbers",
        "auto_dis_embedding { embedding_dim: 4 num_bins: 3 "
        "temperature: 0.7 output_3d_tensor: true }",
    )
    + block("first", "periodic", "lambda { expression: 'lambda x: tf.concat(x[1], axis=1)' }")
    + block("second", "autodis", "lambda { expression: 'lambda x: x[1][:, 0]' }")
    + layer("relu", "all", "relu { threshold: 0.5 max_value: 2 negative_slope: 0.1 }")
    + layer("prelu", "cube", "prelu { shared_axes: [1] }")
    + flat("prelu")
    + layer("mean", "cube", "global_average_pooling1d { keepdims: true }")
    + flat("mean")
    + layer("largest", "cube", "global_max_pool1d { keepdims: true }")
    + flat("largest")
    + layer(
        "joined",
        'inputs { block_name: "cube" } inputs { block_name: "cube" }',
        "concatenate { axis: 1 }",
        "merge_inputs_into_list: true",
    )
    + flat("joined")
    + layer(
        "dot",
        'inputs { block_name: "cube" } inputs { block_name: "cube" }',
        "dot { axes: [1, 1] }",
        "merge_inputs_into_list: true",
    )
    + flat("dot")
    + layer("batch", "cube", "batch_normalization { axis: 1 center: false scale: false }")
    + flat("batch")
    + layer("normed", "cube", "layer_normalization { axis: [1] center: false }")
    + flat("normed")
)
EVERYTHING = """
    packages {
      name: "shared"
      blocks {
        name: "in" inputs { feature_group_name: "all" }
        input_layer { only_output_feature_list: true do_batch_norm: true }
      }
      blocks {
        name: "mean" inputs { block_name: "in" }
        layers { keras_layer { average {} } } layers { keras_layer { dense { units: 5 } } }
      }
    }
    blocks {
      name: "x-y" inputs { feature_group_name: "all" }
      input_layer { do_batch_norm: true dropout_rate: 0.1 feature_dropout_rate: 0.1 }
    }
    blocks {
      name: "x_y" inputs { block_name: "x-y" } inputs { package_name: "shared" }
      repeat { num_repeat: 2 output_concat_axis: 1 keras_layer { mlp { hidden_units: [4] } } }
    }
    blocks {
      name: "tasks" inputs { block_name: "x_y" } inputs { block_name: "x-y" }
      inputs {
        package_name: "shared"
        reset_input { only_output_feature_list: true do_layer_norm: true }
      }
      keras_layer {
        mmoe { num_task: 2 num_expert: 2 expert_mlp { hidden_units: [5, 4] dropout_ratio: [0.2] } }
      }
    }
"""


def text(blocks: str, groups: str = GROUPS) -> str:
    """The config; its paths are those of a folder that ``write`` makes."""
    before, found, _ = tiny.CONFIG.partition("\n  feature_groups {{")
    assert found
    body = f"{groups} backbone {{ {blocks} {TOWERS} }}\n}}\n"
    return before + body.replace("{", "{{").replace("}", "}}")


def write(blocks: str, folder: Path) -> Path:
    """The folder with the data and ``tiny.config``."""
    tiny.write_all(folder)
    paths = {"train": folder / "train", "eval": folder / "eval.parquet"}
    (folder / "tiny.config").write_text(text(blocks).format(**paths))
    return folder
