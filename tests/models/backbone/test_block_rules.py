"""How blocks are ordered, named, joined and run: the rules of EasyRec's component form."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from models.backbone.blocks import body, fields, inputs, results
from torch import Tensor
from torch.testing import assert_close

from tzmmoe.models.backbone import Backbone

X = inputs()
LIST = "input_layer { only_output_feature_list: true }"


def dense(name: str, units: int, *sources: str) -> str:
    return block(name, *sources, f"keras_layer {{ dense {{ units: {units} }} }}")


def block(name: str, *parts: str) -> str:
    """A part is a text, or the name of a block or group that is read."""
    written = [
        part if " " in part else f'inputs {{ feature_group_name: "{part}" }}' for part in parts
    ]
    return f'blocks {{ name: "{name}" {" ".join(written)} }}\n'


def layers(model: Backbone, name: str) -> list[torch.nn.Module]:
    """The made layers of a block, also those of its repeats."""
    found = model.graph.blocks[f"block_{name}"].steps.modules()
    return [part.module for part in found if hasattr(part, "module")]


def affine(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return x @ layer.linear.weight.T + layer.linear.bias


def output(model: Backbone, x: dict[str, Tensor] = X) -> Tensor:
    """What all towers get."""
    first, second = model(x).hidden
    assert first is second
    return first


def test_a_block_that_names_a_group_reads_its_concatenation(tmp_path: Path) -> None:
    model = body(tmp_path, dense("a", 3, "all"))
    assert_close(output(model), affine(layers(model, "a")[0], X["all"]))


def test_the_name_of_a_block_goes_before_that_of_a_group(tmp_path: Path) -> None:
    text = block("all", "mixed", "input_layer {}") + dense("a", 3, "all")
    model = body(tmp_path, text)
    assert_close(output(model), affine(layers(model, "a")[0], X["mixed"]))
    assert list(model.groups) == ["mixed"]


def test_blocks_may_stand_in_any_order(tmp_path: Path) -> None:
    parts = [dense("a", 3, "all"), dense("b", 2, "a"), block("c", "b", "a")]
    for text in ("".join(parts), "".join(reversed(parts))):
        model = body(tmp_path, text)
        a = affine(layers(model, "a")[0], X["all"])
        b = affine(layers(model, "b")[0], a)
        assert_close(output(model), torch.cat([b, a], dim=1))


def test_a_block_whose_value_many_read_runs_once(tmp_path: Path) -> None:
    text = dense("a", 3, "all") + block("b", "a") + block("c", "a") + block("d", "b", "c", "a")
    model = body(tmp_path, text)
    calls = []
    layers(model, "a")[0].register_forward_hook(lambda *_: calls.append(1))
    a = affine(layers(model, "a")[0], X["all"])
    assert_close(output(model), torch.cat([a, a, a], dim=1))
    assert len(calls) == 1


def test_a_slice_comes_before_a_function_and_both_before_joining(tmp_path: Path) -> None:
    trimmed = (
        "inputs { feature_group_name: 'all' input_slice: '[:, 2:5]' input_fn: 'lambda x: 2*x' }"
    )
    model = body(tmp_path, block("a", trimmed, "pair", "extra_input_fn: 'lambda x: x[:, 1:]'"))
    assert_close(output(model), torch.cat([2 * X["all"][:, 2:5], X["pair"]], dim=1)[:, 1:])


def test_lists_become_one_list_and_tensors_their_elements_in_order(tmp_path: Path) -> None:
    text = block("list", "pair", LIST) + block("other", "mixed", LIST)
    text += block("a", "list", "all", "other") + block(
        "b", "a", "lambda { expression: 'lambda x: [x[0], x[4]]' }"
    )
    model = body(tmp_path, text)
    found = results(model, X)["a"]
    wanted = [*fields("pair", X), X["all"], *fields("mixed", X)]
    assert len(found) == len(wanted) == 5
    for own, each in zip(found, wanted, strict=True):
        assert_close(own, each)


def test_one_input_stays_what_it_is(tmp_path: Path) -> None:
    text = block("list", "pair", LIST) + block("a", "list")
    model = body(tmp_path, text)
    first, second = model(X).hidden
    assert_close([first, second], list(fields("pair", X)))


@pytest.mark.parametrize(
    ("axis", "dim"), [("input_concat_axis: -1", 1), ("input_concat_axis: 1", 1)]
)
def test_tensors_are_concatenated(tmp_path: Path, axis: str, dim: int) -> None:
    model = body(tmp_path, block("a", "mixed", "pair", axis))
    assert_close(output(model), torch.cat([X["mixed"], X["pair"]], dim=dim))


def test_tensors_with_three_axes_are_concatenated_along_the_one_that_is_set(tmp_path) -> None:
    cube = "input_layer { only_output_3d_tensor: true }"
    text = block("x", "all", cube) + block("y", "pair", cube)
    text += block("a", "x", "y", "input_concat_axis: 1")
    text += block("b", "a", "keras_layer { flatten {} }")
    wanted = torch.cat([torch.stack(fields(name, X), dim=1) for name in ("all", "pair")], dim=1)
    assert_close(output(body(tmp_path, text)), wanted.flatten(1))


def test_merge_inputs_into_list_joins_nothing(tmp_path: Path) -> None:
    text = block("list", "pair", LIST)
    text += block("a", "list", "all", "merge_inputs_into_list: true")
    text += block("b", "a", "lambda { expression: 'lambda x: tf.concat([x[1], x[0][1]], axis=1)' }")
    wanted = torch.cat([X["all"], fields("pair", X)[1]], dim=1)
    assert_close(output(body(tmp_path, text)), wanted)
    alone = block("a", "all", "merge_inputs_into_list: true")
    alone += block("b", "a", "lambda { expression: 'lambda x: x[0]' }")
    assert_close(output(body(tmp_path, alone)), X["all"])


def test_an_ignored_input_is_not_read_but_keeps_its_block(tmp_path: Path, caplog) -> None:
    ignored = "inputs { block_name: 'late' ignore_input: true }"
    text = block("a", ignored, "pair") + dense("late", 3, "all")
    model = body(tmp_path, text)
    assert_close(output(model), X["pair"])
    assert model.graph.order == ["late", "a"]
    assert "reach no output" not in caplog.text
    assert not any(p.requires_grad for p in layers(model, "late")[0].parameters())


def test_layers_run_in_sequence(tmp_path: Path) -> None:
    sequence = "layers { keras_layer { dense { units: 5 } } }"
    sequence += " layers { lambda { expression: 'lambda x: x[:, :4]' } }"
    sequence += " layers { recurrent { num_steps: 2 keras_layer { dense { units: 4 } } } }"
    sequence += (
        " layers { repeat { num_repeat: 2 output_concat_axis: 1 "
        "keras_layer { dense { units: 2 } } } }"
    )
    model = body(tmp_path, block("a", "all", sequence))
    first, second, third, left, right = layers(model, "a")
    x = affine(third, affine(second, affine(first, X["all"])[:, :4]))
    assert_close(output(model), torch.cat([affine(left, x), affine(right, x)], dim=1))


def test_a_recurrent_layer_has_weights_of_its_own_in_each_step(tmp_path: Path) -> None:
    text = block("a", "all", "recurrent { num_steps: 3 keras_layer { dense { units: 12 } } }")
    model = body(tmp_path, text)
    made = layers(model, "a")
    assert len({id(layer) for layer in made}) == len(made) == 3
    x = X["all"]
    for layer in made:
        x = affine(layer, x)
    assert_close(output(model), x)


@pytest.mark.parametrize("fixed", [0, 1])
def test_a_fixed_input_stays_in_its_place_and_is_no_part_of_the_result(tmp_path, fixed) -> None:
    """DCN v2: x_0 * (W x_l + b) + x_l; with the other index x_l * (W x_0 + b) + x_0."""
    twice = "inputs { feature_group_name: 'all' input_fn: 'lambda x: [x, 2 * x]' }"
    layer = f"recurrent {{ num_steps: 3 fixed_input_index: {fixed} keras_layer {{ cross {{}} }} }}"
    model = body(tmp_path, block("a", twice, layer))
    pair = [X["all"], 2 * X["all"]]
    for made in layers(model, "a"):
        x0, x = pair
        weight, bias = made.linear.weight, made.linear.bias
        pair[1 - fixed] = x0 * (x @ weight.T + bias) + x
    assert_close(output(model), pair[1 - fixed])


def test_repeats_have_weights_of_their_own_and_give_a_list(tmp_path: Path) -> None:
    text = block("a", "all", "repeat { num_repeat: 2 keras_layer { dense { units: 3 } } }")
    model = body(tmp_path, text)
    found = model(X).hidden
    assert_close(list(found), [affine(layer, X["all"]) for layer in layers(model, "a")])


def test_a_repeat_may_read_its_own_part(tmp_path: Path) -> None:
    text = block("list", "all", LIST)
    sliced = (
        "repeat { num_repeat: 3 output_concat_axis: -1 input_slice: '[i]' "
        "input_fn: 'lambda x, i: (i + 1) * x' keras_layer { dense { units: 2 } } }"
    )
    model = body(tmp_path, text + block("a", "list", sliced))
    parts = [
        affine(layer, (i + 1) * part)
        for i, (layer, part) in enumerate(zip(layers(model, "a"), fields("all", X), strict=True))
    ]
    assert_close(output(model), torch.cat(parts, dim=1))


def test_one_repeat_gives_a_tensor(tmp_path: Path) -> None:
    text = block("a", "all", "repeat { num_repeat: 1 keras_layer { dense { units: 3 } } }")
    model = body(tmp_path, text)
    assert_close(output(model), affine(layers(model, "a")[0], X["all"]))


def test_leaves_join_in_the_order_of_declaration(tmp_path: Path) -> None:
    text = block("late", "early") + block("first", "pair") + block("early", "all")
    assert_close(output(body(tmp_path, text)), torch.cat([X["all"], X["pair"]], dim=1))


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"]])
def test_listed_blocks_join_in_the_order_of_the_list(tmp_path: Path, names: list[str]) -> None:
    text = block("a", "all") + block("b", "pair")
    values = {"a": X["all"], "b": X["pair"]}
    wanted = [values[name] for name in names]
    model = body(tmp_path, f"{text} concat_blocks: {names}")
    assert_close(output(model), torch.cat(wanted, dim=1))
    model = body(tmp_path, f"{text} output_blocks: {names}")
    assert_close(list(model(X).hidden), wanted)


def test_the_top_mlp_reads_a_list_as_one_tensor(tmp_path: Path) -> None:
    text = block("list", "pair", LIST) + "top_mlp { hidden_units: [3] final_activation: 'linear' }"
    model = body(tmp_path, text)
    layer = model.top.network.layers[0]
    norm = layer.norm
    x = X["pair"] @ layer.linear.weight[0].T
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    assert_close(output(model), (x - norm.running_mean) * scale + norm.bias)


def test_a_list_gives_each_tower_its_own_and_a_tensor_is_that_of_all(tmp_path: Path) -> None:
    mmoe = "keras_layer { mmoe { num_task: 2 num_expert: 3 expert_mlp { hidden_units: [4] } } }"
    model = body(tmp_path, block("a", "all", mmoe))
    found = model(X).hidden
    assert_close(list(found), list(results(model, X)["a"]))
    assert not torch.equal(found[0], found[1])


def test_an_mmoe_on_an_mmoe_reads_the_join_and_the_inner_number_of_tasks_is_free(tmp_path) -> None:
    mmoe = (
        "keras_layer {{ mmoe {{ num_task: {} num_expert: 2 expert_mlp {{ "
        "hidden_units: [4] use_bn: false use_final_bn: false }} }} }}"
    )
    text = block("l0", "all", mmoe.format(3))
    text += block(
        "l1",
        "inputs { block_name: 'l0' input_fn: 'lambda x: tf.concat(x, axis=1)' }",
        mmoe.format(2),
    )
    model = body(tmp_path, text)

    def by_loops(layer: torch.nn.Module, x: Tensor) -> list[Tensor]:
        [linear] = [each.linear for each in layer.experts.layers]
        experts = [(x @ weight.T).relu() for weight in linear.weight]
        gates = layer.gates.final
        found = []
        for weight, bias in zip(gates.weight, gates.bias.view(len(gates.weight), -1), strict=True):
            shares = (x @ weight.T + bias).softmax(dim=1)
            found.append(sum(shares[:, [e]] * expert for e, expert in enumerate(experts)))
        return found

    joined = torch.cat(by_loops(layers(model, "l0")[0], X["all"]), dim=1)
    assert joined.shape == (5, 12)
    assert_close(list(model(X).hidden), by_loops(layers(model, "l1")[0], joined))


PACKAGE = """
packages {
  name: "shared"
  blocks {
    name: "in" inputs { feature_group_name: "all" }
    input_layer { only_output_feature_list: true }
  }
  blocks {
    name: "scaled" inputs { block_name: "in" input_fn: "lambda x: tf.concat(x, axis=1)" }
    keras_layer { dense { units: 3 } }
  }
}
"""
USE = "inputs { package_name: 'shared' }"


def test_a_package_is_used_often_with_the_same_weights(tmp_path: Path) -> None:
    text = PACKAGE + block("a", USE, "lambda { expression: 'lambda x: 2 * x' }")
    text += block("b", USE, "a")
    model = body(tmp_path, text)
    [layer] = [m.module for m in model.modules() if hasattr(m, "module")]
    x = affine(layer, X["all"])
    assert_close(output(model), torch.cat([x, 2 * x], dim=1))
    assert list(model.groups) == ["all"]


def test_reset_input_holds_for_one_use_alone(tmp_path: Path) -> None:
    """In EasyRec for all that come after it, too."""
    plain = PACKAGE.replace("only_output_feature_list: true", "")
    plain = plain.replace("tf.concat(x, axis=1)", "2 * x")
    norm = "inputs { package_name: 'shared' reset_input { do_layer_norm: true } }"
    model = body(
        tmp_path,
        plain + block("a", "inputs { package_name: 'shared' }", norm) + block("b", "a", USE),
    )
    [layer] = [m.module for m in model.modules() if hasattr(m, "module")]
    block_in = model.packages["package_shared"].blocks["block_in"]
    [own] = [m for m in block_in.modules() if isinstance(m, torch.nn.LayerNorm)]
    x = X["all"]
    centred = x - x.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-12).sqrt()
    other = affine(layer, 2 * (normed * own.weight + own.bias))
    one = affine(layer, 2 * x)
    assert_close(output(model), torch.cat([one, other, one], dim=1))


def test_uses_with_other_settings_in_blocks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Of the main graph and of another package: each has a layer of its own."""
    inner = PACKAGE.replace("only_output_feature_list: true", "").replace(
        "tf.concat(x, axis=1)", "x"
    )
    reset = "inputs {{ package_name: 'shared' reset_input {{ {} }} }}"
    other = f"packages {{ name: 'other' {block('x', reset.format('do_layer_norm: true'))} }}"
    text = inner + other + block("x", reset.format("do_batch_norm: true"))
    text += block("y", "inputs { package_name: 'other' }", "x")
    model = body(tmp_path, text)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 1
    [layer] = [m.module for m in model.modules() if hasattr(m, "module")]
    layer_normed, batch_normed = output(model).split(3, dim=1)
    x = X["all"]
    centred = x - x.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-12).sqrt()
    assert_close(layer_normed, affine(layer, normed * norms[0].weight + norms[0].bias))
    assert not torch.allclose(layer_normed, batch_normed)


