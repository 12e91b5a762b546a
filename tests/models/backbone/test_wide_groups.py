"""WIDE groups, raw_input and embedding_layer in whole models, row by row, and in whole runs."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from e2e import tiny
from models.backbone import wide_blocks
from models.backbone.tiny_blocks import block
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.batch import Inputs
from tzmmoe.models.rank import PENALTY
from tzmmoe.run.changes.report import ChangedError
from tzmmoe.run.session import Session
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system.checkpoint import MisfitError
from tzmmoe.tables.table import Tables

WIDE = "wide_columns"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wide_blocks.write(tmp_path_factory.mktemp("wide"))


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    run = tiny.pipeline(folder, folder / "model", train_config__num_steps=6)
    run.fit()
    return folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    """With weights far from where they start, in float64."""
    made = tiny.session(folder, model_config__embedding_regularization=0.01)
    torch.manual_seed(2)
    made.built.model.double()
    with torch.no_grad():
        for parameter in made.built.model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def batch(session: Session) -> Inputs:
    [first] = tiny.batches(session, 1)
    return first.map(lambda t: t.double() if t.is_floating_point() else t).inputs


def block_values(session: Session, inputs: Inputs) -> dict:
    """{block: its value}."""
    model = session.built.model.eval()
    body = model.body
    return body.graph.results(body._context(model.encoder(inputs)))


def bag(session: Session, inputs: Inputs, feature: str) -> list[tuple[Tensor, Tensor]]:
    """The ids of a feature in each row, and their weights."""
    [slot] = [s for s in session.built.model.encoder.layout.slots if s.feature.name == feature]
    ids = inputs.ids[slot.width]
    lengths = torch.ones_like(ids.values) if ids.lengths is None else ids.lengths
    values = ids.values.flatten()
    weights = torch.ones(len(values)).double() if ids.weights is None else ids.weights
    ends = lengths.flatten().cumsum(0).view(lengths.shape)[:, slot.place]
    begins = ends - lengths[:, slot.place]
    pairs = zip(begins.tolist(), ends.tolist(), strict=True)
    return [(values[begin:end], weights[begin:end]) for begin, end in pairs]


def table(session: Session, name: str) -> Tensor:
    for part in session.built.model.modules():
        if isinstance(part, Tables) and name in part.spans:
            return part.rows_of(name, part.weight)
    raise KeyError(name)


def numbers(session: Session, inputs: Inputs, feature: str) -> Tensor:
    slots = {s.feature.name: s for s in session.built.model.encoder.layout.numbers}
    return inputs.numbers[:, slots[feature].place : slots[feature].end]


def wide(session: Session, inputs: Inputs, feature: str) -> Tensor:
    """A feature of a WIDE group, row by row."""
    if feature == "price":
        return (
            numbers(session, inputs, feature)
            * session.built.model.encoder.factors[WIDE].vectors.weight
        )
    owner = "people" if feature in ("user", "friend") else f"{feature}_emb"
    rows = table(session, f"{owner}.{WIDE}")
    bags = bag(session, inputs, feature)
    return torch.stack([(w[:, None] * rows[ids]).sum(0) for ids, w in bags])


def test_a_wide_group_gives_sums_of_rows_of_tables_that_no_deep_group_reads(session, batch) -> None:
    results = block_values(session, batch)
    names = ["scores", "user", "price", "age", "tags", "friend", "city"]
    parts = [wide(session, batch, name) for name in names]
    assert [part.shape[1] for part in parts] == [2] * 7
    assert_close(results["wide"], torch.cat(parts, dim=1))
    again = [wide(session, batch, name) for name in ("tags", "user")]
    assert_close(results["wide_list"], again)
    assert_close(results["wide_cube"], torch.stack(again, dim=1))
    assert not {"wide", "again"} & session.built.model.body.groups.keys()


def test_features_that_share_a_table_share_one_in_wide_groups_too(session) -> None:
    factor = session.built.model.encoder.factors[WIDE]
    names = [name for tables in factor.tables.values() for name in tables.spans]
    owners = ("age_emb", "city_emb", "people", "scores_emb", "tags_emb")
    assert sorted(names) == [f"{owner}.{WIDE}" for owner in owners]
    assert table(session, f"people.{WIDE}").shape == (20, 2)


def test_raw_input_gives_each_features_numbers_as_they_are_read(session, batch) -> None:
    wanted = [numbers(session, batch, name) for name in ("price", "embedded")]
    assert_close(block_values(session, batch)["raw"], wanted, rtol=0, atol=0)


def test_an_embedding_layer_combines_rows_of_its_own_tables(session, batch) -> None:
    def rows(block: str, feature: str, pool) -> Tensor:
        own = table(session, f"{feature}.embedding_{block}")
        return torch.stack([pool(own[ids], w) for ids, w in bag(session, batch, feature)])

    def weighed(rows: Tensor, w: Tensor) -> Tensor:
        return (w[:, None] * rows).sum(0) / w.sum() if len(w) else rows.sum(0)

    results, names = block_values(session, batch), ["scores", "tags", "user", "age"]
    wanted = [rows("weighed", name, weighed) for name in names]
    assert_close(results["weighed"], torch.cat(wanted, dim=1))
    wanted = [rows("summed", name, lambda rows, w: rows.sum(0)) for name in names]
    assert_close(results["summed"], wanted)
    wanted = [rows("averaged", n, lambda rows, w: rows.sum(0) / max(len(w), 1)) for n in names]
    assert_close(results["averaged"], torch.cat(wanted, dim=1))


def test_embeddings_are_regularized_in_wide_groups_but_not_in_embedding_layers(
    session, batch
) -> None:
    """s sum e^2 / 2 over what the deep and the WIDE groups look up, each group by itself."""
    results = block_values(session, batch)
    deep = session.built.model.encoder(batch)["deep"][:, :-1]  # the last one is a plain number
    looked_up = [deep, results["wide"], results["wide_cube"]]
    model = session.built.model.train()
    found = model(batch)[PENALTY]
    wanted = 0.01 / 2 * sum(part.square().sum() for part in looked_up)
    assert_close(found.double(), wanted, rtol=1e-6, atol=0)


def test_check_lists_the_blocks_that_read_groups_and_its_graph_draws_them(
    folder: Path, caplog
) -> None:
    with caplog.at_level("INFO"):
        tiny.pipeline(folder, "unused").check(graph=str(folder / "graph.svg"))
    [summary] = [text for text in caplog.messages if text.startswith("table ")]
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in summary.splitlines() if line}
    assert lines["wide"] == "group wide (B, 14) 0"
    assert lines["wide_list"] == "group again [2 x (B, 2)] 0"
    assert lines["raw"] == "group numbers [2 x (B, 1)] 0"
    assert lines["weighed"] == "group ids (B, 12) 0"
    assert lines["summed"] == "group ids [4 x (B, 5)] 0"
    assert lines[f"people.{WIDE}"].startswith("20 2 160 B")
    drawing = (folder / "graph.svg").read_text()
    assert all(f"group {name}" in drawing for name in ("wide", "again", "numbers", "ids"))


def test_training_on_is_the_same_as_never_having_stopped(folder: Path, tmp_path: Path) -> None:
    for steps, more in ((3, False), (6, True)):
        run = tiny.pipeline(folder, tmp_path / "parts", train_config__num_steps=steps)
        run.fit(continue_train=more)
    tiny.pipeline(folder, tmp_path / "whole", train_config__num_steps=6).fit()
    one, other = (tiny.tensors(tmp_path / n / "model.ckpt-5") for n in ("parts", "whole"))
    assert one == other
    assert any(WIDE in name for name in one)


def test_an_export_predicts_what_the_checkpoint_does(trained: Path, tmp_path: Path) -> None:
    run = tiny.pipeline(trained, trained / "model")
    run.evaluate()
    run.export(str(tmp_path / "export"))
    rows = pq.read_table(trained / "eval.parquet")
    served = Scorer.load(str(tmp_path / "export")).score(rows)
    run.predict(str(trained / "eval.parquet"), str(tmp_path / "out.parquet"))
    told = pq.read_table(tmp_path / "out.parquet")
    for name in ("probs_ctr", "probs_cvr"):
        np.testing.assert_allclose(served[name].numpy(), told[name].to_numpy(), atol=1e-6, rtol=0)


CHANGES = {
    "width": (
        "wide_output_dim: 2",
        "wide_output_dim: 3",
        "input_layer.wide_output_dim: was 2, and is 3",
    ),
    "kind": (
        "raw_input {}",
        f"input_layer {{ {wide_blocks.LIST} }}",
        r"blocks\[5\]: was raw_input, and is input_layer",
    ),
    "combiner": ('combiner: "sum"', 'combiner: "mean"', "combiner of 'summed': was \"sum\""),
    "type": ('"again" group_type: WIDE', '"again"', "group_type: was WIDE, and is "),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_whose_groups_were_read_differently_is_refused_with_the_difference(
    trained: Path, tmp_path: Path, name: str
) -> None:
    old, new, words = CHANGES[name]
    text = (trained / "tiny.config").read_text()
    assert old in text
    (tmp_path / "tiny.config").write_text(text.replace(old, new, 1))
    run = tiny.pipeline(tmp_path, trained / "model")
    for command in (run.evaluate, lambda: run.check(continue_train=True)):
        with pytest.raises((ChangedError, MisfitError), match=words):
            command()


def test_the_width_may_stand_in_any_block_of_a_wide_group(trained: Path, tmp_path: Path) -> None:
    text = (trained / "tiny.config").read_text()
    text = text.replace("{ wide_output_dim: 2 }", "{}", 1)
    text = text.replace(
        "only_output_3d_tensor: true", "only_output_3d_tensor: true wide_output_dim: 2"
    )
    (tmp_path / "tiny.config").write_text(text)
    run = tiny.pipeline(tmp_path, trained / "model")
    assert run.evaluate() == tiny.pipeline(trained, trained / "model").evaluate()


def test_packages_read_wide_groups_numbers_and_embeddings_once_for_all_uses(tmp_path: Path) -> None:
    package = (
        block("w", "wide", "input_layer { wide_output_dim: 2 }")
        + block("r", "numbers", "raw_input {}")
        + block("e", "ids", "embedding_layer { embedding_dim: 3 }")
        + block(
            "j",
            "".join(f'inputs {{ block_name: "{n}" }}' for n in "wre"),
            "",
            "merge_inputs_into_list: true",
        ).replace('block_name: "r"', 'block_name: "r" input_fn: "lambda x: tf.concat(x, axis=1)"')
        + block("joined", "j", 'lambda { expression: "lambda x: tf.concat(x, axis=1)" }')
    )
    blocks = f'packages {{ name: "p" {package} }}' + block(
        "e", "ids", "embedding_layer { embedding_dim: 3 }"
    )
    blocks += block(
        "all",
        'inputs { package_name: "p" } inputs { package_name: "p" } inputs { block_name: "e" }',
        "",
    )
    made = tiny.session(wide_blocks.write(tmp_path, blocks))
    assert sorted(made.built.model.encoder.factors) == ["embedding_e", "embedding_p+e", WIDE]
    [first] = tiny.batches(made, 1)
    x = made.built.model.eval().body(made.built.model.encoder(first.inputs)).hidden[0]
    assert x.shape[1] == 2 * (14 + 2 + 12) + 12
    assert_close(x[:, :28], x[:, 28:56], rtol=0, atol=0)
