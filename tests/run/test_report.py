"""Results as lines of JSON that a crash cannot spoil, and as a table."""

import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tzmmoe.run.results import append_results, read_results, results_of_step, results_table

RESULTS = {"val_loss": 1.5, "auc_ctr": 0.75, "binary_cross_entropy_ctr": 0.5}


def test_a_line_holds_the_step_then_the_keys_in_alphabetical_order(tmp_path) -> None:
    file = tmp_path / "new" / "results.txt"
    append_results(file, 99, RESULTS)
    assert file.read_text() == (
        '{"global_step": 99, "auc_ctr": 0.75, "binary_cross_entropy_ctr": 0.5, "val_loss": 1.5}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_null(tmp_path, value) -> None:
    file = tmp_path / "results.txt"
    append_results(file, 9, {"auc_ctr": value})
    assert json.loads(file.read_text(), parse_constant=pytest.fail) == {
        "global_step": 9,
        "auc_ctr": None,
    }
    [line] = read_results(file)
    assert math.isnan(line["auc_ctr"])


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_numbers_come_back_bit_for_bit(tmp_path_factory, values) -> None:
    file = tmp_path_factory.mktemp("report") / "results.txt"
    for step, value in enumerate(values):
        append_results(file, step, {"x": value})
    assert read_results(file) == [{"global_step": s, "x": x} for s, x in enumerate(values)]


def test_no_file_holds_no_lines(tmp_path) -> None:
    assert read_results(tmp_path / "results.txt") == []
    assert results_of_step(tmp_path / "results.txt", 3) is None


def test_the_last_line_of_a_step_counts(tmp_path) -> None:
    file = tmp_path / "results.txt"
    for step, value in ((1, 0.1), (2, 0.2), (1, 0.3)):
        append_results(file, step, {"x": value})
    assert results_of_step(file, 1) == {"global_step": 1, "x": 0.3}
    assert results_of_step(file, 7) is None


def test_a_line_that_was_cut_off_anywhere_spoils_neither_the_one_before_nor_the_next(
    tmp_path,
) -> None:
    """After it was mended, the file is as if that line had never been begun."""
    file = tmp_path / "results.txt"
    append_results(file, 1, {"auc_ctr": 0.25, "val_loss": 0.5})
    first = file.read_bytes()
    append_results(file, 2, {"auc_ctr": 0.5, "val_loss": 0.5})
    both = file.read_bytes()
    for length in range(len(first), len(both) - 1):
        file.write_bytes(both[:length])
        assert [line["global_step"] for line in read_results(file)] == [1]
        append_results(file, 2, {"auc_ctr": 0.5, "val_loss": 0.5})
        assert file.read_bytes() == both


def test_a_line_that_lacks_only_its_end_is_kept(tmp_path) -> None:
    file = tmp_path / "results.txt"
    file.write_text('{"global_step": 1, "x": 0.5}')
    append_results(file, 2, {"x": 0.25})
    assert read_results(file) == [{"global_step": 1, "x": 0.5}, {"global_step": 2, "x": 0.25}]


def task(name: str, metrics: list[str], losses: list[str]) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        metrics=dict.fromkeys(metrics),
        losses=dict.fromkeys(losses),
        is_learned=True,
        auxiliary=False,
    )


def test_the_table_has_a_line_for_each_task_and_a_column_for_each_metric() -> None:
    tasks = SimpleNamespace(
        tasks=[task("ctr", ["auc"], ["bce"]), task("watch_time", ["mae"], ["l2_loss"])]
    )
    results = {
        "auc_ctr": 0.75,
        "bce_ctr": 0.5,
        "mae_watch_time": 12.345678,
        "l2_loss_watch_time": math.nan,
        "auc_ctr_in_space": 0.125,
    }
    head, ctr, watch_time = results_table(tasks, results, {}).splitlines()
    assert head.split() == ["task", "auc", "bce", "mae", "l2_loss", "auc_in_space"]
    assert ctr.split() == ["ctr", "0.75000", "0.50000", "0.12500"]
    assert watch_time.split() == ["watch_time", "12.34568", "undefined"]
    for title in ("auc", "bce"):
        end = head.index(title) + len(title)
        assert ctr[:end].rstrip() == ctr[:end], f"{title} stands above its numbers"
