"""Tables spread over processes by TorchRec: the numbers of one process."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from same_numbers import BATCH, EXACT, compare, farthest, weights

from tzmmoe.errors import ConfigError
from tzmmoe.run import session, state
from tzmmoe.system import checkpoint
from tzmmoe.system.world import World
from tzmmoe.tables import placement
from tzmmoe.tables.sharded import ShardedTables

pytest.importorskip("torchrec", reason="TorchRec is not installed; `make torchrec` installs it")
pytestmark = pytest.mark.torchrec

SPARSE = "train_config__sparse_optimizer"
PLACEMENT = {"train_config__table_placement": "SHARDED"}
SGD = "sgd_optimizer { lr: 0.5 }"
OPTIMIZERS = {
    "sgd": SGD,
    "adagrad": "adagrad_optimizer { lr: 0.05 initial_accumulator_value: 0.1 }",
    "rowwise": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "clipped": "adagrad_optimizer { lr: 0.05 gradient_clipping: true max_gradient: 0.001 }",
    "scheduled": "adagrad_optimizer { lr: 0.05 } exponential_decay_learning_rate { decay_size: 5 }",
}
TYPES = ["table_wise", "row_wise", "column_wise"]
NEVER = ("rowwise", "column_wise")  # a row has one sum, which its parts would have to share
WIDE = {f"feature_configs[{place}].id_feature.embedding_dim": 8 for place in range(3)}


def constrained(how: str) -> dict[str, object]:
    """Columns come in parts of four at least."""
    words = {"train_config__global_embedding_constraints": f'sharding_types: "{how}"'}
    return words | (WIDE if how == "column_wise" else {})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_processes_have_the_numbers_of_one(folders, tmp_path, two, name) -> None:
    """Losses of each step, metrics, weights and the optimizers' state, after 51 steps."""
    changes = {SPARSE: OPTIMIZERS[name], **PLACEMENT}
    assert max(compare(folders, tmp_path, two, changes)) < 1e-5


@pytest.mark.parametrize("how", TYPES)
@pytest.mark.parametrize("name", ["adagrad", "sgd"])
def test_however_they_are_cut(folders, tmp_path, two, name, how) -> None:
    changes = {SPARSE: OPTIMIZERS[name], **PLACEMENT, **constrained(how)}
    assert max(compare(folders, tmp_path, two, changes)) < 1e-5


@pytest.mark.parametrize(
    ("name", "how"),
    [(n, how) for n in ("sgd", "adagrad", "rowwise") for how in TYPES if (n, how) != NEVER],
)
def test_four_processes_have_the_numbers_of_one(folders, tmp_path, four, name, how) -> None:
    changes = {SPARSE: OPTIMIZERS[name], **PLACEMENT, **constrained(how)}
    assert max(compare(folders, tmp_path, four, changes)) < 1e-5


@pytest.mark.parametrize("name", ["adagrad", "rowwise"])
def test_tables_of_fewer_rows_than_processes_stay_in_one_piece(
    folders, tmp_path, four, name
) -> None:
    """Two and five rows among four processes: one of them at least would have none. A weight whose
    gradients are hardly more than rounding errors drifts here, in whole tables too."""
    small = {
        "feature_configs[1].id_feature.hash_bucket_size": 2,
        "feature_configs[2].id_feature.hash_bucket_size": 5,
    }
    changes = {SPARSE: OPTIMIZERS[name], **PLACEMENT, **constrained("row_wise"), **small}
    found = four.run(held, folders[4], tmp_path / "unused", changes)
    assert [each["user_emb"] for each in found] == [[[5 * rank, 0, 5, 4]] for rank in range(4)]
    for table, rows in {"tags_emb": 2, "scores_emb": 5}.items():
        assert sorted(each[table] for each in found) == [[], [], [], [[0, 0, rows, 4]]]
    assert max(compare(folders, tmp_path, four, changes)[:2]) < 1e-5


def held(world: World, folder: Path, run: Path, changes: dict) -> dict[str, list[list[int]]]:
    """Where the parts of each table begin and how large they are, in this process."""
    ready = tiny.pipeline(folder, run, **changes)._training()
    sharded = [p for p in ready.built.model.modules() if isinstance(p, ShardedTables)]
    return {
        table: [[*place, *part.shape] for place, part in each.parts]
        for module in sharded
        for table, each in module.store.weights(module.group).items()
    }


