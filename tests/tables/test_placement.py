"""Where tables lie: what AUTO decides, and what is said."""

import logging
from pathlib import Path

import pytest
import torch
from e2e import tiny
from google.protobuf import text_format
from torch import nn

from tzmmoe.errors import ConfigError
from tzmmoe.learning.settings import LearningSettings
from tzmmoe.models import RankModel
from tzmmoe.protos.train_pb2 import TrainConfig
from tzmmoe.registry import fields
from tzmmoe.run.session import Session
from tzmmoe.system.runtime import short_bytes
from tzmmoe.system.world import World
from tzmmoe.tables import placement
from tzmmoe.tables.constraints import Constraints
from tzmmoe.tables.placement import Machine, PlacementRequest, place
from tzmmoe.tables.table import Tables

# Tables of width 4 with 20 + 30 + 30 rows; of width 3 with 4 trained rows and 9 frozen ones.
NUMBERS = 80 * 4 + 13 * 3
STATES = {"sgd": 0, "adagrad": 80 * 4 + 4 * 3, "rowwise_adagrad": 84, "adam": 2 * (80 * 4 + 4 * 3)}
SGD = "sgd_optimizer { lr: 0.1 }"


class Known(World):
    """Two processes that say the same, but that the other has ``less`` memory."""

    less = 1

    def gather(self, value: object) -> list:
        is_memory = isinstance(value, int) and not isinstance(value, bool)
        return [value, value // self.less if is_memory else value]


class Uneven(Known):
    less = 2


def said(
    model: RankModel,
    caplog: pytest.LogCaptureFixture,
    free: int | None,
    word: str,
    choice: str = "AUTO",
    world: type[Known] = Known,
    averages: bool = False,
) -> tuple[str, bool]:
    """What is told, and whether tables would be spread."""
    text = f"sparse_optimizer {{ {word}_optimizer {{ lr: 0.1 }} }} dense_optimizer {{ {SGD} }}"
    train_config = text_format.Parse(text, TrainConfig())
    optimizer = LearningSettings.of(fields(train_config)).sparse.optimizer
    request = PlacementRequest(choice, Constraints(), 16, optimizer, averages=averages)
    spread = []
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(placement, "_shard", lambda model, tables, *rest: spread.append(tables))
        patch.setattr(placement, "_lines", lambda made, sizes, reason, world: [reason])
        place(model, request, Machine(world(0, 2), free=free))
    assert not any(part.weight.is_meta for part in tables_of(model) if not spread)
    return caplog.messages[-1], bool(spread)


def unmade(folder: Path) -> RankModel:
    """A model as several processes find it, whose tables have no values yet."""
    model = tiny.session(folder).built.model
    for part in tables_of(model):
        part.weight = nn.Parameter(torch.empty_like(part.weight, device="meta"))
    return model


def tables_of(model: nn.Module) -> list[Tables]:
    return [part for part in model.modules() if isinstance(part, Tables)]


@pytest.mark.parametrize("word", STATES)
def test_auto_shards_what_needs_more_than_a_quarter_of_the_memory(
    tiny_folder, caplog, monkeypatch, word
) -> None:
    """A table's bytes and its optimizer's, counted by hand."""
    monkeypatch.setattr(placement, "_has_torchrec", lambda: True)
    monkeypatch.setattr(placement, "FUSED", [f"{each}_optimizer" for each in STATES])
    needed = 4 * (NUMBERS + STATES[word])
    message, spread = said(unmade(tiny_folder), caplog, 4 * needed, word)
    assert "tables: REPLICATED (AUTO: " in message
    assert "within 25% of" in message
    assert not spread
    message, spread = said(unmade(tiny_folder), caplog, 4 * needed - 4, word)
    assert "more than 25% of" in message
    assert spread


def test_averages_keep_tables_whole_and_their_memory_counts(
    tiny_folder, caplog, monkeypatch
) -> None:
    """Two copies of what is trained, 80 rows of width 4 and 4 of width 3, and 8 bytes a row."""
    monkeypatch.setattr(placement, "_has_torchrec", lambda: True)
    needed = 4 * (NUMBERS + STATES["sgd"]) + 2 * 4 * (80 * 4 + 4 * 3) + 8 * 84
    arguments = {"word": "sgd", "averages": True}
    message, spread = said(unmade(tiny_folder), caplog, 4 * needed, **arguments)
    assert "within 25% of" in message
    message, spread = said(unmade(tiny_folder), caplog, 4 * needed - 4, **arguments)
    assert "but SHARDED does not work with train_config.ema" in message
    assert not spread
    with pytest.raises(ConfigError, match=r"each process needs .*train_config\.ema"):
        said(unmade(tiny_folder), caplog, needed - 1, **arguments)
    with pytest.raises(ConfigError, match=r"table_placement: does not work with train_config\.ema"):
        said(unmade(tiny_folder), caplog, 1 << 30, choice="SHARDED", **arguments)


def test_the_process_with_the_least_memory_decides(tiny_folder, caplog, monkeypatch) -> None:
    monkeypatch.setattr(placement, "_has_torchrec", lambda: True)
    needed = 4 * (NUMBERS + STATES["adagrad"])
    assert not said(unmade(tiny_folder), caplog, 4 * needed, "adagrad")[1]
    assert said(unmade(tiny_folder), caplog, 4 * needed, "adagrad", world=Uneven)[1]


@pytest.mark.parametrize("placement_word", ["AUTO", "REPLICATED"])
def test_tables_that_no_process_has_room_for_are_refused_before_they_are_made(
    tiny_folder, caplog, placement_word
) -> None:
    """Under AUTO the reason is told, for another optimizer would let them be spread."""
    needed = 4 * (NUMBERS + STATES["adam"])
    assert not said(unmade(tiny_folder), caplog, needed, "adam", placement_word)[1]
    model = unmade(tiny_folder)
    with pytest.raises(ConfigError, match=r"each process .*4\.0 KiB") as caught:
        said(model, caplog, needed - 1, "adam", placement_word)
    assert all(part.weight.is_meta for part in tables_of(model))
    assert ("adam_optimizer" in str(caught.value)) == (placement_word == "AUTO")


def test_tables_of_which_none_can_be_spread_are_refused_or_kept_whole_with_the_reason(
    tiny_folder, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(placement, "_has_torchrec", lambda: True)
    monkeypatch.setattr(placement, "MULTIPLE", 64)
    with pytest.raises(ConfigError, match=r"SHARDED .*width is a multiple of 4"):
        said(unmade(tiny_folder), caplog, 1 << 30, "adagrad", "SHARDED")
    message, spread = said(unmade(tiny_folder), caplog, 8_000, "adagrad")
    assert "width is a multiple of 4" in message
    assert not spread


def test_auto_keeps_tables_whole_where_they_cannot_be_sharded_and_says_why(
    tiny_folder, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(placement, "_has_torchrec", lambda: True)
    message, spread = said(unmade(tiny_folder), caplog, 8_000, "adam")
    assert "adam_optimizer" in message
    assert not spread
    monkeypatch.setattr(placement, "_has_torchrec", lambda: False)
    message, spread = said(unmade(tiny_folder), caplog, 8_000, "adagrad")
    assert "but SHARDED needs TorchRec, which is not installed: `make torchrec`" in message
    assert not spread


def test_sharded_without_torchrec_says_how_to_install_it(tiny_folder, caplog, monkeypatch) -> None:
    monkeypatch.setattr(placement, "_has_torchrec", lambda: False)
    with pytest.raises(ConfigError) as caught:
        said(unmade(tiny_folder), caplog, 1 << 30, "adagrad", "SHARDED")
    assert "`make torchrec` on a machine without GPU" in str(caught.value)
    assert "pip install tzmmoe[torchrec]" in str(caught.value)


def test_one_process_has_all_tables_and_says_that_sharded_has_no_effect(
    tiny_folder, caplog
) -> None:
    changes = {
        "train_config__table_placement": "SHARDED",
        "train_config__sparse_optimizer": "sgd_optimizer {}",
    }
    with caplog.at_level(logging.INFO):
        session = Session.start(tiny.pipeline(tiny_folder, "unused", **changes).config)
    assert caplog.messages[-1].startswith(
        "tables: REPLICATED (there is only one process, so table_placement: SHARDED has no effect)"
    )
    tables = tables_of(session.built.model)
    assert tables
    assert not any(part.weight.is_meta for part in tables)


def test_a_training_process_alone_says_that_it_has_all_tables_and_their_bytes(
    tiny_folder, tmp_path, caplog
) -> None:
    with caplog.at_level(logging.INFO):
        tiny.pipeline(tiny_folder, tmp_path, train_config__num_steps=1).fit()
    size = short_bytes(4 * (NUMBERS + STATES["adam"]))
    assert f"tables: REPLICATED (there is only one process); {size}" in caplog.messages


def test_an_optimizer_that_torchrec_lacks_is_refused_with_one_process_too(
    tiny_folder, tmp_path
) -> None:
    changes = {"train_config__table_placement": "SHARDED"}
    with pytest.raises(ConfigError, match=r"table_placement: .*adam_optimizer"):
        tiny.pipeline(tiny_folder, tmp_path, **changes).fit()
