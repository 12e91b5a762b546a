"""A server of runs that may be killed: it forks a process for each, so that torch loads once.

A request is a line of JSON: ``cwd``, ``folder`` (of a tiny data set), ``changes``, and what kills
the run, ``event`` (that many lines of the code in WATCHED were executed) or ``after_s``. The answer
is the exit code, negative for a signal. With ``events`` the run tells the files of those lines.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import torch._dynamo  # noqa: F401 - torch does so at the first step, which takes half a second
from e2e import tiny

WATCHED = (
    "tzmmoe/system/checkpoint.py",
    "tzmmoe/run/fit.py",
    "tzmmoe/run/results.py",
    "tzmmoe/run/state.py",
    "tzmmoe/run/trainer.py",
    "checkpoint/hf_storage.py",
    "checkpoint/filesystem.py",
    "lib/python3.*/shutil.py",
)


class Tracer:
    """Counts executed lines, and dies at one of them as if by ``kill -9``."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal = fatal
        self.events: list[str] = []
        self._places: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: object):
        file = frame.f_code.co_filename
        if file not in self._places:
            fits = [each for each in WATCHED if Path(file).match(f"*/{each}")]
            self._places[file] = fits[0] if fits else None
        if self._places[file] is None:
            return None
        if event == "line":
            self.events.append(self._places[file])
            if len(self.events) == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def run(request: dict) -> None:
    os.chdir(request["cwd"])
    tracer = Tracer(request.get("event"))
    made = tiny.pipeline(Path(request["folder"]), "run", **request["changes"])
    if "after_s" in request:
        threading.Timer(request["after_s"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    else:
        sys.settrace(tracer)
    made.fit(continue_train=True)
    sys.settrace(None)
    if request.get("events"):
        Path("events.json").write_text(json.dumps(tracer.events))


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
