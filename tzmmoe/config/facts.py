"""What the text engine is told of this schema."""

from tzmmoe.config.dialects.torcheasyrec import ALIASES
from tzmmoe.config.neighbours import unknown_field, unknown_value
from tzmmoe.textformat.facts import SchemaFacts

FACTS = SchemaFacts(
    unknown_field=unknown_field,
    unknown_value=unknown_value,
    exclusive={
        "TrainConfig": [
            {"num_steps", "num_epochs"},
            {"save_checkpoints_steps", "save_checkpoints_epochs"},
            *({"optimizer", name} for name in ("sparse_optimizer", "dense_optimizer")),
        ],
        "IdFeature": [
            {"hash_bucket_size", "num_buckets", "vocab_list", "vocab_dict", "vocab_file"}
        ],
        "RawFeature": [{"boundaries", "autodis", "mlp"}],
        "DataConfig": [{"input_fields", "input_fields_str"}, {"fg_mode", "fg_encoded"}],
        **{name: [{*pair} for pair in aliases.items()] for name, aliases in ALIASES.items()},
    },
    units={"RuntimeConfig.timeout": "s", "RuntimeConfig.collective_timeout": "s"},
)
