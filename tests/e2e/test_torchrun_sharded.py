"""Jobs whose tables are spread over processes, as a user starts them."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from e2e import tiny
from e2e.test_torchrun import VICTIM, flags, job, train

from tzmmoe.run.results import TRAINING_RESULTS, read_results, results_of_step
from tzmmoe.serving.scorer import Scorer
from tzmmoe.synthetic import __main__
from tzmmoe.system import checkpoint
from tzmmoe.system.runtime import short_bytes

pytest.importorskip("torchrec", reason="TorchRec is not installed; `make torchrec` installs it")
pytestmark = pytest.mark.torchrec

SHARDED = {
    "train_config__table_placement": "SHARDED",
    "train_config__sparse_optimizer": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "train_config__global_embedding_constraints": 'sharding_types: "row_wise"',
}
MEMORY = "tables: SHARDED (set by table_placement); "


@pytest.fixture(scope="module")
def of_two(tiny_folder, tmp_path_factory) -> tuple[Path, str]:
    model_dir = tmp_path_factory.mktemp("sharded") / "model"
    return model_dir, train(2, tiny_folder, model_dir, **SHARDED)


def test_what_lies_where_is_told_once_with_the_bytes_of_each_process(of_two) -> None:
    """Of users 20 rows of 4 numbers, of tags and scores 30; one more number for each row."""
    _, printed = of_two
    half = (20 + 30 + 30) // 2 * (4 + 1) * 4
    assert f"{MEMORY}{half} B in each rank\n" in printed
    assert printed.count("  row_wise: user_emb, tags_emb, scores_emb\n") == 1
    whole = 9 * 3 * 4 + 4 * (3 + 1) * 4  # cities are not trained, ages are
    assert f"  whole in each rank, {whole} B: age_emb, city_emb (TorchRec takes widths" in printed
    assert "torchrec" not in printed
    assert "Warning" not in printed
    assert "fbgemm" not in printed
    assert "TBE" not in printed


def test_tables_that_cannot_be_spread_are_told_once(tiny_folder, tmp_path) -> None:
    """What all processes see alike needs no rank."""
    odd = {f"feature_configs[{number}]__id_feature__embedding_dim": 3 for number in range(3)}
    words = flags(tiny_folder, tmp_path / "model", **SHARDED, **odd)
    code, printed, _ = job(2, ["-m", "tzmmoe.train", *words])
    assert code != 0
    assert printed.count("width is a multiple of 4") == 1
    assert "train_config.table_placement: " in printed
    assert "rank 1: " not in printed


@pytest.mark.long
def test_a_killed_job_goes_on_by_itself_to_the_same_end(of_two, tiny_folder, tmp_path) -> None:
    model_dir = tmp_path / "model"
    words = [str(VICTIM), "killed", "8", *flags(tiny_folder, model_dir, **SHARDED)]
    code, printed, _ = job(2, words, restarts=1)
    assert code == 0, printed
    assert tiny.end(model_dir) == tiny.end(of_two[0])


def test_its_checkpoint_is_evaluated_exported_and_trained_on_by_one_process(
    of_two, tiny_folder, tmp_path
) -> None:
    """The results that two processes wrote are those of one, so are the outputs of the export, and
    training goes on from there; with three processes, too."""
    model_dir = Path(shutil.copytree(of_two[0], tmp_path / "model"))
    one = tiny.pipeline(tiny_folder, model_dir, **SHARDED)
    last = checkpoint.newest(model_dir)
    trained = results_of_step(model_dir / TRAINING_RESULTS, checkpoint.open_checkpoint(last).step)
    for key, value in one.evaluate().items():
        assert value == pytest.approx(trained[key], abs=1e-6)
    one.export(str(tmp_path / "export"))
    rows = pq.read_table(tiny_folder / "eval.parquet")
    exported = Scorer.load(tmp_path / "export").score(rows)
    one.predict(str(tiny_folder / "eval.parquet"), str(tmp_path / "out.parquet"))
    out = pq.read_table(tmp_path / "out.parquet")
    for name in ("probs_ctr", "logits_cvr"):
        assert exported[name].tolist() == pytest.approx(out[name].to_pylist(), abs=1e-6)
    for processes, epochs in ((1, 3), (3, 4)):
        more = SHARDED | {"train_config__num_epochs": epochs}
        begin = checkpoint.open_checkpoint(checkpoint.newest(model_dir)).step
        train(processes, tiny_folder, model_dir, "--continue_train", **more)
        steps = -(-200 // processes // 16)  # 200 rows an epoch, 16 in a batch of each process
        assert checkpoint.open_checkpoint(checkpoint.newest(model_dir)).step == begin + steps


def test_of_four_processes_one_has_none_of_three_tables_and_all_train(
    tiny_folder, tmp_path
) -> None:
    """By tables; tests/tables/test_sharded.py compares such numbers with those of one process."""
    changes = SHARDED | {
        "train_config__global_embedding_constraints": 'sharding_types: "table_wise"',
        "train_config__num_epochs": 1,
    }
    printed = train(4, tiny_folder, tmp_path / "model", **changes)
    assert "  table_wise: " in printed
    assert ", 0 B in rank" in printed


def test_the_config_for_a_cluster_trains_on_small_data_and_spreads_its_tables(tmp_path) -> None:
    """With whole tables, and spread, users by rows. Row-wise Adagrad has one number for each."""
    rows = {16: 1_000_000 + 100_000 + 1_000 + 2 * 10_000, 8: 20 + 24 + 10}
    size = short_bytes(sum(count * (width + 1) * 4 for width, count in rows.items()))
    small = ["--rows", "3000", "--eval_rows", "500", "--files", "2", "--out", str(tmp_path)]
    __main__.main(small)
    config = Path(__file__).parents[2] / "configs" / "cluster_mmoe.config"
    for placement, words in {
        "REPLICATED": f"tables: REPLICATED (set by table_placement); {size} in each process\n",
        "SHARDED": "  row_wise: user_id_emb\n",
    }.items():
        given = ["--pipeline_config", str(config), "--model_dir", str(tmp_path / placement)]
        given += ["--train_input_path", str(tmp_path / "train")]
        given += ["--eval_input_path", str(tmp_path / "eval")]
        given += ["--set", "data_config.batch_size=512"]
        given += ["--set", f"train_config.table_placement={placement}"]
        code, printed, _ = job(2, ["-m", "tzmmoe.train", *given])
        assert code == 0, printed
        assert words in printed
    assert "  table_wise: segment_emb, hour_emb, position_emb, item_id_emb" in printed
    one, other = (
        read_results(tmp_path / name / TRAINING_RESULTS)[-1] for name in ("REPLICATED", "SHARDED")
    )
    assert one == pytest.approx(other, abs=1e-4)
