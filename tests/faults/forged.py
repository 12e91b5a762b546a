"""Exports that a seed forges: their program is edited at random, and every checksum is right.

As a script, it opens those of a range of seeds and scores with what opens, in a process of its own,
since a crash would end it: ``forged.py EXPORT FOLDER FIRST LAST``. A line of JSON tells of each
seed.
"""

import json
import random
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serving.plants import CONSTANTS, PROGRAM, WEIGHTS, Entries, entries_of, write
from serving.sums import sum_up

from tzmmoe.errors import UserError
from tzmmoe.serving.operators import ALL, KINDS
from tzmmoe.serving.scorer import Scorer

ROWS = [
    {"one": 3, "many": "1|2|3", "weighted": "1:0.5|7:2.0", "number": 0.5},
    {"one": 4, "many": "", "weighted": "", "number": -1.5},
    {"one": None, "many": "29", "weighted": "19:1e30", "number": None},
]
Place = tuple[Any, Any]  # a container of the JSON, and a key or an index of it

INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 13, 64, 1000, -1000, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40),
    *(2**63 - 1, 2**63, -(2**63), 2**64, 10**30, -(10**30)),
)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e30, 1e308, -1e308, float("inf"), float("nan"))
TEXTS = (
    *("", "x", "linear", "inputs_ids_4", "s0", "s77", "u0", "Max(s0, 2)", "Mod(s0, 0)", "s0*s0"),
    *("FloorDiv(s0, 0)", "Integer(1)", "batch", "0", "-1", "a" * 300, "a,b", "é", "\x00", "None"),
    *("torch.ops.aten.add.Tensor", "ab,bc->ac", "...,->", "nan", "[]", "{}", "null", "_0", "self"),
)
ANYTHING = (*INTEGERS, *FLOATS, *TEXTS, None, True, False, [], {}, [[]], [None], {"x": 1}, [0, 1])


def places(value: Any) -> Iterator[Place]:
    """Every part of a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def of_kind(value: Any, kind: type | tuple) -> list[Place]:
    return [(o, k) for o, k in places(value) if isinstance(o[k], kind) and o[k] is not None]


def like(old: Any, source: random.Random) -> Any:
    """Another value of the type that a value has."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        near = (old + 1, old - 1, -old, old * 2)
        return source.choice([*near, *INTEGERS])
    if isinstance(old, float):
        return source.choice(FLOATS)
    return source.choice(TEXTS)


def operator(program: dict, source: random.Random) -> None:
    node = source.choice(program["graph_module"]["graph"]["nodes"])
    node["target"] = source.choice(sorted(ALL))


def value(program: dict, source: random.Random) -> None:
    """Of an argument of a call."""
    node = source.choice(program["graph_module"]["graph"]["nodes"])
    owner, key = source.choice(of_kind(node["inputs"], (bool, int, float, str)))
    owner[key] = like(owner[key], source)


def kind(program: dict, source: random.Random) -> None:
    """Of an argument of a call."""
    node = source.choice([n for n in program["graph_module"]["graph"]["nodes"] if n["inputs"]])
    argument = source.choice(node["inputs"])
    (_, old), *_ = argument["arg"].items()
    new = source.choice(sorted(KINDS))
    argument["arg"] = {new: source.choice([old, [old], like(0, source), *ANYTHING])}


def arguments(program: dict, source: random.Random) -> None:
    """Fewer or more of them, or of another call."""
    nodes = [n for n in program["graph_module"]["graph"]["nodes"] if n["inputs"]]
    node, other = source.choice(nodes), source.choice(nodes)
    number = source.randrange(len(node["inputs"]))
    change = source.randrange(5)
    if change == 0:
        del node["inputs"][number]
    elif change == 1:
        node["inputs"].insert(number, dict(source.choice(other["inputs"])))
    elif change == 2:
        node["inputs"][number] = json.loads(json.dumps(source.choice(other["inputs"])))
    elif change == 3:
        source.shuffle(node["inputs"])
    else:
        node["inputs"] = json.loads(json.dumps(other["inputs"]))


