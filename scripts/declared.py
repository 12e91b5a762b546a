"""Print for pip what setup.py and pyproject.toml require: ranges, or their oldest versions.

python scripts/declared.py > requirements.txt             all but grpcio-tools
python scripts/declared.py --oldest > constraints.txt     exact versions
"""

import argparse
import sys
from pathlib import Path

import setuptools  # noqa: F401 - provides distutils, which newer Pythons lack
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
# It compiles the schema and needs an older protobuf than the package, so the newest is not tried
# in one environment with it.
COMPILER = "grpcio-tools"


def requirements() -> list[Requirement]:
    """Of the package, of its tests and of its build, each name once."""
    from distutils.core import run_setup

    declared = run_setup(str(ROOT / "setup.py"), stop_after="init")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    lines = [*declared.install_requires, *declared.extras_require["test"], *build]
    return list({each.name: each for each in map(Requirement, lines)}.values())


def oldest(requirement: Requirement) -> str:
    """The version that a range begins with."""
    versions = [each.version for each in requirement.specifier if each.operator == ">="]
    if len(versions) != 1:
        raise SystemExit(f"{requirement}: has no oldest version; write {requirement.name}>=...")
    return f"{requirement.name}=={versions[0]}"


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--oldest", action="store_true", help="exact versions")
    given = flags.parse_args()
    for requirement in requirements():
        if given.oldest:
            print(oldest(requirement))
        elif requirement.name != COMPILER:
            print(requirement)


if __name__ == "__main__":
    main()
