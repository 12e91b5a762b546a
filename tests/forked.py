"""Processes that need not import torch, which takes seconds.

They are forked from a process that has imported it and has done nothing else, so they inherit no
thread, lock or setting of a test.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "pytest", "tzmmoe.pipeline"])
PATIENCE_S = 120.0


def run(
    *arguments: str | Path, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """What ``python`` with these arguments, of which the first is ``-m`` or ``-c``, prints, and its
    exit code. It imports from the same paths as this process."""
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as printed:
        variables = dict(os.environ) | environment
        args = (words, str(folder or Path.cwd()), variables, printed)
        process = CONTEXT.Process(target=_work, args=args)
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, PATIENCE_S)
        out, err = ((Path(printed) / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _work(arguments: list[str], folder: str, variables: dict[str, str], printed: str) -> None:
    for name, number in (("out", 1), ("err", 2)):
        file = os.open(f"{printed}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ |= variables
    kind, program, *words = arguments
    sys.argv = [kind, *words]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