def results(program: dict, source: random.Random) -> None:
    """Fewer or more of a call, or those of another."""
    nodes = program["graph_module"]["graph"]["nodes"]
    node, other = source.choice(nodes), source.choice(nodes)
    change = source.randrange(3)
    if change == 0:
        node["outputs"] = []
    elif change == 1:
        node["outputs"] = json.loads(json.dumps(other["outputs"]))
    else:
        node["outputs"] += json.loads(json.dumps(other["outputs"]))


def calls(program: dict, source: random.Random) -> None:
    """Fewer, more, or in another order."""
    nodes = program["graph_module"]["graph"]["nodes"]
    first, second = source.randrange(len(nodes)), source.randrange(len(nodes))
    change = source.randrange(4)
    if change == 0:
        del nodes[first]
    elif change == 1:
        nodes.insert(second, json.loads(json.dumps(nodes[first])))
    elif change == 2:
        nodes[first], nodes[second] = nodes[second], nodes[first]
    else:
        nodes.reverse()


def shape(program: dict, source: random.Random) -> None:
    """Of a tensor, or the range or the formula of a size."""
    graph = program["graph_module"]["graph"]
    parts = [graph["tensor_values"], graph["sym_int_values"], program["range_constraints"]]
    parts = [part for part in parts if part]
    owner, key = source.choice(of_kind(source.choice(parts), (bool, int, str)))
    owner[key] = like(owner[key], source)


def dtype(program: dict, source: random.Random) -> None:
    owner, key = source.choice(
        [(o, k) for o, k in places(program) if k in ("dtype", "as_scalar_type", "layout", "device")]
    )
    fitting = isinstance(owner[key], int)
    owner[key] = source.choice(range(-2, 40)) if fitting else source.choice(ANYTHING)


def name(program: dict, source: random.Random) -> None:
    """Of a value, where it is made or where it is taken; or of any other thing."""
    owner, key = source.choice(of_kind(program, str))
    names = list(program["graph_module"]["graph"]["tensor_values"])
    owner[key] = source.choice([*names, *TEXTS])


def signature(program: dict, source: random.Random) -> None:
    """How inputs and outputs are listed, or nested."""
    module = program["graph_module"]
    part = source.choice(["input_specs", "output_specs", "inputs", "outputs", "tree"])
    if part == "tree":
        calling = module["module_call_graph"][0]["signature"]
        which = source.choice(["in_spec", "out_spec"])
        tree = json.loads(calling[which])
        owner, key = source.choice(list(places(tree)))
        owner[key] = source.choice([*ANYTHING, tree[1], ["a", "b"], '["a","b"]', "builtins.dict"])
        calling[which] = json.dumps(tree)
        return
    owner = module["signature"] if part.endswith("specs") else module["graph"]
    change = source.randrange(4)
    if change == 0:
        source.shuffle(owner[part])
    elif change == 1:
        owner[part].pop(source.randrange(len(owner[part])))
    elif change == 2:
        owner[part].append(json.loads(json.dumps(source.choice(owner[part]))))
    else:
        place, key = source.choice(list(places(owner[part])))
        place[key] = source.choice(ANYTHING)


def nesting(program: dict, source: random.Random) -> None:
    """A value in lists or in dicts, or without those around it."""
    owner, key = source.choice(list(places(program)))
    old = owner[key]
    if isinstance(old, list | dict) and old and source.random() < 0.5:
        owner[key] = source.choice(list(old.values() if isinstance(old, dict) else old))
        return
    for _ in range(source.choice([1, 2, 5, 40, 200])):
        old = [old] if source.random() < 0.5 else {str(key): old}
    owner[key] = old


