"""The house: floors, sizes, and what must not be there."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tzmmoe"
FLOORS = {
    0: ["protos", "errors"],
    1: ["private_torch"],
    2: ["system", "textformat", "registry", "jagged", "nn"],
    3: ["config", "batch", "tables"],
    4: ["features", "tasks"],
    5: ["data", "models"],
    6: ["build", "learning", "diagnosis", "serving"],
    7: ["run"],
    8: ["pipeline", "studies", "drafting", "synthetic"],
    9: ["train", "eval", "export", "predict", "init", "convert"],
    10: ["__main__"],
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "protos" not in path.relative_to(PACKAGE).parts and path != PACKAGE / "__init__.py"
]
# Who may see a message of the schema, and why: whole folders, and single files of others.
SEES_MESSAGES = {
    "config": "loads, rewrites and checks the config",
    "build": "makes objects of it",
    "run": "makes one object of settings of it",
    "drafting": "writes configs",
    "features/base.py": "its registry says which words features have",
    "models": "the registry says which words models have, and a model has rules of its own",
    "tasks/losses/base.py": "its registry says which words losses have",
    "tasks/metrics/base.py": "its registry says which words metrics have",
}
# Signatures that are another library's, argument for argument, and whose.
FOREIGN_SIGNATURES = {"nn/keras_moe/layer.py": "the seed's layer of Keras, for tzmmoe.nn.MMoE"}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS, MOST_FILES = 400, 50, 6, 14


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def place(path: Path) -> str:
    """The folder, or the module, of the package's top level that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Top-level places of the package that a file imports anywhere, also lazily."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("tzmmoe.")]
    return {part[1] for part in parts} - {"__version__"}


@pytest.fixture(params=FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_a_file_imports_only_from_lower_floors_or_its_own_folder(file: Path) -> None:
    here = place(file)
    wrong = {
        other for other in imported(parsed(file)) if other != here and FLOOR[other] >= FLOOR[here]
    }
    assert not wrong, f"floor {FLOOR[here]} must not import {wrong}"


def sees_messages(tree: ast.AST) -> bool:
    """Whether a file imports the compiled schema anywhere, also lazily."""
    return "protos" in imported(tree)


def may_see_messages(file: Path) -> bool:
    return any(covers(place, file) for place in SEES_MESSAGES)


def covers(place: str, file: Path) -> bool:
    """Whether a file is that of a pattern, or lies in the folder."""
    inside = file.relative_to(PACKAGE)
    return inside.match(place) or place in map(str, inside.parents)


def test_messages_of_the_schema_are_seen_only_where_there_is_a_reason(file: Path) -> None:
    """Or a plain object could be given in their place: proto stops at the registry."""
    if sees_messages(parsed(file)):
        assert may_see_messages(file), "imports tzmmoe.protos; take plain values instead"


def test_every_place_that_may_see_messages_does() -> None:
    """So that the list does not outlive its reasons."""
    seeing = {f for f in FILES if sees_messages(parsed(f))}
    for place in SEES_MESSAGES:
        assert any(covers(place, file) for file in seeing), f"{place} sees no message"


# Of torch, besides what begins with an underscore: modules and classes that it does not document.
PRIVATE_MODULES = ("torch.export.pt2_archive", "torch.distributed.checkpoint.planner_helpers")
PRIVATE_CLASSES = {"HuggingFaceStorageReader", "HuggingFaceStorageWriter", "PT2ArchiveReader"}
OF_THE_STANDARD_LIBRARY = {"os._exit", "rates._asdict"}


def private_uses(tree: ast.AST) -> set[str]:
    """Private names that a file uses and does not define: of torch, or of another file."""
    own, uses = defined(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names = {ast.unparse(node)} if node.attr not in own else set()
        else:
            continue
        uses |= {name for name in names if is_private(name)}
    return uses - OF_THE_STANDARD_LIBRARY


def defined(tree: ast.AST) -> set[str]:
    """Functions, fields and attributes that a file gives to itself."""
    names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    attributes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute))
    return names | {n.attr for n in attributes if ast.unparse(n.value) in ("self", "cls")}


