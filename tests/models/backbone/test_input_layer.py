"""The forms, norms and dropout of an input layer, each by hand."""

from pathlib import Path

import pytest
import torch
from models.backbone.blocks import body, faults, fields, inputs, results
from torch import Tensor, nn
from torch.testing import assert_close

from tzmmoe.models.backbone import Backbone
from tzmmoe.models.backbone.flow import tensors

X = inputs(6)
FORMS = {
    "2d": "",
    "list": "only_output_feature_list: true",
    "3d": "only_output_3d_tensor: true",
    "both": "output_2d_tensor_and_feature_list: true",
}


def made(folder: Path, settings: str, group: str = "all") -> Backbone:
    """An input layer whose parts are joined, so that it reaches the towers."""
    text = f'blocks {{ name: "x" inputs {{ feature_group_name: "{group}" }} '
    text += f"input_layer {{ {settings} }} }}\n"
    joined = "tf.concat([x[0], tf.concat(x[1], axis=1)], axis=1)"
    whole = {"list": "tf.concat(x, axis=1)", "3d": "tf.reshape(x, [-1, 12])", "both": joined}
    form = next((name for name, word in FORMS.items() if word and word in settings), "2d")
    text += 'blocks { name: "a" inputs { block_name: "x" } '
    return body(folder, f"{text} lambda {{ expression: 'lambda x: {whole.get(form, 'x')}' }} }}")


def value(model: Backbone, x: dict[str, Tensor] = X) -> list[Tensor]:
    return list(tensors(results(model, x)["x"]))


def test_the_forms_are_those_of_the_group(tmp_path: Path) -> None:
    parts = list(fields("all", X))
    assert_close(value(made(tmp_path, FORMS["2d"])), [X["all"]])
    assert_close(value(made(tmp_path, FORMS["list"])), parts)
    assert_close(value(made(tmp_path, FORMS["3d"])), [torch.stack(parts, dim=1)])
    assert_close(value(made(tmp_path, FORMS["both"])), [X["all"], *parts])


def test_a_list_comes_before_3d_and_3d_before_both(tmp_path: Path) -> None:
    assert_close(value(made(tmp_path, f"{FORMS['list']} {FORMS['both']}")), list(fields("all", X)))
    [cube] = value(made(tmp_path, f"{FORMS['3d']} {FORMS['both']}"))
    assert_close(cube, torch.stack(list(fields("all", X)), dim=1))
    both = f"{FORMS['list']} {FORMS['3d']}"
    assert_close(value(made(tmp_path, both)), list(fields("all", X)))


def by_hand(norm: str, module: nn.Module, x: Tensor) -> Tensor:
    """In evaluation mode, with what EasyRec sets: epsilon 1e-3 and 1e-12."""
    if norm == "do_batch_norm":
        mean, variance, epsilon = module.running_mean, module.running_var, 1e-3
    else:
        mean, epsilon = x.mean(dim=1, keepdim=True), 1e-12
        variance = (x - mean).square().mean(dim=1, keepdim=True)
    return (x - mean) / (variance + epsilon).sqrt() * module.weight + module.bias


@pytest.mark.parametrize("norm", ["do_batch_norm", "do_layer_norm"])
@pytest.mark.parametrize("form", FORMS)
def test_the_concatenation_and_each_feature_have_norms_of_their_own(tmp_path, form, norm) -> None:
    model = made(tmp_path, f"{FORMS[form]} {norm}: true")
    layer = model.graph.blocks["block_x"].layers["own"]
    parts = list(fields("all", X))
    wanted = []
    if form in ("2d", "both"):
        wanted.append(by_hand(norm, layer.norm, X["all"]))
    if form != "2d":
        normed = [by_hand(norm, module, x) for module, x in zip(layer.norms, parts, strict=True)]
        wanted += [torch.stack(normed, dim=1)] if form == "3d" else normed
    assert_close(value(model), wanted)


