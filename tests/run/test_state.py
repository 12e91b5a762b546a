"""What a run remembers: every tensor by a name that outlives the layout."""

from pathlib import Path

import pytest
import torch
from e2e import tiny
from torch import Tensor

from tzmmoe.batch import Position
from tzmmoe.data.plan.order import Order, Pass
from tzmmoe.data.plan.span import Span
from tzmmoe.errors import CheckpointError
from tzmmoe.learning.step import TrainStep
from tzmmoe.run import state
from tzmmoe.run.finetuning import mapped
from tzmmoe.run.session import Session
from tzmmoe.system import checkpoint
from tzmmoe.system.world import World
from tzmmoe.tables.table import Tables

ORDER = Order(0, (Pass(0, (Span("a.parquet"),), True, 1, 48),), ("a.parquet",))
SPARSE = "train_config__sparse_optimizer"
DENSE = "train_config__dense_optimizer"
ACCUMULATION = "train_config__gradient_accumulation_steps"
CONSTANT = "constant_learning_rate {}"
DENSE_OPTIMIZERS = {
    "sgd": "sgd_optimizer { lr: 0.05 }",
    "momentum": "sgd_optimizer { lr: 0.05 momentum: 0.9 }",
    "adagrad": "adagrad_optimizer { lr: 0.05 initial_accumulator_value: 0.1 }",
    "adam": "adam_optimizer { lr: 0.05 amsgrad: true weight_decay: 0.01 }",
    "adamw": "adamw_optimizer { lr: 0.05 }",
    "adadelta": "adadelta_optimizer { lr: 0.5 }",
    "rmsprop": "rmsprop_optimizer { lr: 0.05 momentum: 0.9 }",
    "ftrl": "ftrl_optimizer { lr: 0.05 l1_reg: 0.01 }",
    "adamax": "adamax_optimizer { lr: 0.05 }",
    "nadam": "nadam_optimizer { lr: 0.05 }",
}
SPARSE_OPTIMIZERS = {
    "sgd": "sgd_optimizer { lr: 0.05 }",
    "adagrad": "adagrad_optimizer { lr: 0.05 }",
    "rowwise": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "adam": "adam_optimizer { lr: 0.05 }",
    "adadelta": "adadelta_optimizer { lr: 0.5 }",
    "rmsprop": "rmsprop_optimizer { lr: 0.05 }",
    "ftrl": "ftrl_optimizer { lr: 0.05 l1_reg: 0.01 }",
    "adamax": "adamax_optimizer { lr: 0.05 }",
    "nadam": "nadam_optimizer { lr: 0.05 }",
}
# Each with itself on the other side, and each with one that is the other side's alone.
PAIRS = [
    *((word, word) for word in SPARSE_OPTIMIZERS if word in DENSE_OPTIMIZERS),
    ("rowwise", "momentum"),
    ("adagrad", "adamw"),
]


def everything(session: Session, step: TrainStep) -> dict[str, Tensor]:
    named = {
        **state.weights(session.built.model),
        **state.optimizer_state(step),
        **state.by_rank([state.random_state(session.runtime.device)]),
    }
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def save(folder: Path, session: Session, step: TrainStep, steps: int = 1) -> checkpoint.Checkpoint:
    facts = state.json_state(step, [state.reading(ORDER, Position())], steps)
    tensors = everything(session, step)
    content = checkpoint.Content(steps - 1, tensors, facts, session.settings.text)
    path = checkpoint.save(folder, content)
    return checkpoint.open_checkpoint(path)


def restore(saved: checkpoint.Checkpoint, session: Session, step: TrainStep) -> None:
    state.restore_weights(saved, session.built.model)
    state.restore_optimizers(saved, step)
    state.restore_random(saved, session.runtime.device, World())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_every_parameter_and_buffer_is_saved_once_and_tables_by_their_own_names(
    tiny_folder,
) -> None:
    model = tiny.session(tiny_folder).built.model
    named = state.weights(model)
    assert sum(t.numel() for t in named.values()) == sum(
        t.numel() for t in model.state_dict().values()
    )
    tables = [
        name for module in model.modules() if isinstance(module, Tables) for name in module.spans
    ]
    assert sorted(tables) == ["age_emb", "city_emb", "scores_emb", "tags_emb", "user_emb"]
    assert {f"tables.{table}.weight" for table in tables} < named.keys()
    assert not [name for name in named if name.startswith("model.") and "tables" in name]


