"""Builds the package; compiles the schema in protos/ into tzmmoe/protos/ on the way."""

import re
from pathlib import Path
from typing import ClassVar

from setuptools import Command, find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
COMPILED = HERE / "tzmmoe/protos"
(COMPILED / "compat").mkdir(parents=True, exist_ok=True)  # setuptools looks for both packages first
SCHEMA = ("tzmmoe.protos", "tzmmoe.protos.compat")
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "tzmmoe/__init__.py").read_text())[1]
# Of pyfarmhash; elsewhere it needs a C++ compiler, and this package does without.
HAS_WHEELS = (
    "sys_platform == 'linux' and platform_machine == 'x86_64'"
    " and python_version >= '3.11' and python_version < '3.14'"
)


class CompileSchema(Command):
    """protos/**/*.proto -> tzmmoe/protos/**/*_pb2.py."""

    description = "compile the schema"
    user_options: ClassVar[list] = []

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        from grpc_tools import protoc

        (COMPILED / "__init__.py").write_text('"""Generated from protos/ by protoc."""\n')
        docstring = '"""Generated from protos/compat/ by protoc: texts of other systems."""\n'
        (COMPILED / "compat/__init__.py").write_text(docstring)
        files = sorted((HERE / "protos").rglob("*.proto"))
        names = [f"tzmmoe/protos/{path.relative_to(HERE / 'protos')}" for path in files]
        options = [
            f"-Itzmmoe/protos={HERE / 'protos'}",
            f"--python_out={HERE}",
            f"--pyi_out={HERE}",
        ]
        if protoc.main(["protoc", *options, *names]) != 0:
            raise SystemExit("protoc could not compile protos/**/*.proto")


class BuildWithSchema(build_py):
    """build_py, after the schema."""

    def run(self) -> None:
        self.run_command("compile_schema")
        super().run()


setup(
    name="tzmmoe",
    version=VERSION,
    description="Multi-task ranking with multi-gate mixture-of-experts, from one config file",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    entry_points={"console_scripts": ["tzmmoe = tzmmoe.__main__:run"]},
    python_requires=">=3.10",
    packages=sorted({*find_packages(include=["tzmmoe", "tzmmoe.*"]), *SCHEMA}),
    install_requires=[
        "torch>=2.13,<2.14",  # private_torch.py was tried with no other
        "protobuf>=6.31.1,<8",  # the generated code asks for the version that protoc stands for
        "pyarrow>=22",
        "torchmetrics>=1.4",
        "numpy>=2.0",
        "safetensors>=0.4.3",
        "tensorboard>=2.14",
        "tqdm>=4.66",
        f"pyfarmhash>=0.5.1; {HAS_WHEELS}",  # for speed alone: features/native.py
    ],
    extras_require={
        "torchrec": ["torchrec>=1.8"],  # with FBGEMM for CUDA
        "test": [
            "pytest>=8",
            "pytest-timeout>=2.3.1",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "grpcio-tools>=1.75,<1.79",
            "build>=1.2.1",
            "pandas>=2.2.2",
            "polars>=1.3",
        ],
    },
    cmdclass={"build_py": BuildWithSchema, "compile_schema": CompileSchema},
    zip_safe=False,
)
