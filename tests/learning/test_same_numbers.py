"""One process, two and four: with the same global batches, the same losses, weights and metrics."""

import pytest
from cases import some
from same_numbers import compare

SPARSE = "train_config__sparse_optimizer"
OPTIMIZERS = {
    "sgd": "sgd_optimizer { lr: 0.5 }",
    "adagrad": "adagrad_optimizer { lr: 0.05 }",
    "rowwise": "rowwise_adagrad_optimizer { lr: 0.05 }",
    "adam": "adam_optimizer { lr: 0.01 }",
    "adadelta": "adadelta_optimizer { lr: 0.5 eps: 1e-3 }",
    "rmsprop": "rmsprop_optimizer { lr: 0.01 eps: 1e-3 }",
    "ftrl": "ftrl_optimizer { lr: 0.05 l1_reg: 0.001 }",
    "adamax": "adamax_optimizer { lr: 0.01 }",
    "nadam": "nadam_optimizer { lr: 0.01 }",
}
USUAL = ("sgd", "adagrad", "rowwise", "adam")
TOWERS = "model_config__mmoe__task_towers"
CLIPPED = "adam_optimizer { lr: 0.01 gradient_clipping: true max_gradient: 0.001 }"
OTHERS = {
    "clipped": {SPARSE: CLIPPED, "train_config__grad_clipping": 'clipping_type: "norm"'},
    "surgery": {"train_config__grad_process": "pcgrad"},
    "relations and surgery": {
        "train_config__grad_process": "pcgrad",
        f"{TOWERS}[0]__relation_tower_names": '["cvr"]',  # so the later tower runs first
        f"{TOWERS}[0]__relation_mlp": "hidden_units: [3] use_bn: true",
    },
    "no accumulation": {"train_config__gradient_accumulation_steps": 1},
    "pos_weight": {
        f"{TOWERS}[0]__losses": "binary_cross_entropy { pos_weight: 3 label_smoothing: 0.1 }",
        f"{TOWERS}[1]__losses": "binary_cross_entropy { pos_weight: 0.5 }",
    },
    "focal": {
        f"{TOWERS}[0]__losses": "binary_focal_loss { gamma: 2 alpha: 0.25 }",
        f"{TOWERS}[1]__losses": "binary_focal_loss { gamma: 0.5 }",
    },
    "averages": {"train_config__ema": "decay: 0.9"},
    "one batch norm for each process": {"train_config__sync_batch_norm": False},
    "the mean of each process": {"train_config__loss_mean": "LOCAL_BATCH"},
}


@pytest.mark.parametrize("name", some(OPTIMIZERS, "sgd", "rowwise", "adam"))
def test_two_processes_have_the_numbers_of_one(folders, tmp_path, two, name) -> None:
    """With every optimizer, its state included, after an epoch of 51 steps with a tail."""
    assert max(compare(folders, tmp_path, two, {SPARSE: OPTIMIZERS[name]})) < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("name", USUAL)
def test_four_processes_have_the_numbers_of_one(folders, tmp_path, four, name) -> None:
    assert max(compare(folders, tmp_path, four, {SPARSE: OPTIMIZERS[name]})) < 1e-5


@pytest.mark.parametrize("name", ["clipped", "no accumulation", "surgery", "averages"])
def test_clipping_accumulation_surgery_and_averages_are_those_of_the_global_batch(
    folders, tmp_path, two, name
) -> None:
    assert max(compare(folders, tmp_path, two, OTHERS[name])) < 1e-5


def test_towers_that_read_others_learn_as_in_one_process(folders, tmp_path, two) -> None:
    assert max(compare(folders, tmp_path, two, OTHERS["relations and surgery"])) < 1e-5


@pytest.mark.parametrize("name", some(["pos_weight", "focal"], "focal"))
def test_losses_for_rare_labels_are_those_of_the_global_batch(folders, tmp_path, two, name) -> None:
    """One tower weighs all rows alike, the other by a column, and some rows lack its label."""
    assert max(compare(folders, tmp_path, two, OTHERS[name])) < 1e-5


@pytest.mark.parametrize("name", ["one batch norm for each process", "the mean of each process"])
def test_what_goes_by_each_process_is_another_model(folders, tmp_path, two, name) -> None:
    """The comparison above can tell: these differ by more, though little."""
    losses, results, _ = compare(folders, tmp_path, two, OTHERS[name])
    assert 1e-4 < losses < 1
    assert results < 0.2
