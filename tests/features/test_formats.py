"""Cells as people and programs write them: printed lists, numbers with marks, dates."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from tzmmoe.features.forms import BadValue
from tzmmoe.features.written.dates import PARTS, DatePart
from tzmmoe.features.written.formats import FIELDS, CellFormat, NumberFormat
from tzmmoe.features.written.printed import lists

LISTS = [[], [1, 2, 3], ["a"], ["a b", "c"], ["it's", 'say "x"', "a, b"], [None, 2], [0.5, -3]]
TIMES = ["1969-07-20 20:17:40", "2024-02-29 00:00:00", "2024-12-31 23:59:59", "2021-01-03 05:06:07"]
ORACLES = {
    "YEAR": lambda time: time.year,
    "MONTH": lambda time: time.month,
    "DAY": lambda time: time.day,
    "WEEKDAY": datetime.weekday,
    "HOUR": lambda time: time.hour,
    "MINUTE": lambda time: time.minute,
    "DAY_OF_YEAR": lambda time: time.timetuple().tm_yday,
    "WEEK": lambda time: time.isocalendar().week,
    "SECONDS": lambda time: int(time.replace(tzinfo=timezone.utc).timestamp()),
}


def text(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


def test_lists_that_python_prints_are_these_lists() -> None:
    found = lists(text([str(each) for each in LISTS])).to_pylist()
    expected = [[None if v is None else str(v) for v in each] or [None] for each in LISTS]
    assert found == expected


@pytest.mark.parametrize("cell", ["5", "[1, 2", "[[1], [2]]", "[1,,2]", "[1 2 ... 9]", "{1}", "["])
def test_what_is_no_list_is_named_with_its_place(cell: str) -> None:
    with pytest.raises(BadValue, match=r"list|shortened") as raised:
        lists(text(["[1]", cell]))
    assert raised.value.row == 1


def test_numbers_with_marks_are_the_numbers() -> None:
    plain = NumberFormat(decimal=".", thousands=",", units=["$", "USD"])
    cells = {"$1,234.50": 1234.5, "-$5": -5, "1,234,567 USD": 1234567, ".5": 0.5, "1e3": 1000}
    assert plain(text(list(cells))).to_pylist() == list(cells.values())
    german = NumberFormat(decimal=",", thousands=".", units=["EUR"])
    assert german(text(["1.234,5 EUR", "0,25"])).to_pylist() == [1234.5, 0.25]
    for wrong in ("1,5", "--5", "1.2.3", "$", "", "."):
        with pytest.raises(BadValue, match="number_format") as raised:
            plain(text(["1", wrong]))
        assert raised.value.row == 1


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_dates_are_those_of_python_in_every_form(part: str) -> None:
    times = [datetime.fromisoformat(each) for each in TIMES]
    berlin = [t.replace(tzinfo=timezone.utc).astimezone(ZoneInfo("Europe/Berlin")) for t in times]
    local = list(map(ORACLES[part], times))
    shown = [ORACLES[part](time.replace(tzinfo=None)) for time in berlin]
    made = DatePart(part, None, "Europe/Berlin")
    assert made(text(TIMES)).to_pylist() == local
    assert made(pa.array(times, pa.timestamp("us"))).to_pylist() == local
    assert made(text([f"{each}Z" for each in TIMES])).to_pylist() == shown
    assert made(pa.array(times, pa.timestamp("ns", "UTC"))).to_pylist() == shown


def test_a_date_that_does_not_exist_is_named() -> None:
    for form, cell in ((None, "2024-02-30"), ("%d.%m.%Y", "30.02.2024")):
        with pytest.raises(BadValue, match=cell) as raised:
            DatePart("DAY", form, "UTC")(text(["2024-01-01" if form is None else "1.1.2024", cell]))
        assert raised.value.row == 1


def test_days_and_points_in_time_may_be_whole_numbers() -> None:
    days = DatePart("DAY", "%Y%m%d", "UTC")
    assert days(pa.array([20240229, 20231231])).to_pylist() == [29, 31]
    assert days(pa.array([20240229.0])).to_pylist() == [
        29
    ]  # as pandas stores them beside missing ones
    with pytest.raises(BadValue, match="20240230"):
        days(pa.array([20240230]))
    for form, unit in {"second": 1, "millis": 10**3, "micros": 10**6, "nanos": 10**9}.items():
        hours = DatePart("HOUR", f"epoch_{form}", "UTC")
        assert hours(pa.array([3600 * 5 * unit, 86_400 * unit - 1])).to_pylist() == [5, 23]


def test_words_for_a_missing_value_stand_for_missing_lists_too() -> None:
    fields = dict.fromkeys(FIELDS) | {"list_format": "PRINTED", "na_values": ["N/A"]}
    rows = CellFormat.of("|", False, fields | {"time_zone": "UTC"}).read(text(["[1, 2]", "N/A"]))
    assert rows.counts.tolist() == [2, 0]
