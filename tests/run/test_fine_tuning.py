"""A run that begins with the weights of another."""

import pytest
from e2e import tiny
from run.runs import go_on, weights

from tzmmoe.errors import CheckpointError, ConfigError
from tzmmoe.run.finetuning.mapped import read_map
from tzmmoe.system import checkpoint


def test_fine_tuning_begins_with_the_weights_of_another_run_at_step_0(
    tiny_folder, finished, tmp_path
) -> None:
    """A model_dir stands for its newest checkpoint. Rates of 0 show what it began with."""
    still = {
        "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__dense_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
        "train_config__num_steps": 1,
        "model_config__mmoe__task_towers[1]__mlp__use_bn": "true",
    }
    for source in (finished, finished / "model.ckpt-5"):
        target = tmp_path / source.name
        tiny.pipeline(tiny_folder, target, **still, train_config__fine_tune_checkpoint=source).fit()
        old = weights(checkpoint.preferred(source) if source == finished else source)
        new = weights(target / "model.ckpt-0")
        assert {n for n in old if old[n] != new[n]} == {
            n for n in old if "norm.r" in n or "_batches" in n
        }


def test_with_a_map_fine_tuning_takes_only_what_it_names(tiny_folder, finished, tmp_path) -> None:
    lines = tmp_path / "map.txt"
    name = "tables.user_emb.weight"
    lines.write_text(f"{name}\t{name}\n\n")
    changes = {
        "train_config__num_steps": 1,
        "train_config__sparse_optimizer": "sgd_optimizer { lr: 0 } constant_learning_rate {}",
    }
    run = tiny.pipeline(
        tiny_folder,
        tmp_path / "run",
        **changes,
        train_config__fine_tune_checkpoint=finished,
        train_config__fine_tune_ckpt_param_map=lines,
    )
    run.fit()
    taken, source = weights(tmp_path / "run" / "model.ckpt-0"), weights(finished / "model.ckpt-12")
    tables = [each for each in source if each.startswith("tables.")]
    assert [each for each in tables if taken[each] == source[each]] == [
        "tables.city_emb.weight",
        name,
    ], "city is not trained, so it is the same in every run"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a b c\n", "'a b c' .*tab"),
        ("a\tb\nx y\tz\na\tc\n", "'x y.*tab(.|\n)*a is listed twice; remove one"),
        (None, "No such file"),
    ],
)
def test_a_map_that_cannot_be_read_names_its_setting(tmp_path, content, said) -> None:
    if content is not None:
        (tmp_path / "map.txt").write_text(content)
    with pytest.raises(ConfigError, match=f"fine_tune_ckpt_param_map: .*{said}"):
        read_map(tmp_path / "map.txt")


def test_a_resumed_run_does_not_fine_tune_again(tiny_folder, run, tmp_path) -> None:
    missing = {"train_config__fine_tune_checkpoint": tmp_path / "was/here"}
    before = tiny.tensors(run / "model.ckpt-12")
    go_on(tiny_folder, run, **missing)
    assert tiny.tensors(run / "model.ckpt-12") == before
    with pytest.raises(CheckpointError, match=r"was/here: no checkpoint"):
        tiny.pipeline(tiny_folder, tmp_path / "fresh", **missing).fit()
