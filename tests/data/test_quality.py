"""Counts of missing and unusual values over the rows that were encoded."""

import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from messages import says

from tzmmoe.data.quality import Quality
from tzmmoe.features.shared import Tally


def tally(missing: int = 0, defaulted: int = 0, unknown: int = 0, outside: int = 0) -> Tally:
    return Tally(missing=missing, defaulted=defaulted, unknown=unknown, outside=outside)


def cells(quality: Quality, feature: str) -> list[str]:
    """The shares in a feature's line."""
    [line] = [line for line in quality.table().splitlines() if line.startswith(feature)]
    return line.split()[1:]


def test_shares_are_of_all_rows_and_not_of_the_last_chunk() -> None:
    quality = Quality()
    quality.add({"age": tally(missing=3), "city": tally(1, 1, 8, 2)}, 10)
    quality.add({"age": tally(missing=0), "city": tally(0, 0, 0, 2)}, 30)
    assert cells(quality, "age") == ["7.50%", "0.00%", "0.00%", "0.00%"]
    assert cells(quality, "city") == ["2.50%", "2.50%", "20.00%", "10.00%"]


def test_features_without_anything_to_report_have_no_line() -> None:
    quality = Quality()
    quality.add({"age": tally(), "city": tally(unknown=1)}, 4)
    assert "age" not in quality.table()
    quality = Quality()
    quality.add({"age": tally(), "city": tally()}, 4)
    assert quality.table() == "all 2 features have a known value in every row"


def test_threads_may_count_at_the_same_time() -> None:
    quality = Quality()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: quality.add({"age": tally(1, 2, 3, 4)}, 5), range(2000)))
    assert quality.num_rows == 10_000
    assert cells(quality, "age") == ["20.00%", "40.00%", "60.00%", "80.00%"]


def test_ids_outside_a_table_are_warned_of_once_for_each_feature(caplog) -> None:
    quality = Quality()
    quality.add({"age": tally(outside=0), "city": tally(unknown=5)}, 10)
    assert not caplog.messages
    for _ in range(3):
        quality.add({"age": tally(outside=7), "city": tally(outside=2)}, 2000)
    age, city = caplog.messages
    says(age, "age: ", "7 of 2,000 rows", "num_buckets", "out_of_range")
    says(city, "city: ", "2 of 2,000 rows", "num_buckets", "out_of_range")


def test_values_without_a_row_surprise_if_more_than_a_twentieth_of_all_rows_hold_them() -> None:
    training, evaluation = Quality(), Quality(warns=False)
    training.add({"age": tally(outside=10), "city": tally(unknown=40), "day": tally()}, 100)
    found = {"age": tally(outside=32), "city": tally(unknown=86), "day": tally(outside=11)}
    evaluation.add(found | {"new": tally(200)}, 200)
    lines = evaluation.surprises(training, "here")
    assert lines.keys() == {"age", "day"}  # 16 % against 10 %, 43 % against 40 %, 5.5 % against 0 %
    says(lines["age"], "age: 16.0% of the first 200 rows of here", "10.0% of the first 100")
    assert not Quality().surprises(training, "here")
    assert evaluation.surprises(Quality(), "here").keys() == {"age", "city", "day"}


def test_what_several_processes_counted_adds_up_after_a_way_through_json() -> None:
    parts = []
    for rows, kind in ((10, pa.float32()), (30, pa.list_(pa.int64()))):
        quality = Quality()
        quality.add({"age": tally(1, 2, 3, rows)}, rows)
        quality.note_types([pa.schema([("x", kind), ("city", pa.string())])])
        parts.append(json.loads(json.dumps(quality.to_json())))
    total = Quality.of_all(parts).to_json()
    assert total["rows"] == 40
    counts = {"missing": 2, "defaulted": 4, "unknown": 6, "outside": 40}
    assert total["features"] == {"age": counts}
    assert total["types"] == {"x": ["float", "int64"], "city": ["string"]}


def test_shares_stand_beside_those_of_training() -> None:
    training, served = Quality(), Quality()
    training.add({"age": tally(missing=5), "city": tally()}, 50)
    served.add({"age": tally(missing=3), "city": tally(unknown=1), "new": tally()}, 4)
    found = served.beside(training.to_json(), ["age", "city", "new"])
    assert (found["rows"], found["training_rows"]) == (4, 50)
    missing, unknown = found["features"]["age"]["missing"], found["features"]["city"]["unknown"]
    assert missing == {"rows": 3, "share": 0.75, "training_share": 0.1}
    assert unknown == {"rows": 1, "share": 0.25, "training_share": 0.0}
    assert found["features"]["new"]["missing"]["training_share"] is None