def test_each_process_has_only_its_part_of_a_table(folders, tmp_path, two) -> None:
    """20 rows of 8 numbers, 30 and 30; cities of width 3 and frozen are whole in both."""
    cut = {
        "row_wise": ([[0, 0, 10, 8]], [[10, 0, 10, 8]]),
        "column_wise": ([[0, 0, 20, 4]], [[0, 4, 20, 4]]),
    }
    for how, (first, second) in cut.items():
        changes = {SPARSE: OPTIMIZERS["sgd"], **PLACEMENT, **constrained(how), **WIDE}
        found = two.run(held, folders[2], tmp_path / "unused", changes)
        assert [set(each) for each in found] == [{"user_emb", "tags_emb", "scores_emb"}] * 2
        assert [each["user_emb"] for each in found] == [first, second]


def steps(world: World, folder: Path, run: Path, changes: dict) -> dict:
    changes = EXACT | {"data_config__batch_size": BATCH // world.size} | changes
    return tiny.pipeline(folder, run, **changes).fit()


def test_a_features_own_constraints_come_before_those_of_all(folders, tmp_path, two) -> None:
    own = {"feature_configs[0].id_feature.embedding_constraints": 'sharding_types: "row_wise"'}
    changes = {SPARSE: OPTIMIZERS["sgd"], **PLACEMENT, **constrained("table_wise"), **own}
    found = two.run(held, folders[2], tmp_path / "unused", changes)
    assert [each["user_emb"] for each in found] == [[[0, 0, 10, 4]], [[10, 0, 10, 4]]]
    for table in ("tags_emb", "scores_emb"):
        assert sorted(each[table] for each in found) == [[], [[0, 0, 30, 4]]]


def test_fine_tuning_reads_what_lay_elsewhere(folders, tmp_path, two) -> None:
    """Spread tables from a checkpoint of whole ones, and back; at a rate that moves nothing."""
    still = {SPARSE: "sgd_optimizer { lr: 1e-30 }"}
    steps(World(), folders[1], tmp_path / "0", {SPARSE: OPTIMIZERS["sgd"]})
    tuned = {"train_config__fine_tune_checkpoint": str(tmp_path / "0")}
    rows = constrained("row_wise")
    two.run(steps, folders[2], tmp_path / "1", still | PLACEMENT | rows | tuned)
    tuned = {"train_config__fine_tune_checkpoint": str(tmp_path / "1")}
    steps(World(), folders[1], tmp_path / "2", still | tuned)
    first, second, third = (weights(tmp_path / name) for name in "012")
    for table in ("user_emb", "tags_emb", "scores_emb", "age_emb"):
        name = f"tables.{table}.weight"
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name], third[name])


def test_a_table_that_grew_keeps_its_rows_wherever_they_lie(folders, tmp_path, two) -> None:
    """20 users become 31: the first of two processes has 16 of them, so both read a part."""
    still = {SPARSE: "sgd_optimizer { lr: 1e-30 }"}
    steps(World(), folders[1], tmp_path / "0", {SPARSE: OPTIMIZERS["sgd"]})
    grown = {
        "feature_configs[0].id_feature.num_buckets": 31,
        "train_config__fine_tune_checkpoint": str(tmp_path / "0"),
        "train_config__partial_restore": "true",
    }
    two.run(steps, folders[2], tmp_path / "1", still | PLACEMENT | constrained("row_wise") | grown)
    steps(World(), folders[1], tmp_path / "2", still | grown)
    first, second, third = (weights(tmp_path / name) for name in "012")
    name = "tables.user_emb.weight"
    assert torch.equal(second[name], third[name])
    assert torch.equal(second[name][:20], first[name])
    assert len(second[name]) == 31


