"""The wheel, in an environment that has nothing else, far from the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = ("NewConnectionError", "Temporary failure in name resolution", "Network is unreachable")


def run(*command: str | Path, folder: Path) -> str:
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=alone,  # a checkout on the path would stand in for the wheel
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a source distribution of what a clone holds: without the compiled schema."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "protos", folder / "protos")
    leave = shutil.ignore_patterns("protos", "__pycache__")
    shutil.copytree(ROOT / "tzmmoe", folder / "tzmmoe", ignore=leave)
    build = ("build", "--no-isolation", "--outdir", "dist", ".")
    run(sys.executable, "-m", *build, folder=folder)
    [made] = (folder / "dist").glob("*.whl")
    return made


def test_the_wheel_holds_the_compiled_schema_and_the_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    compiled = {f"tzmmoe/protos/{path.stem}_pb2.py" for path in (ROOT / "protos").glob("*.proto")}
    assert compiled <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    [points] = [name for name in names if name.endswith("entry_points.txt")]
    assert b"tzmmoe = tzmmoe.__main__:run" in zipfile.ZipFile(wheel).read(points)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tzmmoe", next(top for top in tops if top.endswith(".dist-info"))}


@pytest.mark.timeout(400)
@pytest.mark.long
def test_the_wheel_trains_exports_and_predicts_in_an_empty_environment(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", "environment", folder=tmp_path)
    python = tmp_path / "environment/bin/python"
    constraints = ("--constraint", ROOT / "constraints.txt")
    try:
        run(python, "-m", "pip", "install", "--quiet", *constraints, wheel, folder=tmp_path)
    except AssertionError as error:
        if any(word in str(error) for word in OFFLINE):
            pytest.skip("no way to a package index, so the wheel's needs cannot be installed")
        raise
    where = run(python, "-c", "import tzmmoe; print(tzmmoe.__file__)", folder=tmp_path)
    assert str(tmp_path / "environment") in where
    command = (python, "-m")
    sizes = ("--rows", "2000", "--eval_rows", "500")
    run(*command, "tzmmoe.synthetic", *sizes, "--out", "data", folder=tmp_path)
    draft = ("--data", "data/train", "--labels", "click,conversion", "--out", "drafted.config")
    run(*command, "tzmmoe.init", *draft, "--ignore", "p_click,p_conversion", folder=tmp_path)
    config = ("--pipeline_config", "drafted.config", "--model_dir", "model")
    run(*command, "tzmmoe.train", *config, folder=tmp_path)
    run(*command, "tzmmoe.export", *config, "--export_dir", "export", folder=tmp_path)
    files = ("--predict_input_path", "data/eval", "--predict_output_path", "out.parquet")
    run(*command, "tzmmoe.predict", "--saved_model_dir", "export", *files, folder=tmp_path)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 500
    command = tmp_path / "environment/bin/tzmmoe"
    assert "tzmmoe" in run(command, "--version", folder=tmp_path)
    run(command, "eval", *config, "--eval_input_path", "data/eval", folder=tmp_path)