def test_a_package_gets_an_input_and_reads_blocks_outside(tmp_path: Path) -> None:
    text = """
    packages {
      name: "p"
      blocks { name: "sum" inputs { use_package_input: true } inputs { block_name: "outside" } }
    }
    """
    text += block("outside", "pair")
    use = "inputs {{ package_name: 'p' package_input: '{}' package_input_fn: 'lambda x: {} * x' }}"
    text += block("one", "mixed") + block("a", use.format("one", 2), use.format("outside", 3))
    wanted = [2 * X["mixed"], X["pair"], 3 * X["pair"], X["pair"]]
    assert_close(output(body(tmp_path, text)), torch.cat(wanted, dim=1))


def test_in_a_package_too_a_block_outside_goes_before_a_group_of_its_name(tmp_path: Path) -> None:
    text = "packages { name: 'p' blocks { name: 'x' inputs { feature_group_name: 'all' } } }"
    text += block("all", "mixed", "input_layer {}") + block("a", "inputs { package_name: 'p' }")
    assert_close(output(body(tmp_path, text)), X["mixed"])


def test_a_package_that_no_block_uses_is_not_built_and_said(tmp_path: Path, caplog) -> None:
    model = body(tmp_path, PACKAGE + block("a", "pair"))
    assert not list(model.parameters())
    assert "packages: shared" in caplog.text


