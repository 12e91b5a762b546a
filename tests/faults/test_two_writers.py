"""Two writers of one output: one whole result, and one clear error."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e import tiny
from messages import fails, says
from pyarrow import csv
from run.runs import ONE_EPOCH

from tzmmoe import Pipeline
from tzmmoe.errors import CheckpointError, ConfigError, DataError
from tzmmoe.run.results import append_results, read_results
from tzmmoe.serving.predictions import PredictionWriter
from tzmmoe.system.durable import claimed, leftovers, put, write_text
from tzmmoe.system.lock import BusyError


def claims(final: Path, number: int, times: int, inside: Path) -> None:
    """Write ``final`` so often, each time in two halves; and fail if another is at it, too."""
    done = 0
    while done < times:
        try:
            with claimed(final) as own:
                descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)
                own.write_text(f"{number} " * 500)
                time.sleep(0.0005)
                with own.open("a") as file:
                    file.write(f"{number} " * 500)
                put(own, final)
                os.close(descriptor)
                inside.unlink()
            done += 1
        except BusyError:
            time.sleep(0.0005)


def together(act: Callable, *arguments: list) -> list[int]:
    """The exit codes of processes that do it at once, each with its own arguments."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=act, args=own) for own in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def test_of_many_writers_one_is_at_work_and_what_is_there_is_always_whole(tmp_path) -> None:
    """Four of them, 40 times each, through the file of the lock being deleted each time."""
    final, inside = tmp_path / "out.txt", tmp_path / "inside"
    codes = together(claims, *([final, number, 40, inside] for number in range(4)))
    assert codes == [0] * 4
    words = final.read_text().split()
    assert len(words) == 1000
    assert len(set(words)) == 1
    assert os.listdir(tmp_path) == ["out.txt"]


def replaces(file: Path, number: int, times: int) -> None:
    for _ in range(times):
        write_text(file, f"{number} " * 5000)


def test_a_file_that_many_replace_at_once_is_always_that_of_one(tmp_path) -> None:
    """A reader finds it whole at any time."""
    file = tmp_path / "out.txt"
    write_text(file, "9 " * 5000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=replaces, args=(file, n, 30)) for n in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        words = file.read_text().split()
        assert (len(words), len(set(words))) == (5000, 1)
    assert [writer.exitcode for writer in writers] == [0] * 3
    assert os.listdir(tmp_path) == ["out.txt"]


def appends(file: Path, number: int) -> None:
    for step in range(50):
        append_results(file, number * 1000 + step, {"auc": 0.5})


def test_results_that_several_append_at_once_are_all_there(tmp_path) -> None:
    file = tmp_path / "eval_result.txt"
    assert together(appends, *([file, number] for number in range(4))) == [0] * 4
    steps = sorted(line["global_step"] for line in read_results(file))
    assert steps == sorted(number * 1000 + step for number in range(4) for step in range(50))


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out"])
def test_a_second_prediction_is_refused_before_it_works_and_harms_nothing(tmp_path, name) -> None:
    """The first one's file is whole; later the second may have it."""
    path = tmp_path / "deep" / name
    rows = {"x": pa.array(range(1000))}
    with PredictionWriter(path) as first:
        first.write(rows, 1000)
        said = [str(path), "is being written by process", str(os.getpid()), "another output path"]
        with fails(DataError, *said), PredictionWriter(path):
            raise AssertionError("it began to work")
        first.write(rows, 1000)
    file = path if path.suffix else path / "part-0.parquet"
    read = csv.read_csv if file.suffix == ".csv" else pq.read_table
    assert read(file)["x"].to_pylist() == [*range(1000)] * 2
    with PredictionWriter(path) as second:
        second.write(rows, 1000)
    assert read(file).num_rows == 1000
    assert os.listdir(file.parent) == [file.name]


