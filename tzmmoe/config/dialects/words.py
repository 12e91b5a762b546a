"""What EasyRec, TorchEasyRec, DeepCTR, Keras and PyTorch call the fields of this schema.

These words are not aliases: each is refused, with what to write instead.
"""

from google.protobuf.descriptor import Descriptor

# Field: words for it, in whatever message has the field and lacks the word. A word may stand for
# several fields; the first that the message has counts.
SYNONYMS = {
    # optimizers and schedules
    "lr": "learning_rate initial_learning_rate init_lr base_lr rate step_size",
    "beta1": "beta_1 betas b1",
    "beta2": "beta_2 b2",
    "eps": "epsilon",
    "weight_decay": "l2 l2_reg l2_regularization wd decoupled_weight_decay",
    "l1_reg": "l1 l1_regularization_strength l1_regularization",
    "l2_reg": "l2 l2_regularization_strength l2_regularization",
    "initial_accumulator_value": "initial_accumulator init_accumulator",
    "adam_optimizer": "adam Adam",
    "adamw_optimizer": "adamw AdamW adam_w_optimizer",
    "adagrad_optimizer": "adagrad Adagrad",
    "sgd_optimizer": "sgd SGD momentum_optimizer gradient_descent",
    "rmsprop_optimizer": "rmsprop RMSprop rms_prop_optimizer",
    "ftrl_optimizer": "ftrl Ftrl",
    "decay_size": "decay_steps step_size",
    "decay_factor": "decay_rate gamma",
    "warmup_size": "warmup_steps num_warmup_steps",
    "T_max": "t_max decay_steps",
    "max_gradient": "max_norm clip_norm clip_value clipnorm clipvalue max_grad_norm clip_grad_norm",
    # training
    "num_epochs": "epochs epoch n_epochs max_epochs num_train_epochs",
    "num_steps": "steps max_steps total_steps train_steps num_train_steps n_steps",
    "ema": "use_moving_average moving_average_decay moving_average use_ema ema_decay ema_momentum "
    "ema_config polyak swa weight_averaging",
    "decay": "momentum moving_average_decay ema_decay ema_momentum",
    "early_stopping": "early_stop early_stopper EarlyStopping early_stopping_rounds",
    "grad_clipping": "gradient_clipping gradient_clip clip_grad grad_clip clip_norm max_grad_norm "
    "clip_grad_norm gradient_clipping_by_norm",
    "mixed_precision": "amp use_amp fp16 bf16 precision",
    "gradient_accumulation_steps": "accumulation_steps accumulate_grad_batches grad_accumulation",
    "optimizer": "optimizer_config optim optimizers",
    "dense_optimizer": "dnn_optimizer network_optimizer",
    "sparse_optimizer": "embedding_optimizer emb_optimizer table_optimizer",
    "save_checkpoints_steps": "save_steps checkpoint_steps save_every save_freq save_interval "
    "save_checkpoint_steps",
    "save_checkpoints_epochs": "save_epochs checkpoint_epochs",
    "keep_checkpoint_max": "max_to_keep keep_checkpoints save_total_limit max_checkpoints",
    "log_step_count_steps": "log_steps log_every logging_steps log_interval log_every_n_steps",
    "fine_tune_checkpoint": "warm_start warm_start_from pretrained pretrained_checkpoint "
    "init_checkpoint restore_from finetune_checkpoint",
    "use_tensorboard": "tensorboard_enabled write_tensorboard",
    "monitor": "metric metric_name monitored",
    "patience": "rounds max_check_steps wait",
    "min_delta": "delta tolerance tol threshold",
    "restore_best_weights": "restore_best load_best",
    "task_metrics": "metrics_set metrics",
    "output_file": "result_file results_file eval_result_path",
    # data
    "batch_size": "batch bs train_batch_size batchsize minibatch_size",
    "eval_batch_size": "val_batch_size test_batch_size valid_batch_size",
    "label_fields": "labels label label_columns label_cols targets target label_name",
    "sample_weight_fields": "sample_weight sample_weights sample_weight_field weights "
    "weight_columns",
    "input_fields": "fields columns feature_fields schema",
    "delimiter": "separator sep field_delimiter csv_separator",
    "with_header": "header has_header use_header",
    "num_workers": "workers n_workers num_readers prefetch_threads num_threads",
    "shuffle_buffer_size": "shuffle_size buffer_size shuffle_buffer",
    "drop_remainder": "drop_last",
    "dataset_type": "input_type file_type file_format format data_format",
    "input_name": "name column field_name",
    "input_type": "type dtype data_type",
    # features
    "feature_name": "name fname",
    "expression": "input_names input_name input column col source",
    "embedding_name": "shared_embedding embedding_group table_name table",
    "embedding_dim": "embedding_size emb_dim emb_size embed_dim embedding_dimension output_dim "
    "embed_size dim dimension",
    "num_buckets": "vocab_size vocabulary_size num_embeddings input_dim cardinality num_categories "
    "n_unique",
    "hash_bucket_size": "hash_buckets num_hash_buckets bucket_size num_bins hash_size use_hash",
    "vocab_list": "vocabulary vocab vocabulary_list categories",
    "vocab_file": "vocabulary_file",
    "pooling": "combiner combine agg aggregation mode",
    "default_value": "default fill_value fillna na_value missing_value",
    "separator": "sep multival_sep seq_multi_sep delimiter",
    "weighted": "weight_name has_weights",
    "init_fn": "initializer embeddings_initializer init",
    "boundaries": "bins buckets bucket_boundaries bin_boundaries bin_edges",
    "periodic": "plr PLR periodic_embedding periodic_embeddings",
    "piecewise_linear": "ple PLE piecewise_linear_embedding piecewise_linear_encoding",
    "frequencies": "num_frequencies n_frequencies",
    "sigma": "frequency_init_scale frequency_scale",
    "normalizer": "normalization normalize normalizer_fn scaler normalization_type",
    "value_dim": "raw_input_dim width",
    "id_feature": "IdFeature sparse_feature categorical_feature SparseFeat sparse tag_feature "
    "category_feature",
    "raw_feature": "RawFeature dense_feature numeric_feature DenseFeat dense numerical_feature",
    # models and layers
    "group_name": "name",
    "feature_names": "features feature_name feature_list",
    "group_type": "type",
    "num_expert": "n_experts num_experts n_expert experts_num number_of_experts",
    "num_experts": "n_experts num_expert n_expert experts_num expert_num",
    "expert_mlp": "expert expert_network expert_net expert_dnn_hidden_units "
    "expert_hidden_units expert_layers expert_units",
    "gate_mlp": "gate_dnn gates gate gate_network gate_dnn_hidden_units gate_hidden_units",
    "bottom_mlp": "bottom_dnn shared_bottom share_bottom_mlp bottom",
    "task_towers": "towers tower tasks task heads task_tower tower_configs",
    "extraction_networks": "extraction_network levels",
    "mlp": "tower_dnn tower_mlp hidden_layers network tower_dnn_hidden_units",
    "hidden_units": "units layers hidden_layers hidden_sizes hidden_size hidden_dims hidden_dim "
    "layer_sizes dnn_hidden_units dims",
    "dropout_ratio": "dropout dropout_rate drop_rate drop_prob dropout_prob dnn_dropout dropout_p",
    "activation": "activation_fn activation_function act dnn_activation nonlinearity",
    "use_bn": "batch_norm batch_normalization use_batch_norm use_batchnorm batchnorm bn dnn_use_bn",
    "use_ln": "layer_norm layer_normalization use_layer_norm layernorm ln",
    "bias": "use_bias",
    "tower_name": "name task_name task",
    "label_name": "label target label_field label_column",
    "metrics": "metric metrics_set metric_names",
    "losses": "loss loss_fn loss_function criterion objective",
    "num_class": "num_classes n_classes n_class classes num_outputs",
    "weight": "loss_weight task_weight",
    "sample_weight_name": "sample_weight weight_name weight_column",
    "output_activation": "activation final_activation task_type",
    # losses and metrics
    "binary_cross_entropy": "bce bce_loss BCELoss BCEWithLogitsLoss binary_crossentropy log_loss "
    "logloss cross_entropy_loss sigmoid_cross_entropy binary_cross_entropy_loss binary_logloss",
    "softmax_cross_entropy": "categorical_crossentropy sparse_categorical_crossentropy softmax "
    "CrossEntropyLoss softmax_loss ce nll_loss cross_entropy",
    "l2_loss": "mse mse_loss MSELoss mean_squared_error squared_error",
    "l1_loss": "mae mae_loss L1Loss mean_absolute_error absolute_error",
    "huber_loss": "huber smooth_l1_loss smooth_l1 HuberLoss",
    "msle_loss": "msle mean_squared_logarithmic_error",
    "binary_focal_loss": "focal focal_loss sigmoid_focal_loss BinaryFocalCrossentropy",
    "hinge_loss": "hinge Hinge",
    "kld_loss": "kld kl_divergence kl_div KLDivLoss kl_divergence_loss",
    "pos_weight": "positive_weight scale_pos_weight class_weight weight",
    "label_smoothing": "smoothing",
    "auc": "AUC roc_auc roc_auc_score",
    "grouped_auc": "group_auc GroupedAUC",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "accuracy": "acc categorical_accuracy",
    "binary_accuracy": "binary_acc bacc",
    "logloss": "log_loss bce binary_cross_entropy binary_crossentropy",
    "normalized_entropy": "ne normalised_entropy nce",
    "f1": "f1_score f1score",
    "grouping_key": "group_key group_by group uid_field session_id_field user_field group_column",
    "uid_field": "user_field uid group_key grouping_key user_id",
    "thresholds": "num_bins bins",
    # top level
    "train_input_path": "train_path train_data train_file train_files train_data_path "
    "training_data",
    "eval_input_path": "eval_path eval_data eval_file eval_files valid_path validation_data "
    "val_path valid_input_path val_input_path",
    "test_input_path": "test_path test_data test_file",
    "model_dir": "output_dir checkpoint_dir save_dir log_dir model_path output_path logdir",
    "feature_configs": "feature_config features feature_columns",
    "data_config": "data dataset dataset_config",
    "model_config": "model model_configs",
    "train_config": "train training trainer training_config",
    "eval_config": "eval evaluation",
    "export_config": "export",
    "runtime_config": "runtime",
}

