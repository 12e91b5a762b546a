"""Measures the package: its size, and how many files one must open to follow a step or a build.

    python scripts/measure_house.py                     this checkout
    python scripts/measure_house.py --checkout ../before

Prints the number of files, of lines, of lines of code (without blanks, comments and docstrings) and
of files with exactly one importer; and, for README's first.config, of files with a function called
during one training step and during `build.build`.
"""

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Runs in a separate process with the checkout's package; prints the files that a call runs through.
TRACED = """
import sys
from tzmmoe.pipeline import Pipeline

package, config = sys.argv[1:]
seen, depth = {"build": set(), "step": set()}, {"build": 0, "step": 0}

def begins(what, frame, file):
    name = frame.f_code.co_name
    if what == "build":
        return name == "build" and file == "build/model.py"
    owner = type(frame.f_locals.get("self")).__name__
    return (owner, name) in (("Trainer", "step"), ("TrainStep", "__call__"))

def watch(frame, event, _):
    file = frame.f_code.co_filename
    if event not in ("call", "return") or not file.startswith(package):
        return
    file = file[len(package) + 1:]
    for what, files in seen.items():
        entered = begins(what, frame, file)
        depth[what] += entered and event == "call"
        if event == "call" and depth[what] and "protos" not in file:
            files.add(file)
        depth[what] -= entered and event == "return"

pipeline = Pipeline.load(config, settings=["train_config.num_steps=3"])
sys.setprofile(watch)
pipeline.fit()
sys.setprofile(None)
for what, files in seen.items():
    print(what, *sorted(files))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--list", action="store_true", help="also list the files")
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    files = package_files(checkout)
    lines = {file: file.read_text().splitlines() for file in files}
    print(f"files             {len(files):6,}")
    print(f"lines             {sum(map(len, lines.values())):6,}")
    print(f"lines of code     {sum(map(code_lines, files)):6,}")
    alone = with_one_importer(checkout, files)
    print(f"with one importer {len(alone):6,}", *(alone if arguments.list else ()), sep="\n  ")
    for what, called in traced(checkout).items():
        shown = called if arguments.list else ()
        print(f"files in a {what:6} {len(called):6,}", *shown, sep="\n  ")


def package_files(checkout: Path) -> list[Path]:
    found = (checkout / "tzmmoe").rglob("*.py")
    return sorted(path for path in found if "protos" not in path.parts)


def code_lines(file: Path) -> int:
    """Number of lines with a token of code, docstrings excluded."""
    text = file.read_text()
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*blank, tokenize.ENDMARKER):
            found |= set(range(token.start[0], token.end[0] + 1))
    return len(found - docs)


def with_one_importer(checkout: Path, files: list[Path]) -> list[str]:
    """Modules that exactly one other file imports, except a package's own __init__ and commands,
    which need no importer."""
    modules = {}
    for file in files:
        name = ".".join(file.relative_to(checkout).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = file
    importers: dict[str, set[Path]] = defaultdict(set)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{a.name}" for a in node.names] + [node.module]
            for name in set(names) & modules.keys():
                importers[name].add(file)
    return sorted(
        str(file.relative_to(checkout))
        for name, file in modules.items()
        if file.name != "__init__.py" and len(importers[name] - {file}) == 1
    )


def first_config() -> str:
    """README's first.config."""
    return re.search(r"^```protobuf first\.config\n(.*?)^```$", README, re.M | re.S)[1]


README = (ROOT / "README.md").read_text()


def traced(checkout: Path) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        generate = [sys.executable, "-m", "tzmmoe.synthetic", "--rows", "4000", "--out"]
        quiet = {"cwd": folder, "check": True, "capture_output": True, "text": True}
        subprocess.run([*generate, "data/synthetic"], env=_environment(ROOT), **quiet)
        (Path(folder) / "first.config").write_text(first_config())
        (Path(folder) / "traced.py").write_text(TRACED)
        command = [sys.executable, "traced.py", str(checkout / "tzmmoe"), "first.config"]
        done = subprocess.run(command, env=_environment(checkout), **quiet)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in ("build", "step")}


def _environment(checkout: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