def is_private(name: str) -> bool:
    last = name.rpartition(".")[2]
    parts = name.split(".") if name.startswith("torch.") else [last]
    hidden = any(part.startswith("_") and not part.endswith("__") for part in parts)
    return hidden or name.startswith(PRIVATE_MODULES) or last in PRIVATE_CLASSES


def test_private_interfaces_of_torch_are_used_in_one_file(file: Path) -> None:
    if file != PACKAGE / "private_torch.py":
        assert not private_uses(parsed(file)), "move it to private_torch.py"


@pytest.mark.parametrize(
    "code",
    [
        "import torch._dynamo",
        "from torch import _ops",
        "from torch._subclasses import FakeTensorMode",
        "def f():\n    from torch.export.pt2_archive import PT2ArchiveReader",
        "torch._C._set_grad_enabled(False)",
        "grad._indices()[0]",
        "dcp.HuggingFaceStorageReader(folder)",
        "torch.nn.modules.module._global_forward_hooks.clear()",
    ],
)
def test_a_private_interface_is_recognized(code: str) -> None:
    assert private_uses(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    ["import torch.export", "torch.nn.Module.__call__", "self._rows", "def _f():\n    x._f"],
)
def test_other_names_are_not_taken_for_private_ones(code: str) -> None:
    assert not private_uses(ast.parse(code))


def test_a_file_is_short_and_so_are_its_functions(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef):
            # A signature that mirrors a message of the schema is a table, not code.
            begin = node.body[0].lineno if node.name == "__init__" else node.lineno
            assert node.end_lineno - begin < LONGEST_FUNCTION, node.name
            if str(file.relative_to(PACKAGE)) not in FOREIGN_SIGNATURES:
                assert len(node.args.args) <= MOST_PARAMETERS, node.name


def test_a_folder_holds_few_files() -> None:
    for folder in {path.parent for path in FILES}:
        files = list(folder.glob("*.py"))
        assert len(files) <= MOST_FILES, folder


def test_a_file_opens_with_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(parsed(file))


def test_every_folder_opens_with_what_it_is_for() -> None:
    """Its ``__init__.py`` has words of its own: no folder's name alone, nothing left to do later,
    nothing that another folder says."""
    said = {}
    for folder in {
        parent for path in FILES for parent in path.parents if PACKAGE in parent.parents
    }:
        if not list(folder.glob("*.py")):
            continue
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        assert len(text.split()) >= 3, folder
        assert not {"todo", "fixme", "tbd", "..."} & set(text.lower().split()), folder
        assert text not in said, f"{folder} says what {said.get(text)} says"
        said[text] = folder


def test_the_environment_is_read_in_one_place_and_nothing_is_caught_broadly(file: Path) -> None:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            assert file == PACKAGE / "system/environment.py"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("Exception", "BaseException", "everything")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec")


def test_names_that_say_nothing_do_not_exist() -> None:
    stems = {part for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not stems & {"utils", "util", "common", "misc", "helper", "helpers", "manager"}
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                assert not node.name.startswith("Base"), node.name
            if isinstance(node, ast.FunctionDef):
                assert not node.name.endswith("_impl"), node.name
                assert not node.name.startswith(("do_", "process_")), node.name


def test_the_project_does_not_carry_names_of_machines_or_hosts() -> None:
    """No path of a machine and no host of a registry stands in code, notes or docs."""
    folders = ("tzmmoe", "protos", "configs", "scripts", "docs", "tests")
    files = [p for f in folders for p in (ROOT / f).rglob("*") if p.is_file()]
    files += [ROOT / name for name in ("Makefile", "README.md", "setup.py", ".ci/run")]
    texts = (".py", ".md", ".proto", ".config", ".toml", ".svg", "")
    words = ["/" + "root/", "/" + "work/", "/" + "opt/"]
    for path in files:
        if path.suffix in texts and "__pycache__" not in path.parts:
            content = path.read_text(errors="replace")
            assert not [word for word in words if word in content], path


def test_no_ring_of_imports_exists_inside_a_folder() -> None:
    """Modules can be put in an order in which each imports only those before it."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        names = set()
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        edges[name] = {other for other in names if other in modules} - {name}
    while edges:
        free = {name for name, others in edges.items() if not others & set(edges)}
        assert free, f"a ring among {sorted(edges)}"
        edges = {name: others for name, others in edges.items() if name not in free}


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest imports them by these names, and refuses a second one."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()
