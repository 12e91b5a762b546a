"""Durations as text. Shows S0.8 of the checklist, as far as reading goes."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import CONFIG, changed, loaded, raises, said

from tzmmoe.config import duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("100d", timedelta(days=100)),
        ("2w", timedelta(weeks=2)),
        ("1.5h", timedelta(minutes=90)),
        (".5m", timedelta(seconds=30)),
        ("0.25d", timedelta(hours=6)),
        ("007s", timedelta(seconds=7)),
    ],
)
def test_a_number_and_a_unit_are_a_duration(text, length) -> None:
    assert duration.seconds(text) == length.total_seconds()


@given(st.floats(0.001, 1e9), st.sampled_from("smhdw"))
def test_a_unit_is_as_many_seconds_as_its_parts(number, unit) -> None:
    parts = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60, "w": 7 * 24 * 60 * 60}
    assert duration.seconds(f"{number:f}{unit}") == float(f"{number:f}") * parts[unit]


@pytest.mark.parametrize(
    "text",
    [
        *("", "0s", "0.0h", "-1h", "+1h", "1", "h", "12 h", " 12h", "12h ", "12H", "1h30m", "1e3s"),
        *("infs", "nans", "1.s", "1,5h", "1_0s", "0x1s", "1ms", "1y", "٣s", "1h\n", "."),
    ],
)
def test_anything_else_is_a_fault_that_names_the_field_and_shows_examples(tmp_path, text) -> None:
    with raises("is ", "90s, 30m, 12h, 100d or 2w"):
        duration.seconds(text)
    written = text.replace("\n", "\\n")
    changes = ("data_config", f'runtime_config {{ timeout: "{written}" }} data_config')
    [line] = said(loaded(tmp_path, changed(changes)))
    assert f"runtime_config.timeout: is {text!r}; give a positive number and a unit" in line


def test_a_number_without_a_unit_is_offered_as_seconds() -> None:
    with raises("is '30'; give a positive number", "did you mean '30s'?"):
        duration.seconds("30")


def test_no_timeout_and_a_good_one_are_no_fault(tmp_path) -> None:
    assert said(loaded(tmp_path, CONFIG)) == []
    changes = ("data_config", 'runtime_config { timeout: "100d" } data_config')
    assert said(loaded(tmp_path, changed(changes))) == []
