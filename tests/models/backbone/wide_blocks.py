"""The tiny data set with WIDE groups, plain numbers and embeddings of blocks."""

from pathlib import Path

from e2e import tiny
from models.backbone import tiny_blocks
from models.backbone.tiny_blocks import block, layer

GROUPS = """
  feature_groups { group_name: "deep" feature_names: ["user", "tags", "price"] }
  feature_groups {
    group_name: "wide" group_type: WIDE
    feature_names: ["scores", "user", "price", "age", "tags", "friend", "city"]
  }
  feature_groups { group_name: "again" group_type: WIDE feature_names: ["tags", "user"] }
  feature_groups { group_name: "numbers" feature_names: ["price", "embedded"] }
  feature_groups { group_name: "ids" feature_names: ["scores", "tags", "user", "age"] }
"""
# ``friend`` reads the column of ``user`` and shares its table.
FEATURES = """
feature_configs { id_feature {
  feature_name: "friend" expression: "user:user" num_buckets: 20 embedding_dim: 4
  embedding_name: "people"
} }
feature_configs { raw_feature {
  feature_name: "embedded" expression: "user:age" default_value: "0" embedding_dim: 3 mlp {}
} }
"""
LIST = "only_output_feature_list: true"
FM = layer("fm", "wide_list", "fm {}")
BLOCKS = (
    block("wide", "wide", "input_layer { wide_output_dim: 2 }")
    + block("wide_list", "again", f"input_layer {{ {LIST} }}")
    + FM
    + block("wide_cube", "again", "input_layer { only_output_3d_tensor: true }")
    + layer("flat", "wide_cube", "flatten {}")
    + block("raw", "numbers", "raw_input {}")
    + layer("joined", "raw", "concatenate {}")
    + block("weighed", "ids", "embedding_layer { embedding_dim: 3 }")
    + block("summed", "ids", 'embedding_layer { embedding_dim: 5 combiner: "sum" concat: false }')
    + layer("sum", "summed", "add {}")
    + block("averaged", "ids", 'embedding_layer { embedding_dim: 2 combiner: "mean" }')
    + block(
        "all",
        'inputs { feature_group_name: "deep" } inputs { block_name: "wide" }'
        + "".join(
            f'inputs {{ block_name: "{name}" }}'
            for name in ("fm", "flat", "joined", "weighed", "sum", "averaged")
        ),
        "keras_layer { mlp { hidden_units: [6] } }",
    )
)


def text(blocks: str = BLOCKS, groups: str = GROUPS) -> str:
    """As ``tiny_blocks.text``."""
    found = tiny_blocks.text(blocks, groups)
    assert '"user" num_buckets: 20' in found
    shared = '"user" num_buckets: 20 embedding_name: "people"'
    features = FEATURES.replace("{", "{{").replace("}", "}}")
    return found.replace('"user" num_buckets: 20', shared, 1) + features


def write(folder: Path, blocks: str = BLOCKS, groups: str = GROUPS) -> Path:
    """The folder with the data and ``tiny.config``."""
    tiny.write_all(folder)
    paths = {"train": folder / "train", "eval": folder / "eval.parquet"}
    (folder / "tiny.config").write_text(text(blocks, groups).format(**paths))
    return folder
