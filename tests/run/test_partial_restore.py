"""A model that grows: what fits is taken from a checkpoint, and all else is listed."""

from pathlib import Path

import pytest
import torch
from e2e import tiny
from messages import fails, says
from torch import Tensor

from tzmmoe.errors import CheckpointError
from tzmmoe.run import state
from tzmmoe.run.finetuning.partial_restore import restore_partially
from tzmmoe.run.session import Session
from tzmmoe.system import checkpoint

CITIES = [f"city{number}" for number in range(6)]
GROUP = 'feature_names: ["user", "tags", "scores", "city", "price", "age"]'
TOWER = 'tower_name: "ctr"'
LAYERS = {"model.body.experts.layers.0.linear.weight", "model.body.gates.final.weight"}
ROW = 'feature_configs { id_feature { feature_name: "row" num_buckets: 9 embedding_dim: 4 } }\n'
THIRD = """task_towers {
      tower_name: "again" label_name: "click" mlp { hidden_units: [4] }
      losses { binary_cross_entropy {} }
    }
"""
Changes = dict[str, str]


def cities(words: list[str], unknown: int = 0) -> Changes:
    """The city as a vocabulary that is trained."""
    listed = ", ".join(f'"{word}"' for word in words)
    fields = f"vocab_list: [{listed}] default_bucketize_value: {unknown}"
    return {"hash_bucket_size: 9": fields, "trainable: false": "trainable: true"}


def grouped(*names: str) -> Changes:
    listed = ", ".join(f'"{name}"' for name in names)
    return {GROUP: f"feature_names: [{listed}]"}


def more(text: Changes) -> Changes:
    """With the feature ``row`` too."""
    return text | {"model_config {": f"{ROW}model_config {{"}


@pytest.fixture(scope="module")
def base(tiny_folder: Path) -> str:
    return (tiny_folder / "tiny.config").read_text()


@pytest.fixture
def changed(base: str, tmp_path: Path):
    """Makes the folder of a config with some of its text replaced."""

    def write(changes: Changes, name: str = "changed") -> Path:
        text = base
        for old, new in (cities(CITIES) | changes).items():
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.config").write_text(text)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def source(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model_dir of a run whose cities are a vocabulary."""
    folder = tmp_path_factory.mktemp("grows")
    for old, new in cities(CITIES).items():
        base = base.replace(old, new)
    (folder / "tiny.config").write_text(base)
    tiny.pipeline(folder, folder / "first", train_config__num_steps=8).fit()
    return folder / "first"


def taken(folder: Path, source: Path) -> tuple[Session, str]:
    """A session that has taken what fits, and what it says."""
    session = tiny.session(folder)
    saved = checkpoint.open_checkpoint(checkpoint.preferred(source))
    return session, restore_partially(saved, session.built)


def trained(source: Path) -> Session:
    session = tiny.session(source.parent)
    session.restore(source)
    return session


def weights(session: Session) -> dict[str, Tensor]:
    return state.weights(session.built.model)


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    shared = first.keys() & second.keys()
    return {name for name in shared if not torch.equal(first[name], second[name])}


def fates(said: str) -> dict[str, str]:
    """What becomes of each tensor that has a line of its own."""
    rows = [line.split(maxsplit=1) for line in said.splitlines()[1:]]
    return {rest.split(":")[0]: word for word, rest in rows}


@pytest.mark.parametrize(
    ("table", "before", "changes"),
    [
        ("user_emb", 20, {"num_buckets: 20": "num_buckets: 31"}),
        ("city_emb", 6, cities([*CITIES, "oslo", "lima"])),
    ],
    ids=["more buckets", "words at the end"],
)
def test_a_table_that_grew_keeps_its_rows_and_all_that_it_knew_is_scored_as_before(
    changed, source, table, before, changes
) -> None:
    name, folder = f"tables.{table}.weight", changed(changes)
    session, said = taken(folder, source)
    now, old, fresh = weights(session), weights(trained(source)), weights(tiny.session(folder))
    assert now.keys() == old.keys()
    assert {other for other in now if not torch.equal(now[other], old[other])} == {name}
    assert torch.equal(now[name][:before], old[name])
    assert torch.equal(now[name][before:], fresh[name][before:])
    assert len(now[name]) > before
    assert fates(said) == {name: "grown"}
    says(said, f"{len(now)} of {len(now)} tensors", f"{before} rows from the checkpoint")
    first, batches = trained(source), tiny.batches(session, 12)
    for was, is_now in zip(tiny.batches(trained(source), 12), batches, strict=True):
        assert not differing(first.outputs(was), session.outputs(is_now))


