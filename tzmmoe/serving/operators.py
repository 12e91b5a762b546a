"""The operators that an exported program may call, and what it may give them.

``OURS`` is what torch 2.13 makes of every model, loss, activation, norm and kind of feature of this
package: ``tests/serving/test_operators.py`` exports them all, and fails if one is missing here or
is here without need. ``OF_USERS`` is for classes of a user's. It was chosen from torch's list by
hand: pure functions of tensors that give the same result for the same input, that change nothing,
and whose every output is filled. Some operators read or write outside the memory of a tensor if
their arguments are wrong (as_strided, _reshape_alias), give memory as it was (empty), write files
(save), set a state of the process (manual_seed, set_grad_enabled) or change a weight (anything with
a trailing underscore). None of these is on the list.

Sizes that operators take are not limited here: ``memory.py`` finds out how much memory the whole
program would take, and so also what comes of sizes by way of cat or a product.
"""

from collections.abc import Callable, Iterator, Mapping
from operator import getitem
from typing import Any

import torch
from torch import fx

from tzmmoe import private_torch

OURS = frozenset(
    "torch.ops.aten." + name
    for name in """
    _assert_tensor_metadata.default abs.default add.Tensor alias.default amax.default amin.default
    batch_norm.default bmm.default cat.default clamp.default cos.default cumsum.default
    detach.default div.Tensor einsum.default elu.default embedding_bag.padding_idx exp.default
    expand_as.default flatten.using_ints floor.default ge.Scalar gelu.default gt.Scalar index.Tensor
    isnan.default layer_norm.default leaky_relu.default lift_fresh_copy.default linear.default
    log.default logsumexp.default masked_fill.Scalar matmul.default maximum.default mean.dim
    minimum.default mul.Tensor neg.default new_zeros.default ones_like.default permute.default
    pow.Scalar pow.Tensor_Scalar prelu.default reciprocal.default relu.default repeat.default
    repeat_interleave.self_Tensor repeat_interleave.self_int reshape.default rsqrt.default
    rsub.Scalar select.int selu.default sigmoid.default silu.default sin.default slice.Tensor
    softmax.int split.Tensor split_with_sizes.default sqrt.default square.default squeeze.dim
    squeeze.dims stack.default sub.Tensor sum.dim_IntList sym_size.int tanh.default to.dtype
    transpose.int tril.default triu.default unbind.int unflatten.int unsqueeze.default view.default
    view_as.default where.ScalarOther where.ScalarSelf where.self zeros.default zeros_like.default
    """.split()
)
OF_USERS = frozenset(
    "torch.ops.aten." + name
    for name in """
    acos.default asin.default atan.default atan2.default ceil.default celu.default cosh.default
    erf.default erfc.default exp2.default expm1.default hardsigmoid.default hardswish.default
    hardtanh.default isfinite.default isinf.default log10.default log1p.default
    log2.default log_sigmoid.default logit.default mish.default nan_to_num.default relu6.default
    round.default sign.default sinh.default softplus.default tan.default trunc.default

    add.Scalar addcmul.default bitwise_and.Tensor bitwise_not.default bitwise_or.Tensor clamp.Tensor
    clamp_max.default clamp_min.default div.Scalar div.Tensor_mode eq.Scalar eq.Tensor
    floor_divide.default fmod.Scalar fmod.Tensor ge.Tensor gt.Tensor le.Scalar le.Tensor lerp.Scalar
    lerp.Tensor logaddexp.default logical_and.default logical_not.default logical_or.default
    logical_xor.default lt.Scalar lt.Tensor mul.Scalar ne.Scalar ne.Tensor pow.Tensor_Tensor
    remainder.Scalar remainder.Tensor rsub.Tensor sub.Scalar where.Scalar
    xlogy.Tensor

    all.default all.dim any.default any.dim argmax.default argmin.default cummax.default
    cumprod.default linalg_vector_norm.default log_softmax.int max.default max.dim mean.default
    min.default min.dim norm.ScalarOpt_dim prod.default prod.dim_int std.correction std.dim
    sum.default topk.default sort.default var.correction var.dim

    addmm.default baddbmm.default dot.default embedding.default mm.default mv.default
    rms_norm.default scaled_dot_product_attention.default

    arange.default arange.start arange.start_step broadcast_to.default chunk.default clone.default
    contiguous.default diagonal.default dropout.default expand.default flip.default full.default
    full_like.default gather.default index_select.default movedim.int narrow.default
    new_full.default new_ones.default ones.default roll.default scalar_tensor.default
    squeeze.default swapaxes.default t.default tile.default to.device to.dtype_layout
    type_as.default
    """.split()
)
# Arithmetic on sizes.
OF_SIZES = frozenset(f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "neg"))
ALL = OURS | OF_USERS | OF_SIZES

# What the file may say of an argument, by its tag: no graph, no function, no object.
KINDS = frozenset(
    f"as_{kind}"
    for kind in (
        *("none", "tensor", "tensors", "optional_tensors", "int", "ints", "float", "floats"),
        *("bool", "string", "sym_int", "sym_ints", "scalar_type", "device", "layout"),
        "memory_format",
    )
)
RESULTS = frozenset({"as_none", "as_tensor", "as_tensors", "as_sym_int"})

