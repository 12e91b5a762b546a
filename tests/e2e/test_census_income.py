"""The MMoE paper's real data: prepared right, and learned from."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tzmmoe import Pipeline

ROOT = Path(__file__).parents[2]
SOURCE = Path(os.environ.get("CENSUS_INCOME_DIR") or "not set")
PARTS = ("train", "valid", "test")

needs_data = pytest.mark.skipif(
    not SOURCE.is_dir(), reason=f"CENSUS_INCOME_DIR is {SOURCE}; set it to the official files"
)


def prepare(source: Path, out: Path, *flags: str) -> subprocess.CompletedProcess:
    script = ROOT / "scripts/prepare_census_income.py"
    command = [sys.executable, str(script), "--source", str(source), "--out", str(out), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("census_income")
    done = prepare(SOURCE, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def tables(prepared: Path) -> dict[str, pa.Table]:
    return {part: pq.read_table(prepared / f"{part}.parquet") for part in PARTS}


@needs_data
def test_the_official_rows_are_all_there_and_the_test_file_is_halved(tables) -> None:
    assert tables["train"].num_rows == 199_523
    halves = [tables["valid"].num_rows, tables["test"].num_rows]
    assert sum(halves) == 99_762
    assert abs(halves[0] - halves[1]) <= 1


@needs_data
def test_labels_agree_with_the_official_lines(tables) -> None:
    """Counted in the raw text by other means than the script's."""
    with gzip.open(SOURCE / "census-income.data.gz", "rt") as lines:
        cells = [[cell.strip() for cell in line.rstrip("\n").split(", ")] for line in lines]
    train = tables["train"]
    assert [row[-1].startswith("50000+") for row in cells] == train["income"].to_pylist()
    assert [row[7] == "Never married" for row in cells] == train["never_married"].to_pylist()
    assert [int(row[0]) for row in cells] == train["age"].to_pylist()
    assert [float(row[24]) for row in cells] == train["instance_weight"].to_pylist()


@needs_data
def test_the_tasks_correlate_as_published(tables) -> None:
    """Absolute Pearson correlation with never_married: .2373 (college) and .1768 (income)."""
    columns = {n: np.array(tables["train"][n]) for n in ("income", "college", "never_married")}
    for name, published in (("college", 0.2373), ("income", 0.1768)):
        found = np.corrcoef(columns[name], columns["never_married"])[0, 1]
        assert abs(found) == pytest.approx(published, abs=0.005)


@needs_data
def test_the_split_is_the_same_every_time(prepared: Path, tmp_path: Path, tables) -> None:
    assert prepare(SOURCE, tmp_path, "--csv").returncode == 0
    for part in PARTS:
        assert pq.read_table(tmp_path / f"{part}.parquet").equals(tables[part])
        assert (tmp_path / f"{part}.csv").stat().st_size > 0


@needs_data
def test_a_file_that_is_not_the_official_one_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SOURCE, source)
    content = gzip.decompress((source / "census-income.test.gz").read_bytes())
    (source / "census-income.test.gz").unlink()
    (source / "census-income.test").write_bytes(content.replace(b"73", b"74", 1))
    done = prepare(source, tmp_path / "out")
    assert done.returncode != 0
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    done = prepare(tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert str(tmp_path) in done.stderr


@needs_data
def test_one_epoch_on_real_data_ranks_as_well_as_other_libraries_do(
    prepared: Path, tmp_path: Path
) -> None:
    """After one epoch MMoE libraries reach .928 to .940 and .991 to .994 on these data."""
    pipeline = Pipeline.load(
        ROOT / "configs/census_income_mmoe.config",
        settings=[
            f"train_input_path={prepared / 'train.parquet'}",
            f"eval_input_path={prepared / 'valid.parquet'}",
            f"model_dir={tmp_path / 'model'}",
            "train_config.num_epochs=1",
            "train_config.use_tensorboard=false",
        ],
    )
    results = pipeline.fit()
    assert results["auc_income"] > 0.938
    assert results["auc_never_married"] > 0.993


def test_no_feature_of_the_configs_reveals_a_label() -> None:
    """Paper protocol: education and marital_stat are no inputs; no label and no weight is one."""
    forbidden = {
        "census_income_mmoe": {"education", "marital_stat"},
        "census_income_group2_mmoe": {"education", "marital_stat"},
        "census_income_education_kept_mmoe": {"marital_stat"},
    }
    always = {"income", "never_married", "college", "instance_weight", "income_50k"}
    for name, columns in forbidden.items():
        loaded = Pipeline.load(ROOT / "configs" / f"{name}.config").config.pipeline
        read = set()
        for config in loaded.feature_configs:
            feature = getattr(config, config.WhichOneof("feature"))
            read.add(feature.expression.rpartition(":")[2] or feature.feature_name)
        assert not read & (columns | always), name