@pytest.mark.parametrize(
    ("changes", "table", "said"),
    [
        (cities(CITIES[::-1]), "city", "city: a value's row was vocabulary"),
        (cities(["oslo", *CITIES]), "city", "city: a value's row was vocabulary"),
        (cities([*CITIES, "oslo"], unknown=6), "city", "city: a value's row was vocabulary"),
        (cities(CITIES[:5]), "city", "[6, 3] in the checkpoint, [5, 3] in the model"),
        ({"num_buckets: 20": "num_buckets: 19"}, "user", "[20, 4] in the checkpoint, [19, 4]"),
        ({"num_buckets: 20": "hash_bucket_size: 20"}, "user", "user: a value's row was the value"),
        ({"[20, 40, 60]": "[20, 40, 50]"}, "age", "age: a value's row was boundaries"),
        ({"[20, 40, 60]": "[20, 40, 60, 70]"}, "age", "age: a value's row was boundaries"),
        (
            {'"tags" hash_bucket_size: 30': '"tags" hash_bucket_size: 60'},
            "tags",
            "the row of a value of tags depends on the number of rows",
        ),
    ],
)
def test_a_table_whose_values_would_have_other_rows_begins_anew_with_the_reason(
    changed, source, changes, table, said
) -> None:
    name, folder = f"tables.{table}_emb.weight", changed(changes)
    session, text = taken(folder, source)
    now, old = weights(session), weights(trained(source))
    assert torch.equal(now[name], weights(tiny.session(folder))[name])
    assert {other for other in now if not torch.equal(now[other], old[other])} == {name}
    assert fates(text) == {name: "new"}
    says(text, f"{name}: {said}")


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_further_feature_leaves_all_that_does_not_read_it(changed, source, place) -> None:
    names = ["user", "tags", "scores", "city", "price", "age"]
    names.insert(place, "row")
    folder = changed(more(grouped(*names)))
    session, said = taken(folder, source)
    now, old, fresh = weights(session), weights(trained(source)), weights(tiny.session(folder))
    assert differing(now, old) == LAYERS == {n for n in old if now[n].shape != old[n].shape}
    assert fates(said) == dict.fromkeys([*LAYERS, "tables.row_emb.weight"], "new")
    assert all(torch.equal(now[name], fresh[name]) for name in fates(said))


def test_a_feature_that_is_gone_is_listed_as_unused(changed, source) -> None:
    folder = changed(grouped("user", "tags", "city", "price", "age"))
    session, said = taken(folder, source)
    table = "tables.scores_emb.weight"
    assert fates(said) == dict.fromkeys(LAYERS, "new") | {table: "unused"}
    assert differing(weights(session), weights(trained(source))) == LAYERS


@pytest.mark.parametrize("is_first", [True, False])
def test_a_further_task_leaves_the_towers_of_the_others(changed, source, is_first) -> None:
    """Gates lie by the number of the task, so all of them begin anew."""
    inside = "num_expert: 3\n" if is_first else 'task_towers {\n      tower_name: "cvr"'
    new = f"num_expert: 3\n{THIRD}" if is_first else f"{THIRD}{inside}"
    session, said = taken(changed({inside: new}), source)
    gates = {"model.body.gates.final.weight", "model.body.gates.final.bias"}
    listed = fates(said)
    assert gates == {name for name in listed if "tower_again" not in name}
    assert set(listed.values()) == {"new"}
    assert differing(weights(session), weights(trained(source))) == gates


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            grouped("age", "user", "tags", "scores", "city", "price"),
            ["'all': the order has changed", "user, tags, scores, city, price, age"],
        ),
        (
            more(grouped("row", "tags", "scores", "city", "price", "age")),
            ["'all': row added or widened, and user removed", "one of these changes per run"],
        ),
        (  # the layer's input stays as wide as it was
            {
                "[20, 40, 60] embedding_dim: 3": "[20, 40, 60] embedding_dim: 4",
                '"scores" hash_bucket_size: 30 embedding_dim: 4': (
                    '"scores" hash_bucket_size: 30 embedding_dim: 3'
                ),
            },
            ["'all': age added or widened, and scores removed or narrowed"],
        ),
        ({'tower_name: "cvr"': 'tower_name: "again"'}, ["tasks: again added", "and cvr removed"]),
    ],
    ids=["reordered", "exchanged", "widths exchanged", "a task exchanged"],
)
def test_what_could_be_taken_for_something_else_of_the_same_shape_is_refused(
    changed, source, changes, said
) -> None:
    folder = changed(changes)
    before = weights(tiny.session(folder))
    session = tiny.session(folder)
    saved = checkpoint.open_checkpoint(checkpoint.preferred(source))
    with fails(CheckpointError, str(source), "could be misread", *said):
        restore_partially(saved, session.built)
    assert not differing(weights(session), before)


