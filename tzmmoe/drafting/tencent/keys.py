"""The keys of each object of a job: read, without effect here, and not supported."""

from tzmmoe.drafting.section import Keys

# Why a key has no effect here.
IDLE = {
    "pod_affin": "the cluster decides where pods run",
    "cache": "files are streamed",
    "verbose": "a run always logs the same",
    "term_on_nan": "a run always ends at a loss that is NaN",
    "num_test_samples": "all rows of test_data_args count",
    "log_dir": "TensorBoard's files go to model_dir",
    "name": "results are named after the metric and the tower",
    "is_sparse": "a row has as many values as its cell",
    "is_ragged": "a row has as many values as its cell",
    "is_varlen": "a row has as many values as its cell",
}
# What to do instead of a key that is not supported.
INSTEAD = {
    "one_hot": "give embedding_dim",
    "weight_col": "put the weights into the cells, as value:weight, and set id_feature.weighted",
    "self_weighted": "put the weights into the cells, as value:weight",
    "max_len": "set id_feature.value_dim in the config",
    "save_path": "pass --export_dir to tzmmoe.export",
    "load_model_from": "a Keras model cannot be loaded",
    "continue_training": "pass --continue_train to tzmmoe.train",
    "predict_args": "call tzmmoe.predict",
    "predict_data_args": "call tzmmoe.predict",
    "pred_args": "call tzmmoe.predict",
    "pred_data_args": "call tzmmoe.predict",
    "train_type": "there is one way to train",
    "named_outputs": "outputs are named after their tower",
}


def keys(read: str, idle: str = "", foreign: str = "") -> Keys:
    """Names between blanks."""
    return Keys(
        read.split(),
        {name: IDLE.get(name, "") for name in idle.split()},
        {name: INSTEAD.get(name, "") for name in foreign.split()},
    )


JOB = keys(
    "num_workers node_affin timeout job_detail",
    idle="pod_affin",
    foreign="skip archive clean_files trainer output_file retries num_ps",
)
DETAIL = keys(
    "model_input_config_file model_args train_data_args val_data_args test_data_args train_args "
    "eval_args",
    foreign="script_name load_model_from predict_args predict_data_args pred_args pred_data_args "
    "save_model_args load_model_args nni_using best_param_path params",
)
MODEL = keys(
    "name task_structs task_use_bias task_hidden_act task_output_act task_use_bn task_dropout "
    "task_l1_reg task_l2_reg num_experts expert_layers expert_use_bias expert_act expert_dropout "
    "expert_use_bn expert_l1_reg expert_l2_reg gate_use_bias gate_l1_reg gate_l2_reg share_gates "
    "use_wide wide_type wide_width feature_cross output_cross wide_l1_reg wide_l2_reg",
    foreign="named_outputs continue_training continue_training_model_path "
    "model_input_config_file pack_path data_path",
)
FILES = keys(
    "data_file field_delim with_headers headers file_type shuffle shuffle_buffer_size "
    "drop_remainder",
    idle="cache",
    foreign="model_input_config_file repeat shard_policy tfrecord_config_file compression_type "
    "tfrecord_buffer_size fake_label input_groups deterministic keep_label_name",
)
TRAINING = keys(
    "batch_size epochs num_samples num_val_samples optimizer losses metrics train_speed_logger "
    "tensorboard early_stopping grad_process mix_precision ckpt_path",
    idle="verbose term_on_nan",
    foreign="save_path train_type steps_per_execution inter_op_paral intra_op_paral mw_com "
    "var_partition_policy model_call_exclude_input_index input_squeeze nni_search nni_metric "
    "nni_batch nni_exp_id nni_trial_id nni_record",
)
EVALUATION = keys(
    "batch_size metrics output_file",
    idle="verbose num_test_samples",
    foreign="losses optimizer models inter_op_paral intra_op_paral mw_com "
    "model_call_exclude_input_index input_squeeze",
)
SPEED = keys("every_batches with_metrics")
TENSORBOARD = keys(
    "profile_batch",
    idle="log_dir histogram_freq write_graph write_images write_grads write_steps_per_second "
    "update_freq embeddings_freq embeddings_metadata",
)
STOPPING = keys(
    "monitor mode patience min_delta restore_best_weights",
    idle="verbose",
    foreign="baseline start_from_epoch",
)
OPTIMIZER = keys("type args grad_process")
LOSS = keys("type args weight")
METRIC = keys("type args")
INPUTS = keys("version inputs", foreign="feature_columns")
GROUPED = keys("defs defines groups")
DEFINITION = keys(
    "name dtype shape default_value val_sep is_label is_sample_weight label_index embedding_dim "
    "embedding_name embedding_combiner embedding_initializer vocab_size vocab_list vocab_file "
    "hash_type num_oov_buckets bucket_boundaries zscore mean std exclude",
    idle="is_sparse is_ragged is_varlen",
    foreign="one_hot weight_col self_weighted max_len padding embedding_l1_reg embedding_l2_reg",
)
