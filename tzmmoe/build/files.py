"""data_config -> how files are read and rows are delivered."""

from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.reading.files import Reading
from tzmmoe.data.reading.split import Split
from tzmmoe.protos.data_pb2 import DataConfig, DatasetType, FieldType
from tzmmoe.protos.pipeline_pb2 import Pipeline


def reading(config: DataConfig) -> Reading:
    """How files are read."""
    chosen = DatasetType.Name(config.dataset_type) if config.HasField("dataset_type") else None
    types = {
        field.input_name: FieldType.Name(field.input_type) if field.HasField("input_type") else None
        for field in config.input_fields
    }
    present = {field.name for field, _ in config.ListFields()}
    csv_fields = ("delimiter", "with_header", "input_fields", "quoting", "null_values")
    only_csv = [f"data_config.{name}" for name in csv_fields if name in present]
    return Reading(
        dataset_type=chosen,
        delimiter=config.delimiter,
        with_header=config.with_header,
        types=types,
        targets=[*config.label_fields, *config.sample_weight_fields],
        only_csv=only_csv,
        quoting=DataConfig.Quoting.Name(config.quoting),
        null_values=tuple(config.null_values),
    )


def split(pipeline: Pipeline) -> Split | None:
    """How rows of train_input_path are held out; None if they are not."""
    if pipeline.eval_input_path or not pipeline.data_config.HasField("eval_split"):
        return None
    chosen = pipeline.data_config.eval_split
    return Split(chosen.fraction, chosen.by or None)


def delivery(config: DataConfig, *, training: bool, seed: int) -> Delivery:
    """How batches are delivered. Only training shuffles and drops the remainder."""
    size = config.batch_size if training else config.eval_batch_size or config.batch_size
    return Delivery(
        batch_size=size,
        shuffle=config.shuffle and training,
        shuffle_batches=config.shuffle_buffer_size,
        drop_remainder=config.drop_remainder and training,
        num_workers=config.num_workers,
        pin_memory=config.pin_memory,
        seed=seed,
    )
