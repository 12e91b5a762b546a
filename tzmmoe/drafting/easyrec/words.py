"""EasyRec's words -> ours, and why some change nothing here."""

LAUNCHER = "torchrun decides how many processes train, and on which devices"
GRAPH = "there is no graph of TensorFlow"

DATASETS = {
    **dict.fromkeys(("CSVInput", "CSVInputV2", "CSVInputEx"), "CsvDataset"),
    **dict.fromkeys(("ParquetInput", "ParquetInputV2", "ParquetInputV3"), "ParquetDataset"),
}
QUOTING = {"CSVInput": "OFF", "CSVInputEx": "DOUBLED"}  # CSVInputV2 leaves it to the file

OF_DATA = {
    "prefetch_size": "batches are read ahead as memory allows",
    "num_parallel_calls": "num_workers says how many threads read",
    "shard": LAUNCHER,
    "file_shard": LAUNCHER,
    "selected_cols": "the features and labels say which columns are read",
    "selected_col_types": "the features and labels say which types they need",
    "rtp_separator": "only RTP's files have it",
    "ignore_error": "a bad value is an error that names its file and row",
    "pai_worker_queue": LAUNCHER,
    "pai_worker_slice_num": LAUNCHER,
    "chief_redundant": LAUNCHER,
    "data_compression_type": "the reader sees how a file is compressed",
    "n_data_batch_tfrecord": "only TFRecord files have it",
    "feature_fields": "the features say which columns they read",
}
SAMPLER = "negative sampling is for retrieval, and not supported; remove it"
REFUSED_DATA = {
    "label_sep": "labels of several numbers are not supported; write one column per number",
    "extra_label_func": "labels are not computed here; write this label into the data",
    **dict.fromkeys(
        (
            *("negative_sampler", "negative_sampler_v2", "negative_sampler_in_memory"),
            *("hard_negative_sampler", "hard_negative_sampler_v2"),
        ),
        SAMPLER,
    ),
}

OF_TRAINING = {
    "sync_replicas": "processes always train in step",
    "sparse_accumulator_type": "processes always train in step",
    "startup_delay_steps": "processes start together",
    "train_distribute": LAUNCHER,
    "num_gpus_per_worker": LAUNCHER,
    "protocol": LAUNCHER,
    "save_checkpoints_secs": "checkpoints come by steps or epochs: save_checkpoints_steps",
    "save_summary_steps": "summaries are written whenever a line is logged",
    "summary_model_vars": "weights are not written to TensorBoard",
    "is_profiling": "tensorboard.profile_batch traces a window of batches",
    "force_restore_shape_compatible": "partial_restore takes what fits from a checkpoint",
    "fine_tune_ckpt_var_map": "a checkpoint of TensorFlow cannot be read",
    "inter_op_parallelism_threads": "torch chooses the number of threads",
    "intra_op_parallelism_threads": "torch chooses the number of threads",
    "tensor_fuse": GRAPH,
    "write_graph": GRAPH,
    "incr_save_config": "there are no checkpoints of changes alone",
    "enable_oss_stop_signal": "a signal such as SIGTERM saves and stops a run",
    "dead_line": "runtime_config.timeout limits how long a run takes",
}
OF_EVALUATION = {
    "eval_interval_secs": "evaluations come with checkpoints",
    "max_evals": "evaluations come with checkpoints",
    "save_graph": GRAPH,
    "eval_online": "train_speed_logger.with_metrics measures the training rows",
}
OF_METRICS = {
    "metrics_set": "EasyRec's multi-task models do not read it either; the towers' metrics count",
}
OF_EXPORTS = {
    "batch_size": "an export takes batches of any size",
    "exports_to_keep": "an export is made when it is asked for: python -m tzmmoe.export",
    "multi_placeholder": GRAPH,
    "multi_value_fields": GRAPH,
    "auto_multi_value": GRAPH,
    "placeholder_named_by_input": GRAPH,
    "filter_inputs": "an export asks for the columns that it reads",
    "export_features": "an export gives the model's outputs",
    "export_rtp_outputs": "an export gives the model's outputs",
    "asset_files": "an export holds all that it needs",
}