def test_a_block_that_reaches_no_output_is_not_built_and_said_once(tmp_path: Path, caplog) -> None:
    text = dense("dead", 3, "all") + dense("deader", 3, "dead") + block("a", "pair")
    model = body(tmp_path, text + "concat_blocks: ['a']")
    assert not list(model.parameters())
    assert caplog.text.count("reach no output, and are not built: 'dead', 'deader'") == 1


STOPPED = block(
    "s",
    "all",
    "layers { keras_layer { dense { units: 3 } } } layers { lambda { "
    "expression: 'lambda x: tf.stop_gradient(x)' } }",
)


@pytest.mark.parametrize("beside", ["", dense("b", 2, "pair")])
def test_weights_that_reach_no_loss_are_frozen(tmp_path: Path, caplog, beside: str) -> None:
    model = body(tmp_path, STOPPED + beside)
    assert not any(p.requires_grad for p in layers(model, "s")[0].parameters())
    if beside:
        assert all(p.requires_grad for p in layers(model, "b")[0].parameters())
    assert "not trained" in caplog.text


def everything() -> str:
    text = PACKAGE + block(
        "list",
        "all",
        "input_layer { only_output_feature_list: true do_batch_norm: true "
        "dropout_rate: 0.2 feature_dropout_rate: 0.2 }",
    )
    text += block("se-net", "list", "keras_layer { senet {} }") + block(
        "se_net", "list", "keras_layer { senet {} }"
    )
    text += block(
        "keys",
        "se-net",
        "se_net",
        USE,
        "keras_layer { mmoe { num_task: 2 num_expert: 2 expert_mlp { "
        "hidden_units: [4] dropout_ratio: [0.3] } } }",
    )
    return text


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_the_same_and_shares_nothing(tmp_path: Path, copied) -> None:
    model = body(tmp_path, everything())
    other = copied(model)
    assert_close(list(other(X).hidden), list(model(X).hidden), rtol=0, atol=0)
    before = [h.clone() for h in model(X).hidden]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not torch.equal(other(X).hidden[0], before[0])
    assert_close(list(model(X).hidden), before, rtol=0, atol=0)