def test_batch_norm_learns_with_keras_momentum(tmp_path: Path) -> None:
    """0.99 of the old statistics stay; the variance is that of the batch, by Keras divided by B."""
    model = made(tmp_path, "do_batch_norm: true")
    norm = model.graph.blocks["block_x"].layers["own"].norm
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    model.train()(X)
    x = X["all"]
    assert_close(norm.running_mean, 0.99 * mean + 0.01 * x.mean(dim=0))
    found = (norm.running_var - 0.99 * variance) / 0.01
    either = [x.var(dim=0, unbiased=False), x.var(dim=0, unbiased=True)]
    assert any(torch.allclose(found, each) for each in either)


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_dropped_one_by_one_and_the_rest_is_scaled(tmp_path, form) -> None:
    model = made(tmp_path, f"{FORMS[form]} dropout_rate: 0.25").train()
    ones = {name: torch.ones(2000, each.shape[1]).double() for name, each in X.items()}
    found = torch.cat([part.flatten() for part in value(model, ones)])
    assert set(found.round(decimals=6).tolist()) == {0.0, round(1 / 0.75, 6)}
    assert float((found == 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    assert_close(value(model.eval(), ones), value(made(tmp_path, FORMS[form]), ones))


@pytest.mark.parametrize("form", FORMS)
def test_whole_features_are_dropped_for_a_batch_and_the_others_scaled(tmp_path, form) -> None:
    model = made(tmp_path, f"{FORMS[form]} feature_dropout_rate: 0.4").train()
    counts = torch.zeros(3)
    for _ in range(300):
        found = value(model)
        parts = list(found[0].split(4, dim=1)) if form in ("2d", "both") else found
        parts = list(found[0].unbind(1)) if form == "3d" else parts
        if form == "both":
            assert_close(found[1:], parts)
        for place, (own, x) in enumerate(zip(parts, fields("all", X), strict=False)):
            kept = bool(own.any())
            assert_close(own, x / 0.6 if kept else torch.zeros_like(x))
            counts[place] += kept
    assert ((counts / 300 - 0.6).abs() < 0.12).all()
    assert_close(value(model.eval()), value(made(tmp_path, FORMS[form])))


def test_with_feature_dropout_each_feature_has_a_norm_of_its_own_in_2d_too(tmp_path) -> None:
    model = made(tmp_path, "feature_dropout_rate: 0.4 do_layer_norm: true")
    layer = model.graph.blocks["block_x"].layers["own"]
    assert layer.norm is None
    parts = zip(layer.norms, fields("all", X), strict=True)
    wanted = [by_hand("do_layer_norm", module, x) for module, x in parts]
    assert_close(value(model), [torch.cat(wanted, dim=1)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("do_batch_norm: true do_layer_norm: true", ("do_layer_norm", "do_batch_norm", "keep one")),
        ("dropout_rate: 1.0", ("dropout_rate", "is 1")),
        ("feature_dropout_rate: -0.5", ("feature_dropout_rate", "is -0.5")),
        ("only_output_3d_tensor: true", ("only_output_3d_tensor", "item 4, age 2")),
    ],
)
def test_settings_that_do_not_fit_are_told_at_their_line(tmp_path, settings, words) -> None:
    text = 'blocks {\n name: "x" inputs { feature_group_name: "mixed" }\n input_layer {\n'
    [line] = faults(tmp_path, f"{text} {settings}\n }}\n}}")
    for word in words:
        assert word in line
    assert line.startswith("my.config:17: model_config.backbone.blocks[0].input_layer.")


@pytest.mark.parametrize(
    "inputs_",
    [
        'inputs { feature_group_name: "all" } inputs { feature_group_name: "pair" }',
        'inputs { block_name: "other" }',
    ],
)
def test_an_input_layer_reads_one_feature_group(tmp_path: Path, inputs_: str) -> None:
    text = 'blocks { name: "other" inputs { feature_group_name: "all" } }\n'
    text += f'blocks {{ name: "x"\n {inputs_} input_layer {{}} }}'
    [line] = faults(tmp_path, text)
    assert line.startswith("my.config:16: model_config.backbone.blocks[1].inputs")
    assert "'x' has an input_layer, which reads one feature_group_name only" in line
