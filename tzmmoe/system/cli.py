"""What the command lines share: flags, and exit codes.

0 done, 2 what the user can repair (a message, no traceback), 1 a fault of ours, 130 or 143 when a
signal stopped it.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tzmmoe.errors import NO_SCHEMA, Interrupted, LostProcessError, UserError, did_you_mean
from tzmmoe.system import environment

USER_ERROR = 2
QUIET_S = 5.0  # for the first process of a machine to tell what all met
NONE = ("eval_input_path", "test_input_path")  # an empty value means that there are none


class Parser(argparse.ArgumentParser):
    """Flags of one command. A word that is no flag is an error, with the nearest flag; so is a flag
    with an empty value, as an unset variable of a shell gives it, but those of NONE."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message}; --help lists the flags\n")

    def parse_args(self, *arguments: Any) -> argparse.Namespace:
        found, others = self.parse_known_args(*arguments)
        if others:
            flag = others[0].partition("=")[0]
            self.error(f"no flag {flag}{did_you_mean(flag, self._option_string_actions)}")
        for name, value in vars(found).items():
            if value == "" != self.get_default(name) and name not in NONE:
                self.error(f"--{name} is empty; give a value, or leave it out")
        return found


def parser(description: str) -> Parser:
    """A parser with the flags of every command."""
    made = Parser(description=description, allow_abbrev=False)
    made.add_argument(
        "--pipeline_config",
        "--pipeline_config_path",
        metavar="FILE",
        help="the config, in protobuf text format, or JSON if it ends in .json",
    )
    made.add_argument("--model_dir", help="in place of the config's")
    made.add_argument("--train_input_path", help="in place of the config's")
    made.add_argument("--eval_input_path", help="in place of the config's")
    made.add_argument("--test_input_path", help="in place of the config's")
    made.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="change any field, such as model_config.mmoe.num_expert=6; PATH= unsets a message, "
        "such as train_config.early_stopping; repeatable",
    )
    made.add_argument(
        "--edit_config_json",
        metavar="JSON",
        help='several changes at once: {"feature_configs[:].id_feature.embedding_dim": 8}',
    )
    made.add_argument("--device", help="auto, cpu, cuda or cuda:1; before the config's own")
    return made


FIELDS = ("model_dir", "train_input_path", "eval_input_path", "test_input_path")


def changes(arguments: argparse.Namespace, fields: Sequence[str] = FIELDS) -> dict[str, Any]:
    """What ``Pipeline.load`` takes beside the config: --set, --edit_config_json, --device, and the
    flags that stand for ``fields``, each named by the last part of its field's path."""
    named = {path: getattr(arguments, path.rpartition(".")[2]) for path in fields}
    return {
        "settings": arguments.set,
        "flags": {path: value for path, value in named.items() if value is not None},
        "edits_json": arguments.edit_config_json,
        "device": arguments.device,
    }


def names(text: str | None) -> list[str] | None:
    """``a,b`` -> names; None stays."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _tell(error: UserError) -> None:
    """Print what a process met alone, and, in the first one of a machine, what all of them met.

    The others then wait for that one, since torchrun ends all processes when one has ended. So does
    one that lost another, since torchrun calls the first that ended the cause.
    """
    is_first = environment.number("LOCAL_RANK", 0) == 0
    is_lost = isinstance(error, LostProcessError)
    is_own = _has_joined() and not error.is_shared
    if is_first or is_lost:
        print(f"{error}", file=sys.stderr, flush=True)
    elif is_own:
        print(f"rank {environment.number('RANK', 0)}: {error}", file=sys.stderr)
    if is_lost or not (is_first or is_own):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(QUIET_S)


def _has_joined() -> bool:
    """Whether this process met others; what it did before, they did too."""
    found = sys.modules.get("torch.distributed")
    return found is not None and found.is_initialized()


def _stop(signum: int, frame: object) -> None:
    """Leave through the blocks that tidy up."""
    raise Interrupted(signum)


def _leave_to_its_owner(before: Callable[[threading.ExceptHookArgs], Any]) -> Callable:
    """What a thread that fails prints: nothing of a file that TensorBoard's could not write, which
    raises that again in the thread that gave it the values."""

    def tell(failed: threading.ExceptHookArgs) -> None:
        is_tensorboard = type(failed.thread).__module__.startswith("tensorboard.")
        if not (is_tensorboard and isinstance(failed.exc_value, OSError)):
            before(failed)

    return tell


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command line and exit with its code."""
    signal.signal(signal.SIGTERM, _stop)
    threading.excepthook = _leave_to_its_owner(threading.excepthook)
    level = logging.INFO if environment.number("RANK", 0) == 0 else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    code = _code(main)
    if _has_joined():
        _leave(code)
    if code:
        sys.exit(code)


def _code(main: Callable[[Sequence[str]], None]) -> int:
    """The exit code of a command line; what the user must know is printed."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        _tell(error)
        return USER_ERROR
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("tzmmoe.protos"):
            raise
        print(NO_SCHEMA, file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"{error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return USER_ERROR
    except Interrupted as stopped:
        return 128 + stopped.signum
    except KeyboardInterrupt:
        return 130
    return 0


def _leave(code: int) -> NoReturn:
    """End a process that joined others, without Python's own way out.

    gloo's threads still let go of Python objects while Python ends, which aborts the process now
    and then (torch 2.13: 9 of 80). A process group is only destroyed after all went well: it would
    wait for an exchange that somebody is missing from.
    """
    if code == 0:
        sys.modules["torch.distributed"].destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