def passed_on(world: World, folder: Path, source: Path, target: Path, changes: dict) -> None:
    """Read a checkpoint with its optimizers' state, and write what was read as another."""
    ready = tiny.pipeline(folder, "unused", **EXACT, **changes)._training()
    step = tiny.train_step(ready)
    read = ready.matching_checkpoint(source)
    state.restore_weights(read, ready.built.model)
    state.restore_optimizers(read, step)
    tensors = state.weights(ready.built.model) | state.optimizer_state(step)
    facts = {**read.state, "optimizers": state.words(step)}
    checkpoint.save(target, checkpoint.Content(read.step, tensors, facts, ""), world)


@pytest.mark.parametrize(("name", "width"), [("adagrad", 8), ("rowwise", 4)])
def test_a_checkpoint_goes_through_any_placement_and_any_number_of_processes_unchanged(
    folders, tmp_path, two, four, name, width
) -> None:
    """Weights and optimizers' state, bit for bit: one process, four with parts of rows, two with
    whole tables, two with all, and so on. A table that is never trained is spread too, with others
    of its ``width`` or alone."""
    whole = {
        SPARSE: OPTIMIZERS[name],
        "train_config__table_placement": "REPLICATED",
        "feature_configs[3].id_feature.embedding_dim": width,
    }
    ways = [
        (four, whole | PLACEMENT | constrained("row_wise")),
        (None, whole),
        (two, whole | PLACEMENT | constrained("table_wise")),
        (two, whole),
        (four, whole | PLACEMENT | constrained("table_wise")),
        (two, whole | PLACEMENT | constrained("row_wise")),
        (None, whole),
    ]
    steps(World(), folders[1], tmp_path / "0", whole)
    first = weights(tmp_path / "0")
    assert {"tables.user_emb.weight", "tables.user_emb.sum"} <= first.keys()
    for number, (processes, changes) in enumerate(ways):
        here, there = tmp_path / str(number), tmp_path / str(number + 1)
        given = (folders[1], here, there, changes)
        if processes:
            processes.run(passed_on, *given)
        else:
            passed_on(World(), *given)
        assert farthest(first, weights(there)) == 0


def scored(world: World, folder: Path, run: Path, changes: dict, out: Path) -> tuple[dict, int]:
    made = tiny.pipeline(folder, run, **EXACT, **changes)
    results = made.evaluate()
    return results, made.predict(changes["eval_input_path"], str(out))


@pytest.mark.parametrize("count", [tiny.EVAL_ROWS, 33, 1])
def test_spread_tables_evaluate_and_predict_as_whole_ones(folders, tmp_path, two, count) -> None:
    """In batches of 16: 60 rows are two batches for each process, 33 are two and one, and 1 is one
    and none."""
    run, eval_rows = tmp_path / "run", tmp_path / "some.parquet"
    pq.write_table(pq.read_table(folders[1] / "eval.parquet").slice(0, count), eval_rows)
    changes = {SPARSE: OPTIMIZERS["adagrad"], "eval_input_path": str(eval_rows)}
    steps(World(), folders[1], run, changes)
    alone = scored(World(), folders[1], run, changes, tmp_path / "alone")
    found = two.run(scored, folders[1], run, {**changes, **PLACEMENT}, tmp_path / "spread")
    for results, rows in found:
        assert rows == alone[1] == count
        assert results == pytest.approx(alone[0], abs=1e-6, nan_ok=True)
    whole, parts = (pq.read_table(tmp_path / name) for name in ("alone", "spread"))
    for name in whole.column_names:
        assert whole[name].to_numpy() == pytest.approx(parts[name].to_numpy(), abs=1e-6)


