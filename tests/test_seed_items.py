"""Each item of Tencent's MMoE V2 document, S0.1 to S0.83, is named by a test that shows it."""

import ast
import re
from pathlib import Path

ITEMS = 83


def named() -> set[int]:
    """The numbers in the docstrings of test functions; ``S0.11 to S0.14`` names all between."""
    found: set[int] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
                continue
            words = " ".join((ast.get_docstring(node) or "").split())
            found |= {int(number) for number in re.findall(r"S0\.(\d+)", words)}
            for first, last in re.findall(r"S0\.(\d+)(?: to |-)S0\.(\d+)", words):
                found |= set(range(int(first), int(last) + 1))
    return found


def test_every_item_of_the_document_has_a_test() -> None:
    found = named()
    missing = [f"S0.{number}" for number in range(1, ITEMS + 1) if number not in found]
    assert not missing