@pytest.mark.parametrize(("sparse", "dense"), PAIRS)
def test_learning_goes_on_bit_for_bit_in_the_middle_of_an_accumulation(
    tiny_folder, tmp_path, sparse, dense
) -> None:
    """3 batches of 4 are pending when it stops, and dropout draws on from where it was."""
    changes = {
        SPARSE: f"{SPARSE_OPTIMIZERS[sparse]} {CONSTANT}",
        DENSE: f"{DENSE_OPTIMIZERS[dense]} {CONSTANT}",
        ACCUMULATION: 4,
    }
    first = tiny.session(tiny_folder, **changes)
    batches = tiny.batches(first, 12)
    step = tiny.train_step(first)
    tiny.learn(first, step, batches[:7], 0)
    assert step.dense.pending == 3
    saved = save(tmp_path, first, step)
    tiny.learn(first, step, batches[7:], 7)
    undisturbed = everything(first, step)

    second = tiny.session(tiny_folder, **changes)
    restored = tiny.train_step(second)
    restore(saved, second, restored)
    assert restored.dense.pending == 3
    tiny.learn(second, restored, batches[7:], 7)
    assert same(everything(second, restored), undisturbed)


def test_the_scale_of_half_precision_survives(tiny_folder, tmp_path) -> None:
    changes = {
        "train_config__mixed_precision": "FP16",
        "train_config__grad_scaler": "init_scale: 1024 growth_interval: 3",
        ACCUMULATION: 1,
    }
    first = tiny.session(tiny_folder, **changes)
    batches = tiny.batches(first, 8)
    step = tiny.train_step(first)
    tiny.learn(first, step, batches[:4], 0)
    saved = save(tmp_path, first, step)
    scales = [step.dense.scaler.get_scale()]
    tiny.learn(first, step, batches[4:], 4)
    scales.append(step.dense.scaler.get_scale())
    assert scales == [2048.0, 4096.0]

    second = tiny.session(tiny_folder, **changes)
    restored = tiny.train_step(second)
    restore(saved, second, restored)
    assert restored.dense.scaler.get_scale() == 2048.0
    tiny.learn(second, restored, batches[4:], 4)
    assert restored.dense.scaler.get_scale() == 4096.0
    assert same(everything(second, restored), everything(first, step))


def test_tables_are_restored_into_another_layout(tiny_folder, tmp_path) -> None:
    """Tables that are not trained move to the end of their parameter."""
    frozen = {"feature_configs[feature_name=user]__id_feature__trainable": "false"}
    first, second = tiny.session(tiny_folder), tiny.session(tiny_folder, **frozen)
    layouts = [
        {
            name: span
            for table in each.built.model.encoder.tables.values()
            for name, span in table.spans.items()
        }
        for each in (first, second)
    ]
    assert layouts[0] != layouts[1]
    step, other = tiny.train_step(first), tiny.train_step(second)
    tiny.learn(first, step, tiny.batches(first, 6), 0)
    restore(save(tmp_path, first, step), second, other)
    assert same(everything(second, other), everything(first, step))
    batch = tiny.batches(first, 1)[0]
    outputs = [each.outputs(batch) for each in (first, second)]
    assert same(*outputs)


def test_a_table_that_was_not_trained_before_lacks_its_state_and_that_is_said(
    tiny_folder, tmp_path
) -> None:
    """All tables of width 3 stood still, so nothing was kept for them."""
    still = {
        "feature_configs[feature_name=age]__raw_feature__trainable": "false",
    }
    first, second = tiny.session(tiny_folder, **still), tiny.session(tiny_folder)
    saved = save(tmp_path, first, tiny.train_step(first))
    with pytest.raises(CheckpointError) as caught:
        restore(saved, second, tiny.train_step(second))
    listed = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(listed) == [
        f"tables.{table}_emb.{moment}"
        for table in ("age", "city")
        for moment in ("exp_avg", "exp_avg_sq")
    ]


def test_another_optimizer_is_refused_by_its_word(tiny_folder, tmp_path) -> None:
    first = tiny.session(tiny_folder, **{DENSE: f"sgd_optimizer {{}} {CONSTANT}"})
    second = tiny.session(tiny_folder, **{DENSE: f"adam_optimizer {{}} {CONSTANT}"})
    saved = save(tmp_path, first, tiny.train_step(first))
    with pytest.raises(CheckpointError, match=r"not of adam_optimizer and adam_optimizer"):
        restore(saved, second, tiny.train_step(second))


