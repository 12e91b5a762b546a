"""Each item of Tencent's MMoE V2 document, S0.1 to S0.83, of EasyRec's MMoE document, S1.1 to
S1.36, and of the layer in Keras, among S3, has tests that show it.

``seed_items.json`` names them. That a test shows its item is for a reader to judge; this holds that
no item is forgotten and that every test named there exists.
"""

import ast
import json
from difflib import get_close_matches
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "seed_items.json"
ITEMS = [
    *(f"S0.{number}" for number in range(1, 84)),
    *(f"S1.{number}" for number in range(1, 37)),
    *(f"S3.{number}" for number in (16, 17, 20, 29, *range(30, 52), 58)),
]


def mapped() -> dict[str, dict]:
    return json.loads(TABLE.read_text())


def existing() -> set[str]:
    """``file::test`` of every test function, by its file within this folder."""
    found = set()
    for path in HERE.rglob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.relative_to(HERE)}::{node.name}")
    return found


def test_the_table_holds_every_item_once_in_their_order() -> None:
    assert list(mapped()) == ITEMS


def test_an_item_has_words_and_tests_that_are_listed_once() -> None:
    for number, entry in mapped().items():
        assert set(entry) == {"item", "tests"}, number
        assert entry["item"].strip(), number
        assert entry["tests"], f"{number} has no test"
        assert len(set(entry["tests"])) == len(entry["tests"]), number


def test_every_test_that_is_named_exists() -> None:
    """The message offers the nearest names for those that do not."""
    names = existing()
    missing = {}
    for number, entry in mapped().items():
        for test in set(entry["tests"]) - names:
            same = [name for name in names if name.endswith(test.rpartition("/")[2])]
            moved = [n for n in names if n.endswith(f"::{test.rpartition('::')[2]}")]
            near = same or moved or get_close_matches(test, names, n=2)
            missing.setdefault(test, ([], near))[0].append(number)
    lines = [f"{test} ({', '.join(n)}); perhaps {near}" for test, (n, near) in missing.items()]
    assert not missing, "\n".join(["seed_items.json names tests that do not exist:", *lines])
