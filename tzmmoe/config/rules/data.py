"""``data_config``: how files are read, and which columns are labels and weights."""

from collections.abc import Iterator

from tzmmoe.config.rulebook import Rules
from tzmmoe.config.rules.values import at_least, unique
from tzmmoe.errors import Faults, exactly
from tzmmoe.protos.data_pb2 import FG_NONE
from tzmmoe.protos.pipeline_pb2 import Pipeline

MAX_WORKERS = 1024  # threads
PATH = "data_config"


def check(pipeline: Pipeline, faults: Faults) -> None:
    config = pipeline.data_config
    at_least(1, config, PATH, ["batch_size", "shuffle_buffer_size", "eval_batch_size"], faults)
    if config.num_workers > MAX_WORKERS:
        words = f"is {config.num_workers:,}; give 0 to {MAX_WORKERS:,}, about one per core"
        faults.add(f"{PATH}.num_workers", words)
    if not config.label_fields:
        faults.add(f"{PATH}.label_fields", "is empty; name the label columns")
    for name in ("label_fields", "sample_weight_fields"):
        unique(getattr(config, name), f"{PATH}.{name}", faults)
        for index, column in enumerate(getattr(config, name)):
            if not column.strip():
                words = f"is {column!r}; name a column, or remove it"
                faults.add(f"{PATH}.{name}[{index}]", words)
    unique([field.input_name for field in config.input_fields], f"{PATH}.input_fields", faults)
    for index, field in enumerate(config.input_fields):
        if not field.input_name:
            faults.add(f"{PATH}.input_fields[{index}].input_name", "is not set; name the column")
    if words := delimiter_fault(config.delimiter):
        faults.add(f"{PATH}.delimiter", words)
    if not config.fg_encoded_multival_sep:
        words = "is empty; give the text that separates two values"
        faults.add(f"{PATH}.fg_encoded_multival_sep", words)
    if config.HasField("eval_split") and not 0 < config.eval_split.fraction < 1:
        share = exactly(config.eval_split.fraction)
        words = f"is {share}; give more than 0 and less than 1, such as 0.2"
        faults.add(f"{PATH}.eval_split.fraction", words)
    if not 0 <= config.sample_mask_prob < 1:
        words = f"is {exactly(config.sample_mask_prob)}; give 0 or more, and less than 1"
        faults.add(f"{PATH}.sample_mask_prob", words)


def delimiter_fault(delimiter: str) -> str:
    """Why a text cannot separate the columns of CSV files; empty if it can."""
    if len(delimiter) == 1 and delimiter.isascii() and delimiter not in '\0\n\r"':
        return ""
    return f"is {delimiter!r}; give one ASCII character other than a quote, line break or NUL"


def evaluates(pipeline: Pipeline) -> bool:
    """Whether there are rows to evaluate while training."""
    return bool(pipeline.eval_input_path) or pipeline.data_config.HasField("eval_split")


def notes(pipeline: Pipeline) -> Iterator[str]:
    config = pipeline.data_config
    if config.HasField("odps_data_quota_name"):
        yield f"{PATH}.odps_data_quota_name has no effect: MaxCompute is not supported"
    if config.HasField("fg_threads"):
        yield f"{PATH}.fg_threads has no effect: use num_workers"
    if config.HasField("eval_split") and pipeline.eval_input_path:
        yield f"{PATH}.eval_split has no effect with eval_input_path: all other rows are trained on"
    if config.HasField("shuffle_buffer_size") and not config.shuffle:
        yield f"{PATH}.shuffle_buffer_size has no effect without shuffle: true"
    if config.HasField("fg_encoded_multival_sep") and config.fg_mode != FG_NONE:
        yield f"{PATH}.fg_encoded_multival_sep has no effect outside fg_mode: FG_NONE"


RULES = Rules(check=check, notes=notes)