NAMES = ["user", "tags", "scores", "city", "price", "age"]


@pytest.mark.parametrize("kept", range(4))
def test_a_checkpoint_of_quite_another_model_is_told_as_such_and_not_as_changes_to_make(
    changed, source, kept
) -> None:
    """With less than half of its features from there; with half, the changes are listed."""
    own = {f'"{name}"': f'"other_{name}"' for name in NAMES[kept:]}
    session = tiny.session(changed(own))
    saved = checkpoint.open_checkpoint(checkpoint.preferred(source))
    with pytest.raises(CheckpointError) as error:
        restore_partially(saved, session.built)
    if kept == 3:
        says(error.value, "could be misread", "one of these changes per run")
        return
    fits = "little" if kept else "nothing"
    had = ", ".join(NAMES[:kept]) or "none"
    says(error.value, str(source), "another model", f"6 features have {had}, so {fits} of it fits")
    says(error.value, "from scratch", "another checkpoint", "fine_tune_ckpt_param_map")
    assert "changes per run" not in str(error.value)


def test_of_a_shared_table_each_feature_must_find_its_rows(changed, source) -> None:
    """Another feature that comes to read it changes nothing; a renamed one cannot be checked."""
    joined = '"row" num_buckets: 20 embedding_dim: 4 embedding_name: "user_emb"'
    changes = more(grouped("user", "tags", "scores", "city", "price", "age", "row"))
    changes["model_config {"] = changes["model_config {"].replace(
        '"row" num_buckets: 9 embedding_dim: 4', joined
    )
    _, said = taken(changed(changes, "joined"), source)
    assert fates(said) == dict.fromkeys(LAYERS, "new")
    renamed = changes | grouped("tags", "scores", "city", "price", "age")
    renamed |= {'"user" num_buckets': '"row" embedding_name: "user_emb" num_buckets'}
    del renamed["model_config {"]
    folder = changed(renamed | grouped("tags", "scores", "city", "price", "age"), "gone")
    _, said = taken(folder, source)
    assert fates(said)["tables.user_emb.weight"] == "unused"


def test_a_run_begins_with_what_fits_and_its_log_lists_the_rest(
    changed, source, tmp_path, caplog
) -> None:
    """Rates of 0 show what it began with."""
    caplog.set_level("INFO", logger="tzmmoe")
    still = {
        "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__dense_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__num_steps": 1,
        "train_config__fine_tune_checkpoint": source,
    }
    folder = changed({"num_buckets: 20": "num_buckets: 31"})
    with fails(CheckpointError, "[20, 4]", "train_config.partial_restore: true"):
        tiny.pipeline(folder, tmp_path / "all", **still).fit()
    still["train_config__partial_restore"] = "true"
    tiny.pipeline(folder, tmp_path / "run", **still).check()
    tiny.pipeline(folder, tmp_path / "run", **still).fit()
    says((tmp_path / "run/train.log").read_text(), "grown  tables.user_emb.weight: 20 rows")
    session = tiny.session(folder)
    session.restore(tmp_path / "run")
    table, old = weights(session)["tables.user_emb.weight"], weights(trained(source))
    assert torch.equal(table[:20], old["tables.user_emb.weight"])


def test_a_checkpoint_of_another_vocabulary_is_refused_with_the_setting_that_takes_the_rest(
    changed, source, tmp_path
) -> None:
    folder = changed(cities([*CITIES, "oslo"]))
    start = {"train_config__fine_tune_checkpoint": source}
    with fails(CheckpointError, "city", "train_config.partial_restore: true"):
        tiny.pipeline(folder, tmp_path / "run", **start).fit()


def test_a_checkpoint_of_which_nothing_fits_is_an_error(source, tmp_path) -> None:
    session = tiny.session(source.parent)
    facts = checkpoint.open_checkpoint(checkpoint.preferred(source)).state
    content = checkpoint.Content(1, {"model.other": torch.ones(3)}, facts, "")
    saved = checkpoint.open_checkpoint(checkpoint.save(tmp_path, content))
    with fails(CheckpointError, str(saved.path), "no tensor fits", "unused model.other", "scratch"):
        restore_partially(saved, session.built)
    del facts["meaning"]["widths"]
    older = checkpoint.open_checkpoint(checkpoint.save(tmp_path / "older", content))
    with fails(CheckpointError, str(older.path), "an earlier version", "resume that run"):
        restore_partially(older, session.built)
