"""python -m tzmmoe.predict writes what eval computes, for files of any kind, or nothing at all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import some
from e2e import tiny
from messages import fails, says
from pyarrow import csv
from serving.small import Small

from tzmmoe import export
from tzmmoe.errors import CheckpointError, ConfigError, DataError
from tzmmoe.predict import main

OUTPUTS = ["logits_ctr", "probs_ctr", "logits_cvr", "probs_cvr"]
TARGETS = ["click", "buy", "importance"]
EVAL = tiny.rows(100_000, tiny.EVAL_ROWS)
ROWS = EVAL.drop_columns(TARGETS)


@dataclass(frozen=True)
class Trained:
    """A trained model, its export, and what eval computes for ROWS."""

    folder: Path
    model_dir: Path
    export: Path
    expected: pa.Table

    def flags(self, source: str) -> list[str]:
        if source == "export":
            return ["--saved_model_dir", str(self.export)]
        config = str(self.folder / "tiny.config")
        return ["--pipeline_config", config, "--model_dir", str(self.model_dir)]


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    pipeline = tiny.pipeline(tiny_folder, folder / "model")
    pipeline.fit()
    file = folder / "evaluated.parquet"
    pipeline.evaluate(predictions_path=str(file))
    export = pipeline.export(str(folder / "export"))
    return Trained(tiny_folder, folder / "model", export, pq.read_table(file).select(OUTPUTS))


@pytest.fixture(params=["export", "checkpoint"])
def source(request: pytest.FixtureRequest) -> str:
    return request.param


def predict(model: Sequence[str], rows: object, output: Path, *flags: str) -> pa.Table:
    """What the command writes."""
    main([*model, "--predict_input_path", str(rows), "--predict_output_path", str(output), *flags])
    if output.suffix == ".csv":
        return csv.read_csv(output)
    return pq.read_table(output if output.is_file() else output / "part-0.parquet")


def assert_near(found: pa.Table, expected: pa.Table, tolerance: float = 1e-6) -> None:
    assert found.column_names == expected.column_names
    assert found.num_rows == expected.num_rows
    for name in expected.column_names:
        one, other = (table.column(name).to_numpy() for table in (found, expected))
        assert np.abs(one - other).max() <= tolerance, name


def test_predictions_equal_eval_without_labels_and_weights(
    trained: Trained, source: str, tmp_path: Path
) -> None:
    file = tiny.write(ROWS, tmp_path / "rows.parquet")
    found = predict(trained.flags(source), file, tmp_path / "out.parquet")
    assert found.schema.types == [pa.float32()] * 4
    assert_near(found, trained.expected)
    assert np.ptp(found.column("probs_ctr").to_numpy()) > 0.01, "all rows have one prediction"


def test_an_export_of_parquet_reads_csv_by_its_line_of_names(tmp_path: Path) -> None:
    """Which the config of the training need not speak of."""
    folder = tiny.write_all(tmp_path / "data")
    config = (folder / "tiny.config").read_text().replace("  with_header: true\n", "")
    (folder / "tiny.config").write_text(config)
    run = tiny.pipeline(folder, tmp_path / "model", train_config__num_steps=3)
    run.fit()
    run.export(str(tmp_path / "export"))
    flags = ["--saved_model_dir", str(tmp_path / "export")]
    wanted = predict(flags, folder / "eval.parquet", tmp_path / "wanted.parquet")
    rows = pq.read_table(folder / "eval.parquet")
    assert_near(
        predict(flags, tiny.write(rows, tmp_path / "rows.csv"), tmp_path / "o.parquet"), wanted
    )


@pytest.mark.parametrize("batch_size", some([1, 7, 60, 4096], 1, 7, 4096))
def test_rows_keep_their_order_whatever_the_files_and_batches(
    trained: Trained, source: str, tmp_path: Path, batch_size: int
) -> None:
    """Files of 3, 0, 17 and 40 rows, as a folder and as a list of globs."""
    begin = 0
    for number, size in enumerate([3, 0, 17, 40]):
        tiny.write(ROWS.slice(begin, size), tmp_path / "in" / f"{number}.parquet")
        begin += size
    flags = ["--reserved_columns", "row", "--batch_size", str(batch_size)]
    expected = trained.expected.add_column(0, "row", EVAL["row"])
    folder = tmp_path / "in"
    for rows in (folder, f"{folder}/0.parquet, {folder}/[12].parquet,{folder}/3*"):
        found = predict(trained.flags(source), rows, tmp_path / "out", *flags)
        assert_near(found, expected)


def test_csv_goes_in_and_out_like_parquet(trained: Trained, source: str, tmp_path: Path) -> None:
    plain = tiny.write(ROWS, tmp_path / "rows.csv")
    packed = tiny.write(ROWS, tmp_path / "rows.csv.gz")
    expected = trained.expected.add_column(0, "row", EVAL["row"])
    for rows in (plain, packed):
        for output in (tmp_path / "out.csv", tmp_path / "out.parquet"):
            found = predict(trained.flags(source), rows, output, "--reserved_columns", "row")
            row = found.column("row").cast(pa.int64())
            assert_near(found.set_column(0, "row", row), expected)


def test_csv_without_header_needs_no_columns_for_labels_and_weights(tmp_path: Path) -> None:
    """The names come from input_fields; a file may have all of them, or all but the targets."""
    names = ["id", "label", "price", "weight"]
    fields = " ".join(f'input_fields {{ input_name: "{name}" }}' for name in names)
    small = Small.build(
        tmp_path,
        [
            'id_feature { feature_name: "id" num_buckets: 9 embedding_dim: 2 }',
            'raw_feature { feature_name: "price" }',
        ],
        names=["id", "price"],
        data=f'fg_mode: FG_DAG with_header: false {fields} sample_weight_fields: "weight"',
    )
    model = ["--saved_model_dir", str(small.export(tmp_path / "export"))]
    rows = pa.table({"id": [1, 2], "label": [0, 1], "price": [0.5, 0.25], "weight": [1, 2]})
    expected = predict(model, tiny.write(rows, tmp_path / "rows.parquet"), tmp_path / "a.parquet")
    for kept in (names, ["id", "price"]):
        file = tmp_path / "rows.csv"
        csv.write_csv(rows.select(kept), file, csv.WriteOptions(include_header=False))
        assert_near(predict(model, file, tmp_path / "out.csv"), expected)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_an_empty_file_gives_a_file_without_rows_and_with_the_columns(
    trained: Trained, source: str, tmp_path: Path, suffix: str, caplog
) -> None:
    """And a warning, unless other files have rows."""
    file = tiny.write(ROWS.slice(0, 0), tmp_path / f"rows{suffix}")
    output = tmp_path / f"out{suffix}"
    found = predict(trained.flags(source), file, output, "--reserved_columns", "row,city")
    assert found.column_names == ["row", "city", *OUTPUTS]
    assert found.num_rows == 0
    assert any(f"{file}: no rows" in message for message in caplog.messages)
    caplog.clear()
    one = tiny.write(ROWS.slice(0, 1), tmp_path / f"one{suffix}")
    assert predict(trained.flags(source), f"{file},{one}", output).num_rows == 1
    assert "no rows" not in caplog.text


def test_all_columns_are_kept_in_their_order_and_exactly(
    trained: Trained, source: str, tmp_path: Path
) -> None:
    """Also columns of types that no feature could read, and labels."""
    size = EVAL.num_rows
    more = {
        "map": pa.array([[("a", row)] for row in range(size)], pa.map_(pa.string(), pa.int64())),
        "lists": pa.array([[row] * (row % 3) if row % 4 else None for row in range(size)]),
        "time": pa.array(range(size), pa.timestamp("us", "UTC")),
        "cents": pa.array(range(size), pa.int8()).cast(pa.decimal128(20, 2)),
        "nothing": pa.nulls(size),
        "dotted.name": pa.array([{"x": row} for row in range(size)]),
    }
    rows = EVAL
    for name, values in more.items():
        rows = rows.append_column(name, values)
    file = tiny.write(rows, tmp_path / "rows.parquet")
    flags = ["--reserved_columns", "ALL_COLUMNS", "--batch_size", "13"]
    found = predict(trained.flags(source), file, tmp_path / "out.parquet", *flags)
    assert found.select(rows.column_names).equals(pq.read_table(file))
    assert_near(found.select(OUTPUTS), trained.expected)
    assert found.column_names == [*rows.column_names, *OUTPUTS]


def test_only_the_chosen_outputs_are_written(trained: Trained, source: str, tmp_path: Path) -> None:
    file = tiny.write(ROWS, tmp_path / "rows.parquet")
    flags = ["--output_columns", "probs_cvr, probs_ctr"]
    found = predict(trained.flags(source), file, tmp_path / "out.parquet", *flags)
    assert_near(found, trained.expected.select(["probs_cvr", "probs_ctr"]))


@pytest.mark.parametrize(
    ("flags", "kind", "parts"),
    [
        (["--output_columns", "prob_ctr"], ConfigError, ["'prob_ctr'", "'probs_ctr'"]),
        (["--reserved_columns", "citi"], DataError, ["no column 'citi'", "'city'"]),
        (["--reserved_columns", "ALL_COLUMNS"], ConfigError, ["probs_ctr ", "output_columns"]),
        (["--predict_input_path", "nowhere"], DataError, ["nowhere: ", "--predict_input_path"]),
        (["--predict_output_path", "out.tsv"], DataError, ["out.tsv: ", ".parquet or .csv"]),
        (["--predict_output_path", "/proc/x/out"], DataError, ["/proc/x/out", "written"]),
    ],
)
def test_a_request_that_cannot_be_met_is_an_error_that_leaves_nothing(
    trained: Trained, source: str, tmp_path: Path, flags: list, kind: type, parts: list
) -> None:
    rows = ROWS.append_column("probs_ctr", EVAL["price"])
    file = tiny.write(rows, tmp_path / "rows.parquet")
    with fails(kind, *parts):
        predict(trained.flags(source), file, tmp_path / "out.parquet", *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_bad_row_is_named_and_the_earlier_predictions_stay(
    trained: Trained, source: str, tmp_path: Path
) -> None:
    tiny.write(ROWS, tmp_path / "in" / "0.csv")
    bad = ROWS.set_column(5, "price", pa.array(["1"] * 4 + ["cheap"] + ["1"] * 55))
    assert ROWS.column_names[5] == "price"
    tiny.write(bad, tmp_path / "in" / "1.csv")
    output = tmp_path / "out" / "part-0.parquet"
    before = predict(trained.flags(source), tmp_path / "in" / "0.csv", tmp_path / "out")
    with fails(DataError, "1.csv, row 5, column 'price' ", "'cheap' ", "number"):
        predict(trained.flags(source), tmp_path / "in", tmp_path / "out", "--batch_size", "8")
    assert pq.read_table(output).equals(before)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_files_that_lack_a_column_are_an_error_before_the_first_row(
    trained: Trained, source: str, tmp_path: Path
) -> None:
    rows = ROWS.rename_columns(["users" if name == "user" else name for name in ROWS.column_names])
    file = tiny.write(rows, tmp_path / "rows.parquet")
    with fails(DataError, f"{file}: no column 'user'", "did you mean 'users'"):
        predict(trained.flags(source), file, tmp_path / "out.parquet")


def test_a_file_that_is_read_is_not_replaced(
    trained: Trained, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tiny.write(ROWS, tmp_path / "in" / "part-0.parquet")
    content = file.read_bytes()
    other = tmp_path / "link.parquet"
    other.symlink_to(file)
    for rows, output in (
        (file, file),
        (tmp_path / "in", tmp_path / "in"),
        ("in/*.parquet", file),
        (file, other),
    ):
        with fails(DataError, "part-0.parquet: ", "replaced", "choose another output"):
            predict(trained.flags(source), rows, Path(output))
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ([], ["--saved_model_dir", "--pipeline_config"]),
        (
            ["--saved_model_dir", "a", "--pipeline_config", "b"],
            ["--saved_model_dir", "--pipeline_config"],
        ),
        (["--saved_model_dir", "a", "--set", "b=1"], ["--set has no effect", "leave it out"]),
        (
            ["--saved_model_dir", "a", "--checkpoint_path", "b"],
            ["--checkpoint_path has no effect", "leave it out"],
        ),
        (["--saved_model_dir", "a", "--batch_size", "0"], ["--batch_size is 0", "1 to 16,777,216"]),
        (
            ["--saved_model_dir", "a", "--predict_output_path", ""],
            ["--predict_output_path is empty"],
        ),
    ],
)
def test_flags_that_exclude_each_other_are_an_error(
    flags: list, parts: list, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--predict_input_path", "x.csv", "--predict_output_path", "y.csv", *flags])
    assert ended.value.code == 2
    says(capsys.readouterr().err, *parts)


def test_a_folder_that_is_not_an_export_is_an_error(trained: Trained, tmp_path: Path) -> None:
    file = tiny.write(ROWS, tmp_path / "rows.parquet")
    model = ["--saved_model_dir", str(trained.model_dir)]
    with fails(CheckpointError, f"{trained.model_dir}: ", "not an export"):
        predict(model, file, tmp_path / "out.parquet")


def test_a_named_checkpoint_is_the_one_that_predicts(trained: Trained, tmp_path: Path) -> None:
    file = tiny.write(ROWS, tmp_path / "rows.parquet")
    config = ["--pipeline_config", str(trained.folder / "tiny.config")]
    saved = sorted(trained.model_dir.glob("model.ckpt-*"), key=lambda path: path.stat().st_mtime)
    tables = []
    for checkpoint in (saved[0], saved[-1]):
        output = tmp_path / f"{checkpoint.name}.parquet"
        tables.append(predict([*config, "--checkpoint_path", str(checkpoint)], file, output))
    assert_near(tables[1], trained.expected)
    with pytest.raises(AssertionError):
        assert_near(tables[0], trained.expected)


@pytest.mark.parametrize(
    "delay", [0, *(pytest.param(s, marks=pytest.mark.long) for s in (0.02, 0.05, 0.1, 0.3))]
)
def test_a_run_that_is_stopped_by_a_signal_leaves_nothing_and_exits_with_its_code(
    trained: Trained, tmp_path: Path, delay: float
) -> None:
    """At several moments after it has begun to write."""
    rows = pa.concat_tables([ROWS] * 5_000)
    file = tmp_path / "rows.parquet"
    pq.write_table(rows, file, row_group_size=1 << 16)
    model = trained.flags("export")
    flags = ["--predict_input_path", str(file), "--predict_output_path", str(tmp_path / "out")]
    command = [sys.executable, "-m", "tzmmoe.predict", *model, *flags, "--batch_size", "16"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as run:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("out/.writing-*")) and time.monotonic() < until:
            time.sleep(0.005)
            assert run.poll() is None, run.stderr.read().decode()
        time.sleep(delay)
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_an_export_that_was_signed_is_scored_with_its_key_and_refused_with_another(
    trained: Trained, tmp_path: Path
) -> None:
    for name in ("mine", "other"):
        (tmp_path / f"{name}.key").write_bytes(name.encode() * 8)
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    folder, out = tmp_path / "export", tmp_path / "out.parquet"
    config = trained.flags("checkpoint")
    export.main([*config, "--export_dir", str(folder), "--key_file", str(tmp_path / "mine.key")])
    flags = [
        "--saved_model_dir",
        str(folder),
        "--predict_input_path",
        str(tmp_path / "rows.parquet"),
    ]
    flags += ["--predict_output_path", str(out), "--device", "cpu", "--key_file"]
    with fails(CheckpointError, str(folder), str(tmp_path / "other.key"), "--key_file"):
        main([*flags, str(tmp_path / "other.key")])
    assert not out.exists()
    main([*flags, str(tmp_path / "mine.key")])
    found = pq.read_table(out)
    for name in OUTPUTS:
        assert np.abs(found[name].to_numpy() - trained.expected[name].to_numpy()).max() < 1e-6