def test_what_a_killed_writer_left_is_deleted_by_the_next(tmp_path) -> None:
    final = tmp_path / "out.parquet"
    (tmp_path / ".writing-out.parquet.77-00112233").write_text("half")
    (tmp_path / ".writing-out.parquet.lock").write_text("process 77 on here\n")
    (tmp_path / ".writing-out.parquet2.77-00112233").write_text("another's")
    with PredictionWriter(final) as writer:
        writer.write({"x": pa.array([1.0])}, 1)
    assert leftovers(final) == []
    assert sorted(os.listdir(tmp_path)) == [".writing-out.parquet2.77-00112233", "out.parquet"]


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    made = tiny.pipeline(tiny_folder, tmp_path_factory.mktemp("two") / "model", **ONE_EPOCH)
    made.fit()
    return made


def test_a_second_export_into_a_folder_is_refused(trained, tmp_path) -> None:
    with (
        claimed(tmp_path / "export"),
        fails(
            CheckpointError,
            str(tmp_path / "export"),
            "is being written by process",
            "choose another export_dir",
        ),
    ):
        trained.export(str(tmp_path / "export"))
    trained.export(str(tmp_path / "export"))
    assert {"model.pt2", "signature.json"} <= set(os.listdir(tmp_path / "export"))
    assert os.listdir(tmp_path) == ["export"]


KEPT = ["pipeline.config", "train_eval_result_v2.txt", "model.ckpt-12/state.json", "history.jsonl"]


@pytest.mark.parametrize("name", KEPT)
def test_results_never_replace_a_file_that_is_no_result(tiny_folder, trained, name) -> None:
    file = Path(trained.config.pipeline.model_dir) / name
    content = file.read_bytes()
    changes = ONE_EPOCH | {"eval_config__output_file": file}
    evaluation = tiny.pipeline(tiny_folder, trained.config.pipeline.model_dir, **changes)
    with fails(ConfigError, "eval_config.output_file", str(file), "choose another file"):
        evaluation.evaluate()
    assert file.read_bytes() == content


def test_earlier_results_are_replaced(tiny_folder, trained, tmp_path) -> None:
    changes = ONE_EPOCH | {"eval_config__output_file": tmp_path / "results.json"}
    evaluation = tiny.pipeline(tiny_folder, trained.config.pipeline.model_dir, **changes)
    evaluation.evaluate()
    first = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(first.replace("click_auc", "old"))
    evaluation.evaluate()
    assert (tmp_path / "results.json").read_text() == first


def test_a_second_evaluation_with_one_output_file_is_refused_before_it_works(
    tiny_folder, trained, tmp_path
) -> None:
    out = tmp_path / "results.json"
    changes = ONE_EPOCH | {"eval_config__output_file": out}
    evaluation = tiny.pipeline(tiny_folder, trained.config.pipeline.model_dir, **changes)
    results = Path(trained.config.pipeline.model_dir) / "eval_result.txt"
    before = len(read_results(results))
    with claimed(out), fails(DataError, str(out), "is being written by process"):
        evaluation.evaluate()
    assert len(read_results(results)) == before
    assert not out.exists()


LINKS = [".lock", "train.log", "runs.jsonl", "train_eval_result_v2.txt"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_a_model_dir_is_not_followed(tiny_folder, tmp_path, name) -> None:
    """What it points to keeps its content, and the message names the link."""
    other = tmp_path / "precious.txt"
    other.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(other)
    changes = {"train_config__num_steps": 2}
    with pytest.raises((CheckpointError, OSError)) as caught:
        tiny.pipeline(tiny_folder, tmp_path / "run", **changes).fit()
    says(caught.value, name, "is a link", "remove the link")
    assert other.read_text() == "mine"


@pytest.mark.parametrize("name", ["history.jsonl", "pipeline.config"])
def test_a_link_in_the_place_of_a_file_that_is_replaced_is_replaced(
    tiny_folder, tmp_path, name
) -> None:
    other = tmp_path / "precious.txt"
    other.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(other)
    tiny.pipeline(tiny_folder, tmp_path / "run", train_config__num_steps=2).fit()
    assert other.read_text() == "mine"
    assert not (tmp_path / "run" / name).is_symlink()