# Message: {word: the path, from the top of the config, of what does this}.
ELSEWHERE = {
    "TrainConfig": {
        "learning_rate": "train_config.optimizer.adam_optimizer.lr",
        "lr": "train_config.optimizer.adam_optimizer.lr",
        "weight_decay": "train_config.optimizer.adam_optimizer.weight_decay",
        "adam_optimizer": "train_config.optimizer.adam_optimizer",
        "patience": "train_config.early_stopping.patience",
        "shuffle": "data_config.shuffle",
        "model_dir": "model_dir",
        "seed": "runtime_config.seed",
        "device": "runtime_config.device",
        "timeout": "runtime_config.timeout",
    },
    "Pipeline": {
        "learning_rate": "train_config.optimizer.adam_optimizer.lr",
        "lr": "train_config.optimizer.adam_optimizer.lr",
        "optimizer": "train_config.optimizer",
        "epochs": "train_config.num_epochs",
        "num_epochs": "train_config.num_epochs",
        "num_steps": "train_config.num_steps",
        "label_fields": "data_config.label_fields",
        "labels": "data_config.label_fields",
        "seed": "runtime_config.seed",
        "device": "runtime_config.device",
        "mmoe": "model_config.mmoe",
        "feature_groups": "model_config.feature_groups",
        "metrics": "model_config.mmoe.task_towers.metrics",
        "early_stopping": "train_config.early_stopping",
    },
    "ModelConfig": {
        "model_type": "model_config.mmoe",
        "task_towers": "model_config.mmoe.task_towers",
        "num_expert": "model_config.mmoe.num_expert",
        "num_experts": "model_config.mmoe.num_expert",
        "feature_configs": "feature_configs",
        "metrics": "model_config.mmoe.task_towers.metrics",
    },
    "DataConfig": {
        "train_input_path": "train_input_path",
        "train_path": "train_input_path",
        "eval_input_path": "eval_input_path",
        "seed": "runtime_config.seed",
        "feature_configs": "feature_configs",
        "features": "feature_configs",
        "num_epochs": "train_config.num_epochs",
    },
    "EvalConfig": {
        "eval_batch_size": "eval_config.batch_size",
        "eval_input_path": "eval_input_path",
    },
}
_FIELDS: dict[str, list[str]] = {}
for _field, _words in SYNONYMS.items():
    for _word in _words.split():
        _FIELDS.setdefault(_word, []).append(_field)


def counterpart(word: str, owner: Descriptor) -> str:
    """The fault of a word that a message lacks, if it has a counterpart; else an empty text."""
    fields = [name for name in _FIELDS.get(word, ()) if name in owner.fields_by_name]
    if fields:
        return f"no such field; did you mean {fields[0]!r}?"
    path = ELSEWHERE.get(owner.name, {}).get(word)
    return f"no such field here; write {path}" if path else ""