def anything(program: dict, source: random.Random) -> None:
    """Any part is replaced, deleted or repeated."""
    owner, key = source.choice(list(places(program)))
    change = source.randrange(3)
    if change == 0:
        del owner[key]
    elif change == 1 and isinstance(owner, list):
        owner.insert(key, json.loads(json.dumps(owner[key])))
    else:
        owner[key] = source.choice(ANYTHING)


OF_PROGRAM = (
    *(operator, value, value, kind, arguments, results, calls, shape, dtype, name),
    *(signature, nesting, anything),
)


def constants(entries: Entries, source: random.Random) -> None:
    """What is said of a weight or a constant."""
    entry = source.choice([WEIGHTS, WEIGHTS, CONSTANTS])
    content = json.loads(entries[entry])
    if not content["config"]:
        entry, content = WEIGHTS, json.loads(entries[WEIGHTS])
    owner, key = source.choice(list(places(content["config"])))
    change = source.randrange(4)
    if change == 0:
        del owner[key]
    elif change == 1 and not isinstance(owner[key], dict | list):
        owner[key] = like(owner[key], source)
    elif change == 2:
        names = list(content["config"])
        first, second = source.choice(names), source.choice(names)
        config = content["config"]
        config[first], config[second] = config[second], config[first]
    else:
        owner[key] = source.choice(ANYTHING)
    entries[entry] = json.dumps(content).encode()


def numbers(entries: Entries, source: random.Random) -> None:
    """The bytes of a weight or a constant: fewer, more, or others."""
    names = [n for n in entries if n.startswith(("data/weights/weight_", "data/constants/tensor_"))]
    entry = source.choice(names)
    old = entries[entry]
    entries[entry] = source.choice(
        [
            *(b"", old[:-1], old[: len(old) // 2], old + b"\0", old * 2),
            *(b"\xff" * len(old), source.randbytes(len(old)), b"\x7f" * len(old)),
        ]
    )


def text(entries: Entries, source: random.Random) -> None:
    """A character of the program's JSON."""
    old = entries[PROGRAM].decode()
    place = source.randrange(len(old))
    entries[PROGRAM] = (old[:place] + source.choice('0",[]{}:-e\\x') + old[place + 1 :]).encode()


def forge(entries: Entries, seed: int) -> list[str]:
    """Edit what an archive holds, at one to three places; the names of the edits."""
    source = random.Random(seed)
    kinds = []
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        whole: Callable = source.choice([*OF_PROGRAM, constants, numbers, text])
        kinds.append(whole.__name__)
        if whole not in OF_PROGRAM:
            whole(entries, source)
            continue
        try:
            program = json.loads(entries[PROGRAM])
            whole(program, source)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue  # an earlier edit has taken what this one would edit
        entries[PROGRAM] = json.dumps(program).encode()
    return kinds


def outcome(export: Path) -> str:
    """What comes of loading an export and scoring: "refused", "scored", or a traceback."""
    try:
        scores = Scorer.load(export).score(ROWS)
    except UserError as error:
        return "refused" if str(export) in str(error) else f"refused without its name: {error}"
    except BaseException:
        return traceback.format_exc()
    shapes = {name: list(values.shape) for name, values in scores.items()}
    wanted = {"logits_ctr": [3], "probs_ctr": [3]}
    return "scored" if shapes == wanted else f"scored {shapes}"


def main(good: Path, folder: Path, seeds: range) -> None:
    warnings.simplefilter("ignore")
    entries = entries_of(good / "model.pt2")
    Scorer.load(good).score(ROWS)  # what is imported and set up only once
    for seed in seeds:
        export = folder / "forged"
        shutil.rmtree(export, ignore_errors=True)
        shutil.copytree(good, export)
        edited = dict(entries)
        kinds = forge(edited, seed)
        write(edited, export / "model.pt2")
        sum_up(export)
        print(json.dumps({"begins": seed, "kinds": kinds}), flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        found = outcome(export)
        line = {"seed": seed, "kinds": kinds, "outcome": found, "s": time.monotonic() - began}
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps({**line, "taken_kib": taken}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
