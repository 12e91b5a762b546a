"""Jobs whose tables are spread over processes, as a user starts them."""

from pathlib import Path

import pytest
from e2e import tiny
from e2e.test_torchrun import VICTIM, flags, job, train

from tzmmoe import checkpoint
from tzmmoe.training import report

pytest.importorskip("torchrec", reason="TorchRec is not installed; `make torchrec` installs it")

SHARDED = {
    "train_config__table_placement": "SHARDED",
    "train_config__sparse_optimizer": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "train_config__global_embedding_constraints": 'sharding_types: "row_wise"',
}
MEMORY = "tables: SHARDED (as table_placement says); "


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
    """The results that two processes wrote are those of one, and training goes on from there."""
    model_dir, _ = of_two
    one = tiny.pipeline(tiny_folder, model_dir, **SHARDED)
    last = checkpoint.newest(model_dir)
    trained = report.of_step(model_dir / report.TRAINING, checkpoint.open_checkpoint(last).step)
    for key, value in one.evaluate().items():
        assert value == pytest.approx(trained[key], abs=1e-6)
    one.export(str(tmp_path / "export"))
    assert (tmp_path / "export").is_dir()
    train(
        3, tiny_folder, model_dir, "--continue_train", **SHARDED | {"train_config__num_epochs": 3}
    )
    assert checkpoint.open_checkpoint(checkpoint.newest(model_dir)).step > 13


def test_every_process_may_train_the_tables_of_another_alone(tiny_folder, tmp_path) -> None:
    """Four processes and three tables by tables: one has none."""
    changes = SHARDED | {
        "train_config__global_embedding_constraints": 'sharding_types: "table_wise"',
        "train_config__num_epochs": 1,
    }
    printed = train(4, tiny_folder, tmp_path / "model", **changes)
    assert "  table_wise: " in printed
    assert ", 0 B in rank" in printed