def test_names_of_tensors_are_plain_and_do_not_depend_on_the_order_of_blocks(tmp_path) -> None:
    text = everything()
    names = set(body(tmp_path, text).state_dict())
    package = text[: text.index('blocks { name: "list"')]
    moved = [part for part in text[len(package) :].splitlines() if part]
    assert set(body(tmp_path, package + "\n".join(reversed(moved))).state_dict()) == names
    for name in names:
        assert not set(name) & set("/ \\:"), name


@pytest.mark.parametrize("num_rows", [0, 1])
@pytest.mark.parametrize("trains", [True, False])
def test_few_rows_or_none_give_as_many(tmp_path: Path, num_rows: int, trains: bool) -> None:
    model = body(tmp_path, everything()).train(trains)
    found = model(inputs(num_rows)).hidden
    assert [part.shape for part in found] == [(num_rows, 4)] * 2
    sum(part.sum() for part in found).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_dropout_acts_in_training_alone(tmp_path: Path) -> None:
    model = body(tmp_path, everything())
    assert_close(list(model(X).hidden), list(model(X).hidden), rtol=0, atol=0)
    model.train()
    assert not torch.equal(model(X).hidden[0], model(X).hidden[0])


def test_the_table_says_what_each_block_reads_gives_and_learns(tmp_path: Path) -> None:
    text = block("list", "all", LIST) + dense(
        "wide", 5, "pair", "inputs { block_name: 'list' input_fn: 'lambda x: x[0]' }"
    )
    text += PACKAGE + block("a", "wide", USE)
    rows = [
        (part.name, list(part.reads), part.layer, part.gives, part.parameters)
        for part in body(tmp_path, text).parts()
    ]
    assert rows == [
        ("list", ["group all"], "input_layer", "[3 x (B, 4)]", 0),
        ("wide", ["group pair", "list"], "dense", "(B, 5)", 12 * 5 + 5),
        ("a", ["wide", "package shared"], "join", "(B, 8)", 0),
        ("package shared", ["group all"], "input_layer, dense", "", 12 * 3 + 3),
    ]
