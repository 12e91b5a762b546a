"""Pipeline in Python: the forms of settings, faults at load, and messages that name arguments."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from e2e import tiny
from messages import fails, says

from tzmmoe.errors import CheckpointError, ConfigError, UserError
from tzmmoe.pipeline import Pipeline
from tzmmoe.serving.scorer import Scorer
from tzmmoe.system.spoken import in_python

BATCH, STEPS = "data_config.batch_size", "train_config.num_steps"


def load(folder: Path, **more) -> Pipeline:
    return Pipeline.load(folder / "tiny.config", device="cpu", **more)


@pytest.mark.parametrize(
    "settings",
    [
        [f"{BATCH}=32", f"{STEPS}=3"],
        (f"{BATCH}=32", f"{STEPS}=3"),
        (text for text in (f"{BATCH}=32", f"{STEPS}=3")),
        {BATCH: 32, STEPS: 3},
        {BATCH: "32", STEPS: "3"},
        {BATCH: np.int64(32), STEPS: torch.tensor(3)},
        {BATCH: 32.0, STEPS: np.float32(3)},
    ],
)
def test_settings_are_a_list_of_texts_or_a_dict(tiny_folder, settings) -> None:
    pipeline = load(tiny_folder, settings=settings).config.pipeline
    assert pipeline.data_config.batch_size == 32
    assert pipeline.train_config.num_steps == 3


def test_a_single_setting_needs_no_list(tiny_folder) -> None:
    assert load(tiny_folder, settings=f"{BATCH}=32").config.pipeline.data_config.batch_size == 32


@pytest.mark.parametrize(
    ("value", "units"), [([8, 4], [8, 4]), ((8, 4), [8, 4]), (8, [8]), ("[8, 4]", [8, 4])]
)
def test_values_of_a_dict_are_those_of_python(tiny_folder, value, units) -> None:
    settings = {
        "model_config.mmoe.expert_mlp.hidden_units": value,
        "model_dir": Path("a/b"),
        "train_config.use_tensorboard": False,
        "train_config.early_stopping": {"monitor": "val_loss", "patience": 2},
        "feature_configs[0].id_feature.embedding_dim": np.int32(6),
        "feature_configs[3]": None,
        "model_config.feature_groups[0].feature_names": ["user", "tags"],
    }
    pipeline = load(tiny_folder, settings=settings).config.pipeline
    assert list(pipeline.model_config.mmoe.expert_mlp.hidden_units) == units
    assert pipeline.model_dir == "a/b"
    assert not pipeline.train_config.use_tensorboard
    assert pipeline.train_config.early_stopping.patience == 2
    assert pipeline.feature_configs[0].id_feature.embedding_dim == 6
    assert len(pipeline.feature_configs) == 5


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ("data_config.batch_sise=3", ["settings", "batch_sise", "'batch_size'"]),
        (["batch"], ["settings", "'batch'", "PATH=VALUE"]),
        ({BATCH: "many"}, ["settings", BATCH, "many"]),
        ({BATCH: 0}, ["settings", BATCH, "is 0"]),
        ({BATCH: None}, ["settings", BATCH, "null"]),
        ({"train_config.epochs": 3}, ["settings", "'num_epochs'"]),
        ({"model_config.mmoe.num_expert": 0}, ["settings", "num_expert", "is 0"]),
        ("feature_configs[0].id_feature.num_buckets=0", ["feature_configs[0].id_feature"]),
    ],
)
def test_a_bad_setting_is_an_error_at_load_that_names_the_argument(
    tiny_folder, settings, parts
) -> None:
    """Whether its text, its value, or what is made of it is at fault."""
    with fails(ConfigError, *parts):
        load(tiny_folder, settings=settings)
    with pytest.raises(ConfigError) as error:
        load(tiny_folder, settings=settings)
    assert "--" not in str(error.value)


def test_all_faults_of_a_config_come_at_load_with_their_lines(tiny_folder, tmp_path) -> None:
    text = (tiny_folder / "tiny.config").read_text()
    text = text.replace("batch_size: 16", "batch_sise: 16").replace(
        "num_expert: 3", "num_expert: 0"
    )
    text = text.replace("dropout_ratio: [0.2]", "dropout_ratio: [2]")
    (tmp_path / "bad.config").write_text(text)
    with pytest.raises(ConfigError) as error:
        Pipeline.load(tmp_path / "bad.config")
    assert len(error.value.faults) == 3
    place = rf"{re.escape(str(tmp_path))}/bad\.config:\d+: "
    assert all(re.match(place, str(fault)) for fault in error.value.faults)


def test_loading_says_nothing_and_draws_no_random_number(tiny_folder, caplog) -> None:
    state = torch.get_rng_state()
    with caplog.at_level(logging.INFO):
        load(tiny_folder, settings={"model_config.feature_groups[0].feature_names": ["user"]})
    assert not caplog.messages
    assert torch.equal(torch.get_rng_state(), state)


def test_messages_of_methods_speak_of_arguments(tiny_folder, tmp_path) -> None:
    run = load(tiny_folder, settings={"model_dir": tmp_path / "model", STEPS: 2})
    nowhere = str(tmp_path / "nowhere.parquet")
    causes = [
        lambda: load(tiny_folder, settings={"model_dir": ""}).fit(),
        lambda: run.predict(nowhere, str(tmp_path / "out.csv"), checkpoint_path=str(tmp_path)),
        lambda: run.evaluate(),
        lambda: load(tiny_folder, settings={"eval_input_path": nowhere}).fit(),
        lambda: Pipeline.load(tmp_path / "no.config"),
        lambda: run.export(str(tiny_folder), "no"),
    ]
    for cause in causes:
        with pytest.raises(UserError) as error:
            cause()
        assert "--" not in str(error.value), error.value
    with pytest.raises(ConfigError) as error:
        causes[0]()
    says(error.value, 'settings={"model_dir": ...}')
    run.fit()
    with fails(CheckpointError, "continue_train=True"):
        run.fit()


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ("is not set; set it, or pass --model_dir", 'or pass settings={"model_dir": ...}'),
        ("pass --continue_train to continue", "pass continue_train=True to continue"),
        ("choose another --export_dir", "choose another export_dir"),
        ("--predict_input_path: x", "predict_input_path: x"),
        ("--set a.b: no such field", "settings a.b: no such field"),
        ("pass --allow_modules m, in Python allow_modules=['m']", "pass allow_modules=['m']"),
        ("a -- b, c--d and ----", "a -- b, c--d and ----"),
    ],
)
def test_flags_become_arguments_and_other_dashes_stay(said: str, spoken: str) -> None:
    says(in_python(said), spoken)
    if said.startswith("a -- b"):
        assert in_python(said) == said


def test_messages_of_a_scorer_speak_of_its_arguments(tiny_folder, tmp_path) -> None:
    run = load(tiny_folder, settings={"model_dir": tmp_path / "model", STEPS: 2})
    run.fit()
    export = run.export(str(tmp_path / "export"))
    scorer = Scorer.load(export, device="cpu")
    reading = {"reserved": (), "batch_size": 4, "num_workers": 0}
    causes = {
        "directory": lambda: Scorer.load("s3://bucket/export"),
        "path": lambda: scorer.loader(str(tmp_path / "nowhere.parquet"), **reading),
        "allow_modules": lambda: Scorer.load(export, allow_modules="no module"),
    }
    for argument, cause in causes.items():
        with pytest.raises(UserError) as error:
            cause()
        assert re.search(rf"\b{argument}\b", str(error.value)), error.value
        assert "--" not in str(error.value), error.value
    for_command = Scorer.of_command(export, "cpu")
    with fails(UserError, "--predict_input_path"):
        for_command.loader(str(tmp_path / "nowhere.parquet"), **reading)


def test_messages_of_commands_keep_their_flags(tiny_folder, tmp_path) -> None:
    settings = [f"model_dir={tmp_path / 'model'}", f"{STEPS}=2"]
    run = Pipeline.of_command(tiny_folder / "tiny.config", settings=settings, device="cpu")
    run.fit()
    with fails(CheckpointError, "--continue_train"):
        run.fit()
    assert tiny.checkpoint.find(tmp_path / "model")
