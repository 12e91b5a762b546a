"""Columns in the names of folders, and rows of many files."""

import numpy as np
import pandas as pd
import pytest
from drafting.survey.columns import draft_of
from written import load

from tzmmoe.drafting.survey.columns.rows import MOST_FILES, file_shares
from tzmmoe.pipeline import Pipeline

DAYS = pd.date_range("2024-01-25", periods=12)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_of_folders_are_columns_of_the_draft(tmp_path, capsys, suffix):
    random = np.random.default_rng(0)
    for day in DAYS:
        for shop in (7, 12):
            folder = tmp_path / "data" / f"dt={day:%Y-%m-%d}" / f"shop={shop}"
            folder.mkdir(parents=True)
            rows = pd.DataFrame({"click": random.integers(0, 2, 50), "x": random.normal(size=50)})
            file = folder / f"part.{suffix}"
            rows.to_csv(file, index=False) if suffix == "csv" else rows.to_parquet(file)
    config = draft_of(tmp_path / "data", "click")
    said = capsys.readouterr().out
    assert "dates, 2024-01-25 to 2024-02-05" in said
    assert "shop (raw_feature): whole numbers 7 to 12" in said or "shop (id_feature)" in said
    features = [str(entry) for entry in load(config).pipeline.feature_configs]
    parts = [text for text in features if "context:dt" in text]
    assert ["MONTH" in text or "WEEKDAY" in text for text in parts] == [True, True]
    Pipeline.load(config, device="cpu").check()


def test_rows_of_all_files_are_looked_at_by_their_bytes(tmp_path):
    files = []
    for number in range(200):
        files.append(str(tmp_path / f"{number:03d}.csv"))
        (tmp_path / f"{number:03d}.csv").write_text("x\n" * (1 + number % 3))
    shares = file_shares(files[:4], 80)
    assert shares == dict(zip(files, [12, 23, 35, 12], strict=False))  # of 2, 4, 6 and 2 bytes
    many = file_shares(files, 1000)
    assert len(many) == MOST_FILES
    assert {files[0], files[-1]} <= set(many)
    assert 1000 <= sum(many.values()) <= 1000 + MOST_FILES
