"""What works differently from EasyRec, on purpose; docs/convert.md has the same lines."""

DIFFERENCES = {
    "experts": (
        "Batch norm and dropout in the experts of the built-in MMoE train like those elsewhere. "
        "EasyRec leaves them in inference mode: statistics keep their first values, and nothing "
        "is dropped."
    ),
    "weights": (
        "A weighted loss is divided by the sum of the weights, and each loss of a tower has a "
        "weight of its own. EasyRec divides by the number of rows whose weight is not 0."
    ),
    "adam": (
        "Adam moves the rows of a table that are in the batch. EasyRec's Adam moves all rows at "
        "each step; its lazy_adam_optimizer works as ours."
    ),
    "momentum": (
        "Tables have no momentum: they take plain steps with the same rate. EasyRec gives "
        "momentum to the rows of the batch too."
    ),
    "decay": (
        "A step takes lr times weight_decay off the weights, and of tables off the rows of the "
        "batch. EasyRec takes weight_decay whatever the rate is, so it is divided by the first "
        "rate."
    ),
    "rmsprop": (
        "RMSprop divides by sqrt(v) + eps. EasyRec divides by sqrt(v + eps), which differs while "
        "v is not far above its large eps."
    ),
    "multiplier": (
        "embedding_learning_rate_multiplier multiplies the rate of the tables. EasyRec multiplies "
        "their gradients, which Adam and its like hardly notice."
    ),
    "averages": (
        "Evaluation and export use the averages of the weights, whose decay warms up. EasyRec "
        "keeps averages in its checkpoints, but evaluates and exports the trained weights; its "
        "decay is constant."
    ),
    "one average": (
        "All weights are averaged. EasyRec averages those of the optimizers that have "
        "use_moving_average."
    ),
    "clipping": (
        "The norm that is bounded is that of the gradient of the dense part. EasyRec's includes "
        "the tables."
    ),
    "labels": (
        "A row whose label is missing does not count in the loss of that task. EasyRec reads a "
        "missing number as 0."
    ),
    "shuffle": (
        "Rows are shuffled within windows of whole batches that are taken from all files. "
        "EasyRec's buffer counts rows, and is filled in the order of the files."
    ),
    "identities": (
        "In an integer column that num_buckets reads, an empty cell and -1 add nothing. In "
        "EasyRec an empty cell is 0, or default_val, and only -1 adds nothing."
    ),
    "hashes": (
        "Text such as 102.0 or True is hashed as 102 or 1, so that CSV and Parquet files agree. "
        "EasyRec hashes the text as it stands."
    ),
    "projections": (
        "The linear map of a number to its embedding starts uniform within 1 / "
        "sqrt(raw_input_dim). EasyRec's starts as its tables do."
    ),
    "stopping": (
        "Early stopping counts evaluations without gain. EasyRec counts max_check_steps, which "
        "are divided by save_checkpoints_steps."
    ),
    "mmoe_layer": (
        "An MMoE component without expert_mlp mixes the experts that its inputs list, the last of "
        "which the gates read. In EasyRec it fails."
    ),
    "bilinear": (
        "BiLinear multiplies embeddings in pairs, whatever its type. In EasyRec the type "
        "interaction fails."
    ),
    "reset_input": (
        "reset_input holds for the call of the package that sets it. In EasyRec it also holds for "
        "later calls."
    ),
    "feature_dropout": (
        "Beside feature_dropout_rate, a norm of an input_layer is one of each feature, in training "
        "and in evaluation. EasyRec's concatenation has none in training, and one that was never "
        "trained in evaluation."
    ),
    "pairs": (
        "Rows of weight 0 take no part in pairs and sessions, and ohem_ratio is a share of the "
        "pairs' weight. In EasyRec such rows stay as the lower ones, and ohem_ratio counts pairs."
    ),
    "f1": (
        "The weight of negatives in F1_REWEIGHTED_LOSS is at most 10 / f1_beta_square. EasyRec's "
        "grows without bound."
    ),
    "esmm": "The losses of ESMM are means over the batch. EasyRec's are sums.",
    "max_f1": "max_f1 puts its thresholds on probabilities. EasyRec puts them on logits.",
    "embedding_layer": (
        "An embedding_layer has a table for each feature and combines the values of a row. EasyRec "
        "pads rows with empty strings, which count as values unless there are weights."
    ),
    "input_blocks": "Two input blocks may read the same feature group. In EasyRec they may not.",
    "relations": (
        "A tower that others relate to may have no relation_dnn: they then read the output of its "
        "dnn. In EasyRec it fails."
    ),
}