# Values that an argument of this name has in every export. What trains draws random numbers or
# moves statistics; what is pinned starts CUDA.
FIXED: Mapping[str, Any] = {"train": False, "training": False, "pin_memory": False}
# Values of arguments that are neither numbers nor tensors.
TYPES = tuple(
    getattr(torch, name)
    for name in (
        *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
        *("bool", "bfloat16"),
    )
)
CHOICES: Mapping[str, tuple] = {
    "dtype": TYPES,
    "layout": (torch.strided,),
    "device": (torch.device("cpu"),),
    "memory_format": (torch.contiguous_format, torch.preserve_format),
}
DROPOUT = "dropout_p"


def calls_of(program: torch.export.ExportedProgram) -> Iterator[tuple[str, fx.Node]]:
    """The name of the operator that each node calls, as the file has it."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
            if node.op == "call_function" and node.target is not getitem:
                yield name_of(node.target), node


def name_of(target: Callable) -> str:
    if private_torch.is_operator(target):
        namespace = getattr(target, "namespace", "higher_order")
        return f"torch.ops.{namespace}.{str(target).removeprefix(f'{namespace}.')}"
    return f"{target.__module__}.{target.__name__}"


def faults_of(program: torch.export.ExportedProgram) -> list[str]:
    """What is wrong with the calls of a program, each with the operator's name; [] if nothing."""
    lengths = _lengths(program)
    faults = []
    for name, node in calls_of(program):
        if name not in ALL:
            faults.append(f"{name} is not on the list of operators that an export may call")
        elif private_torch.is_overload(node.target):
            faults += [f"{name}: {fault}" for fault in _faults_of_call(name, node, lengths)]
    return list(dict.fromkeys(faults))


def _faults_of_call(name: str, node: fx.Node, lengths: set[fx.Node]) -> Iterator[str]:
    values = arguments(node)
    for argument, value in FIXED.items():
        if values.get(argument, value) not in (value, None):
            yield f"{argument} is {values[argument]}, not {value}"
    for argument, value in values.items():
        # torch takes a number for a type without looking, and then reads outside its tables.
        if value is not None and value not in CHOICES.get(argument, (value,)):
            yield f"{argument} is {value!r}, not one of {', '.join(map(str, CHOICES[argument]))}"
    if values.get(DROPOUT):
        yield f"{DROPOUT} is {values[DROPOUT]}, not 0"
    if name.endswith(".embedding_bag.padding_idx"):
        # With any other mode or offsets, torch reads outside the table instead of complaining.
        if values["mode"] != 0 or values["include_last_offset"] is not True:
            yield "must add up (mode 0), with the last offset included"
        if not _is_offsets(values["offsets"], lengths):
            yield "offsets must be 0, followed by the running total of an input's lengths"
    if name.endswith(".repeat_interleave.self_Tensor"):
        if not _is_flat(values["repeats"], lengths):
            yield "repeats must be an input's lengths"
        if not isinstance(values["output_size"], fx.Node):
            yield "output_size must be the size of an input"


def arguments(node: fx.Node) -> dict[str, Any]:
    """The value of each argument of the schema, also of those that the call leaves out."""
    schema = private_torch.arguments(node.target)
    given = dict(zip((each.name for each in schema), node.args, strict=False)) | dict(node.kwargs)
    return {each.name: given.get(each.name, each.default_value) for each in schema}


def _lengths(program: torch.export.ExportedProgram) -> set[fx.Node]:
    """The nodes of the inputs ``lengths_<width>``, which hold counts: none is below 0.

    By place, since the name of a node may be anything.
    """
    names = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    given = [
        node
        for node in program.graph.nodes
        if node.op == "placeholder" and names[node.name].kind.name == "USER_INPUT"
    ]
    inputs = program.call_spec.in_spec.children()[0].children()[0]
    keys = list(inputs.context) if inputs.type is dict else []
    if len(keys) != len(given):
        return set()
    return {node for key, node in zip(keys, given, strict=True) if str(key).startswith("lengths_")}


def _is_flat(value: Any, lengths: set[fx.Node]) -> bool:
    """Whether a value is an input's lengths, in one dimension."""
    if not isinstance(value, fx.Node):
        return False
    return value in lengths or (
        _calls(value, "flatten.using_ints") and arguments(value)["self"] in lengths
    )


def _is_offsets(value: Any, lengths: set[fx.Node]) -> bool:
    """Whether a value is 0 and the running total of an input's lengths, in 64 bits."""
    if not _calls(value, "cat.default") or arguments(value)["dim"] != 0:
        return False
    parts = list(arguments(value)["tensors"])
    if len(parts) != 2 or not (_calls(parts[0], "new_zeros.default") and _sums(parts[1], lengths)):
        return False
    zero = arguments(parts[0])
    return list(zero["size"]) == [1] and zero["self"] is parts[1] and zero["dtype"] is None


def _sums(value: Any, lengths: set[fx.Node]) -> bool:
    if not _calls(value, "cumsum.default"):
        return False
    given = arguments(value)
    return given["dim"] == 0 and given["dtype"] is None and _is_flat(given["self"], lengths)


def _calls(value: Any, name: str) -> bool:
    if not (isinstance(value, fx.Node) and value.op == "call_function"):
        return False
    return name_of(value.target) == f"torch.ops.aten.{name}"
