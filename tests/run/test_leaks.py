"""What a run says before it trains: leaks, and evaluation files that cannot be read."""

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails, says

from tzmmoe.errors import DataError, exactly
from tzmmoe.pipeline import Pipeline


def start(pipeline: Pipeline, how: str) -> None:
    pipeline.check() if how == "check" else pipeline.fit()


HOWS = pytest.mark.parametrize("how", ["check", "fit"])


def warnings(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@HOWS
def test_a_feature_that_reads_a_label_is_warned_of_and_no_other_is(
    tiny_folder, tmp_path, caplog, how
) -> None:
    feature = 'feature_configs { id_feature { feature_name: "seen" expression: "user:click" '
    config = (tiny_folder / "tiny.config").read_text()
    config = config.replace("feature_names: [", 'feature_names: ["seen", ', 1)
    (tmp_path / "a.config").write_text(f"{config}{feature} num_buckets: 2 embedding_dim: 4 }} }}")
    settings = [f"model_dir={tmp_path}/m", "train_config.num_steps=1"]
    start(Pipeline.load(tmp_path / "a.config", settings=settings), how)
    (said,) = [line for line in warnings(caplog) if "label" in line]
    says(said, "'seen'", "'click'", "leave the feature out")


def plain(data: Path) -> str:
    return str(data / "train")


def by_link(data: Path) -> str:
    (data / "again.parquet").symlink_to(next((data / "train").iterdir()))
    return str(data / "again.parquet")


def among_others(data: Path) -> str:
    return f"{data}/eval.parquet,{next((data / 'train').iterdir())}"


@HOWS
@pytest.mark.parametrize("named", [plain, by_link, among_others])
@pytest.mark.parametrize("field", ["eval_input_path", "test_input_path"])
def test_files_that_are_trained_on_are_warned_of_if_they_are_evaluated_too(
    tmp_path, caplog, how, named, field
) -> None:
    data = tiny.write_all(tmp_path)
    changes = {field: named(data), "train_config__num_steps": 1}
    start(tiny.pipeline(data, tmp_path / "m", **changes), how)
    (said,) = [line for line in warnings(caplog) if "trained on" in line]
    says(said, field, ".parquet", "eval_split")


@HOWS
def test_other_files_and_rows_held_out_are_not_warned_of(tmp_path, caplog, how) -> None:
    data = tiny.write_all(tmp_path)
    for number, changes in enumerate(
        (
            {"test_input_path": data / "eval.parquet"},
            {"eval_input_path": "", "data_config__eval_split__fraction": 0.2},
        )
    ):
        pipeline = tiny.pipeline(
            data, tmp_path / f"m{number}", train_config__num_steps=1, **changes
        )
        start(pipeline, how)
    assert not [line for line in warnings(caplog) if "trained on" in line or "label" in line]


@HOWS
@pytest.mark.parametrize("field", ["eval_input_path", "test_input_path"])
def test_an_evaluation_file_with_a_bad_value_is_an_error_before_the_first_step(
    tmp_path, how, field
) -> None:
    data = tiny.write_all(tmp_path)
    table = pq.read_table(data / "eval.parquet")
    place = table.schema.get_field_index("click")
    bad = table.column("click").to_pylist()
    bad[3] = 7
    pq.write_table(
        table.set_column(place, "click", [bad]).replace_schema_metadata(), data / "bad.parquet"
    )
    with fails(DataError, "bad.parquet, row 4, column 'click'", "7"):
        start(tiny.pipeline(data, tmp_path / "m", **{field: data / "bad.parquet"}), how)
    assert not list(tmp_path.glob("m/model.ckpt-*"))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0000001, "1.0000001"),
        (1 + 2**-52, "1.0000000000000002"),
        (1.0, "1"),
        (0.1, "0.1"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (-1e-300, "-1e-300"),
        (1e300, "1e+300"),
        (16_777_217, "16777217"),
        (0.10000000149011612, "0.1"),  # the number of 32 bits
    ],
)
def test_numbers_in_messages_are_told_from_those_that_would_be_right(number, text) -> None:
    assert exactly(number) == text
