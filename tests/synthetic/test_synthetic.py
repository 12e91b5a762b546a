"""The command that writes the synthetic data set: what it prints, replaces and refuses."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from messages import fails
from synthesized import DEFAULTS, made

from tzmmoe import Pipeline
from tzmmoe.errors import UserError
from tzmmoe.synthetic import __main__, files, population
from tzmmoe.synthetic.population import Sizes

ROOT = Path(__file__).parents[2]


def test_the_printed_optimum_is_the_recorded_one(tmp_path, capsys) -> None:
    made(tmp_path, "--rows", "2000", "--eval_rows", "1")
    recorded = json.loads((tmp_path / "optimum.json").read_text())
    train, eval_, _ = capsys.readouterr().out.splitlines()
    for key in ("auc_ctr", "auc_cvr_in_space", "auc_ctcvr"):
        assert f"{key} {recorded['train'][key]:.4f}" in train
        assert recorded["eval"][key] is None  # one row has one class
        assert f"{key} undefined" in eval_


def peaks(out: Path, rows: int) -> tuple[int, int]:
    """Most bytes of Python and numpy, and of Arrow between two blocks, while rows are written."""
    pool, count, arrow = pa.default_memory_pool(), files.OutcomeTally.add, []
    before = pool.bytes_allocated()

    def add(tally: files.OutcomeTally, block: population.Block) -> None:
        arrow.append(pool.bytes_allocated() - before)
        count(tally, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_ROWS", 1000)
        patch.setattr(files.OutcomeTally, "add", add)
        tracemalloc.start()
        made(out, "--rows", str(rows), "--eval_rows", "0")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak, max(arrow)


def test_memory_does_not_grow_with_the_rows(tmp_path) -> None:
    """50,000 more rows take 1.6 MB in one column of float64 and ids alone."""
    few, many = peaks(tmp_path, 5_000), peaks(tmp_path, 55_000)
    assert many[0] < few[0] + 100_000
    assert many[1] < few[1] + 100_000


def test_a_new_data_set_replaces_the_old_one(tmp_path) -> None:
    small = ("--rows", "100", "--eval_rows", "10")
    made(tmp_path, *small, "--files", "3")
    made(tmp_path, "--rows", "100", "--eval_rows", "0", "--format", "csv")
    names = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(names) == ["optimum.json", "train/part-000.csv"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--rows 0", "--rows is 0; give 1 or more"),
        ("--rows 10 --files 11", "--files is 11, more than --rows"),
        ("--missing 1", "--missing is 1; give a share within [0, 1)"),
        ("--missing nan", "--missing is nan"),
        ("--tags 3", "--max_values is 4, more than --tags"),
        ("--seed -1", "--seed is -1; give 0 or more"),
        ("--users 0 --items 0", "--items is 0; give 1 or more"),
        (f"--users {10**15}", "give 100,000,000 or fewer"),
        (f"--users {2**70}", f"--users is {2**70}; give 100,000,000 or fewer"),
        (f"--items {2**70}", "--items is"),
        (f"--tags {10**15}", "--tags is"),
        (f"--categories {10**9}", "--categories is"),
        ("--tags 5000 --max_values 5000", "--max_values is 5000; give 1,000 or fewer"),
        (f"--rows {2**70}", "--rows is"),
        (f"--eval_rows {2**70}", "--eval_rows is"),
        ("--format orc", "'orc'"),
        ("--row 10", "--row"),
        ("--rows many", "'many'"),
    ],
)
def test_a_bad_argument_ends_with_code_2_and_says_what_to_do(tmp_path, capsys, flags, said) -> None:
    with pytest.raises(SystemExit) as ended:
        made(tmp_path / "out", *flags.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_this_machine_is_written_to(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with fails(UserError, "--out: ", "s3://bucket/data", "this machine"):
        __main__.main(["--out", "s3://bucket/data", "--rows", "10"])
    assert not list(tmp_path.iterdir())
    __main__.main(["--out", f"file://{tmp_path}/data", "--rows", "10"])
    assert (tmp_path / "data" / "train").is_dir()


def test_ids_that_memory_does_not_hold_end_with_what_to_lower(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(files, "Population", full)
    with pytest.raises(UserError, match="give fewer --users"):
        made(tmp_path)


def test_all_bad_arguments_are_named_at_once(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        made(tmp_path, *"--rows 0 --users 0 --missing 2 --tags 2".split())
    error = capsys.readouterr().err
    assert all(f"--{name} is" in error for name in ("rows", "users", "missing", "max_values"))


def test_files_of_others_are_not_touched_and_end_the_command_with_code_2(tmp_path) -> None:
    foreign = tmp_path / "train/part-000.parquet"
    foreign.parent.mkdir()
    foreign.write_text("precious")
    command = [sys.executable, "-m", "tzmmoe.synthetic", "--rows", "10", "--out"]
    for out, said in ((tmp_path, "name another --out"), (foreign, "cannot be written")):
        done = subprocess.run(
            [*command, str(out)], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert foreign.read_text() == "precious"


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from tzmmoe.synthetic import __main__; __main__.parser().format_help(); "
        "sys.exit(','.join({'numpy', 'pyarrow', 'torch', 'google'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["parquet", "csv", "text"])
def test_the_shipped_config_fits_what_the_command_writes(tmp_path, kind) -> None:
    """In each form of the cells; each table has as many rows as there are ids by default."""
    flags = {"parquet": (), "csv": ("--format", "csv"), "text": ("--text_cells",)}
    made(tmp_path, "--rows", "3000", "--eval_rows", "100", *flags[kind])
    changes = [
        f"train_input_path={tmp_path}/train",
        f"eval_input_path={tmp_path}/eval",
        f"model_dir={tmp_path}/model",
        f"data_config.with_header={'true' if kind == 'csv' else 'false'}",
    ]
    shipped = Pipeline.load(ROOT / "configs/synthetic_mmoe.config", settings=changes, device="cpu")
    shipped.check()
    tables = {
        each.id_feature.feature_name: each.id_feature.num_buckets
        for each in shipped.config.pipeline.feature_configs
        if each.HasField("id_feature")
    }
    assert tables == DEFAULTS.ids()
    defaults = vars(__main__.parser().parse_args(["--out", "x"]))
    assert Sizes(*(defaults[name] for name in vars(DEFAULTS))) == DEFAULTS
