"""Processes of their own that have torch already: its import takes seconds.

They are forked off a process that has imported what they need and has done nothing else, so they
have no thread, lock or setting of a test.
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
    """What ``python`` with these arguments, ``-m`` or ``-c`` first, prints and ends with. It finds
    what this process finds."""
    with tempfile.TemporaryDirectory() as taken:
        variables = dict(os.environ) | environment
        given = (list(map(str, arguments)), str(folder or Path.cwd()), variables, taken)
        process = CONTEXT.Process(target=_work, args=given)
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(given[0], PATIENCE_S)
        out, err = ((Path(taken) / name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(given[0], process.exitcode, out, err)


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