def refused(world: World, folder: Path, changes: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        tiny.pipeline(folder, "unused", **changes)._training()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({SPARSE: "adam_optimizer {}"}, "adam_optimizer; choose one of sgd_optimizer"),
        ({"train_config__grad_process": "pcgrad"}, 'grad_process: "pcgrad"'),
        ({"train_config__mixed_precision": "FP16"}, "FP16's scaled gradients; use BF16"),
        (
            {SPARSE: "rowwise_adagrad_optimizer { weight_decay: 0.1 weight_decay_mode: L2 }"},
            "weight_decay, which FBGEMM",
        ),
        (
            {SPARSE: OPTIMIZERS["rowwise"], **constrained("column_wise")},
            "has 'column_wise', which would give each part of a row a sum of its own",
        ),
        (constrained("diagonal"), "has 'diagonal', which does not exist; choose from table_wise"),
        (constrained("row_wisee"), "did you mean 'row_wise'?"),
        (constrained("data_parallel"), "table_placement: REPLICATED"),
        (constrained("grid_shard"), "has 'grid_shard', which TorchRec has on GPUs only"),
        (
            {"feature_configs[2].id_feature.embedding_constraints": 'compute_kernels: "fused_uvm"'},
            "embedding_constraints.compute_kernels: has 'fused_uvm', which TorchRec has on GPUs",
        ),
    ],
)
def test_what_cannot_be_sharded_is_said_with_the_way_out(folders, two, changes, words) -> None:
    changes = {SPARSE: OPTIMIZERS["sgd"], **PLACEMENT, **changes}
    for told in two.run(refused, folders[2], changes):
        assert words in told
        assert "train_config." in told or "feature_configs[2].id_feature." in told


def with_memory(world: World, folder: Path, changes: dict, free: list[int]) -> dict | str:
    """Where the parts of tables lie, or what is said, if each process has so much memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "free_bytes", lambda device: free[world.rank])
        try:
            return held(world, folder, Path("unused"), changes)
        except ConfigError as error:
            return str(error)


def test_auto_spreads_tables_that_need_more_than_a_quarter_of_the_smallest_process(
    folders, two
) -> None:
    """2.8 kB of tables with their state, and a quarter of 10 kB."""
    changes = {SPARSE: OPTIMIZERS["adagrad"], **constrained("table_wise")}
    for free in ([1 << 30, 1 << 30], [10_000, 10_000], [1 << 30, 10_000]):
        found = two.run(with_memory, folders[2], changes, free)
        tables = [place for each in found for table in each.values() for place in table]
        assert len(tables) == (0 if min(free) > 10_000 else 3)


def test_auto_keeps_tables_whole_whose_constraints_cannot_be_met_and_says_why(folders, two) -> None:
    changes = {SPARSE: OPTIMIZERS["rowwise"], **constrained("column_wise")}
    for free, spread in ((1 << 30, []), (6_000, [])):
        found = two.run(with_memory, folders[2], changes, [free, free])
        assert [list(each) for each in found] == [spread, spread]
    assert all("has 'column_wise', which" in told for told in two.run(reason, folders[2], changes))


def reason(world: World, folder: Path, changes: dict) -> str:
    """Why the tables lie where they lie."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement.log, "info", lambda text, *words: lines.append(text % words))
        with_memory(world, folder, changes, [6_000] * world.size)
    return "\n".join(lines)


def test_what_is_too_small_for_its_constraints_is_told(folders, four) -> None:
    small = {"feature_configs[1].id_feature.hash_bucket_size": 2}
    changes = {SPARSE: SGD, **PLACEMENT, **constrained("row_wise"), **small}
    told = four.run(reason, folders[4], {**changes})
    assert "  row_wise: user_emb, scores_emb\n  table_wise: tags_emb\n" in told[0]
    assert "for lack of rows: tags_emb" in told[0]


def test_a_run_that_trains_nothing_may_cut_row_wise_adagrads_tables_by_columns(
    folders, tmp_path, two
) -> None:
    run, trained = tmp_path / "run", {SPARSE: OPTIMIZERS["rowwise"], **WIDE}
    trained["eval_input_path"] = str(folders[1] / "eval.parquet")
    steps(World(), folders[1], run, trained)
    alone = scored(World(), folders[1], run, trained, tmp_path / "alone")
    changes = trained | PLACEMENT | constrained("column_wise")
    for results, _ in two.run(scored, folders[1], run, changes, tmp_path / "spread"):
        assert results == pytest.approx(alone[0], abs=1e-6)


def test_tables_that_fit_nowhere_are_refused_in_all_processes(folders, two) -> None:
    """The memory of both would hold them, but for what TorchRec keeps free."""
    for told in two.run(with_memory, folders[2], {**PLACEMENT, SPARSE: SGD}, [720, 720]):
        assert "TorchRec cannot place the tables: " in told
        assert "more processes, fewer rows, or other embedding_constraints" in told