def test_where_each_process_stood_and_the_steps_come_back(tiny_folder, tmp_path) -> None:
    session = tiny.session(tiny_folder)
    step = tiny.train_step(session)
    positions = [Position(2, 96, 0, 2, 5, 1, 11), Position(2, 90, 1, 0, 0, 0, 7)]
    facts = state.json_state(step, [state.reading(ORDER, each) for each in positions], 33)
    weights = state.weights(session.built.model)
    path = checkpoint.save(tmp_path, checkpoint.Content(32, weights, facts, ""))
    stands, steps = state.positions(checkpoint.open_checkpoint(path))
    assert steps == 33
    assert [position for _, position in stands] == positions
    assert all(order.files == (str(Path("a.parquet").absolute()),) for order, _ in stands)


def test_a_state_that_lacks_something_is_an_error(tmp_path) -> None:
    content = checkpoint.Content(1, {"a": torch.ones(1)}, {"steps": 2}, "")
    path = checkpoint.save(tmp_path, content)
    with pytest.raises(CheckpointError, match="lacks 'reading'"):
        state.positions(checkpoint.open_checkpoint(path))


def trained(folder: Path, session: Session) -> checkpoint.Checkpoint:
    step = tiny.train_step(session)
    tiny.learn(session, step, tiny.batches(session, 4), 0)
    return save(folder, session, step)


def test_fine_tuning_takes_all_weights_or_none(tiny_folder, tmp_path) -> None:
    first, second = tiny.session(tiny_folder), tiny.session(tiny_folder)
    saved = trained(tmp_path, first)
    said = mapped.take_all(saved, second.built.model)
    assert same(state.weights(second.built.model), state.weights(first.built.model))
    assert said == f"all {len(state.weights(first.built.model))} tensors come from {saved.path}"
    wider = tiny.session(tiny_folder, model_config__mmoe__expert_mlp__hidden_units="[9]")
    with pytest.raises(
        CheckpointError, match=r"\[.*8.*\] in the checkpoint, \[.*9.*\] in the model"
    ):
        mapped.take_all(saved, wider.built.model)


def test_with_a_map_only_its_tensors_are_taken_under_their_new_names(tiny_folder, tmp_path) -> None:
    """One tensor there may go to several here: both towers begin as the old one of ctr."""
    first, second = tiny.session(tiny_folder), tiny.session(tiny_folder)
    saved = trained(tmp_path, first)
    old, initial = (
        state.weights(first.built.model),
        {name: tensor.clone() for name, tensor in state.weights(second.built.model).items()},
    )
    source = "model.towers.tower_ctr.linear.weight"
    mapping = {
        source: source,
        "model.towers.tower_cvr.linear.weight": source,
        "tables.scores_emb.weight": "tables.tags_emb.weight",
    }
    said = mapped.take_mapped(saved, second.built.model, mapping)
    assert f"3 of {len(old)} tensors come from {saved.path}; " in said
    for name, tensor in state.weights(second.built.model).items():
        assert torch.equal(tensor, old[mapping[name]] if name in mapping else initial[name]), name
        assert (name in said.partition("initial values: ")[2]) == (name not in mapping)


def test_a_map_that_names_what_is_not_there_is_an_error(tiny_folder, tmp_path) -> None:
    session = tiny.session(tiny_folder)
    saved = trained(tmp_path, session)
    name = "tables.user_emb.weight"
    with pytest.raises(CheckpointError) as caught:
        mapped.take_mapped(saved, session.built.model, {"tables.user.weight": name, "zzz": name})
    assert str(caught.value).splitlines()[1:] == [
        "  tables.user.weight; did you mean 'tables.user_emb.weight'?",
        "  zzz",
    ]
    with pytest.raises(CheckpointError, match=r"tables\.usr: not in the checkpoint"):
        mapped.take_mapped(saved, session.built.model, {name: "tables.usr"})
    with pytest.raises(CheckpointError, match=r"city_emb.*\[9, 3\] in the checkpoint, \[20, 4\]"):
        mapped.take_mapped(saved, session.built.model, {name: "tables.city_emb.weight"})
