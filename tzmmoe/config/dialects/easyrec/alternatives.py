"""Words of EasyRec's models that this schema lacks, and what to write instead."""

_SEQUENCES = "sequences are not supported yet; leave the sequence features out"

ALTERNATIVES = {
    **dict.fromkeys(
        ("sequence_features", "output_seq_and_normal_feature", "concat_seq_feature"), _SEQUENCES
    ),
    **dict.fromkeys(
        ("din", "bst", "text_cnn", "seq_aug", "transformer", "text_encoder", "seq_att_groups"),
        _SEQUENCES,
    ),
    "nary_dis_embedding": "write auto_dis_embedding or periodic_embedding",
    "overlap": "make the overlap a column of the data",
    "dot_product": "write dot, with a dense layer before it",
    "variational_dropout": "write feature_dropout_rate in an input_layer, which drops features",
    "kd": "train the tower on the teacher's prediction as its label",
    "cmbf": "it is for images and texts; write backbone",
    "uniter": "it is for images and texts; write backbone",
    "dssm": "it matches users and items; write backbone for one network of both",
    **dict.fromkeys(
        ("user_tower_idx_in_output", "item_tower_idx_in_output", "simi_func", "scale_simi"),
        "it is for matching users and items, which is not supported",
    ),
}
CLASSES = {
    "MatchModel": "it matches users and items by two networks",
    "CMBF": ALTERNATIVES["cmbf"],
    "Uniter": ALTERNATIVES["uniter"],
}


def refusal(word: str) -> str:
    """The fault of one of these words; empty for any other."""
    remedy = ALTERNATIVES.get(word)
    return f"a word of EasyRec that tzmmoe does not have; {remedy}" if remedy else ""
