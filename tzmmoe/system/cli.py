"""What all commands share: flags and exit codes.

0: done. 1: a bug of ours, with its traceback. 2: an error that the user can fix, as a message
without a traceback. 128 plus the number of a signal: stopped by it, such as 130 by Ctrl-C, 143 by
SIGTERM, 129 by SIGHUP, 138 by SIGUSR1. 141, as by SIGPIPE: nobody reads what the command prints any
more, as after ``| head``.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tzmmoe import __version__
from tzmmoe.errors import (
    NO_SCHEMA,
    ConfigError,
    Interrupted,
    LostProcessError,
    UserError,
    did_you_mean,
    few,
    lacks_memory,
)
from tzmmoe.system import environment, stdout

USER_ERROR = 2
READER_LOST = 141  # as if SIGPIPE, which Python ignores, had ended the command
LOWER = (  # what is said when memory runs out
    "to use less memory, lower data_config.batch_size (--batch_size of predict), "
    "data_config.shuffle_buffer_size, data_config.num_workers or OMP_NUM_THREADS, or the sizes of "
    "tables and layers; or allow the process more (ulimit -v, a limit of its container)"
)
QUIET_S = 5.0  # for the first process of a machine to print an error that all processes share
OWN_LOGGERS = ("tzmmoe", "__main__")  # of others only warnings are shown, and of these:
QUIET_LOGGERS = {"matplotlib": logging.ERROR}  # torchmetrics imports it, and it builds a font cache
MAY_BE_EMPTY = ("eval_input_path", "test_input_path")  # an empty value means: no such files


# {flag of ours: flags of other tools that mean the same}. A flag of theirs that is listed more than
# once stands for the first of ours, in this order, that the command has.
OTHER_FLAGS = {
    "continue_train": "resume resume_training resume_from resume_from_checkpoint restart continue "
    "cont auto_resume",
    "fine_tune_checkpoint": "finetune finetune_from fine_tune pretrained pretrained_model "
    "pretrained_path init_checkpoint init_from warm_start load_from",
    "pipeline_config": "config config_file config_path conf cfg yaml job_config",
    "saved_model_dir": "model model_path saved_model export_dir export",
    "checkpoint_path": "checkpoint ckpt ckpt_path weights model model_path load restore "
    "restore_from resume resume_from",
    "export_dir": "output_dir output_path output out out_dir save_dir save_path export_path",
    "predict_input_path": "input input_path inputs input_file data data_path test_data",
    "predict_output_path": "output output_path output_file output_dir out out_path",
    "reserved_columns": "keep keep_columns id_columns passthrough",
    "model_dir": "output_dir out_dir output logdir log_dir save_dir checkpoint_dir ckpt_dir "
    "work_dir workdir run_dir experiment_dir exp_dir default_root_dir",
    "data": "input input_path inputs train train_data train_path train_input_path train_file "
    "data_path file files",
    "train_input_path": "train train_data train_path train_file train_files data data_path input",
    "eval_data": "val valid validation val_data valid_data validation_data dev_data val_path "
    "eval_path eval_input_path",
    "eval_input_path": "val valid validation val_data valid_data validation_data dev_data "
    "val_path eval_path eval_data",
    "eval_fraction": "val_split validation_split val_fraction test_size split val_size",
    "split_by": "group group_by groups split_column",
    "test_input_path": "test test_data test_path test_file",
    "check": "dry_run dryrun fast_dev_run debug sanity_check validate_only",
    "accept_changes": "force ignore_changes no_check",
    "allow_modules": "import imports user_dir plugins custom_modules",
    "device": "gpu gpus cuda accelerator devices use_cuda",
    "labels": "label target targets label_columns label_fields",
    "ids": "categorical categorical_columns cat_features cat sparse",
    "numbers": "numeric numerical continuous dense num_features",
    "lists": "multi_valued sequences tags",
    "ignore": "drop exclude skip ignore_columns drop_columns",
    "weights": "weight sample_weight weight_column",
    "delimiter": "sep separator field_separator",
    "out": "output output_path output_file pipeline_config config",
    "force": "overwrite replace yes",
    "job": "config job_config input",
    "set": "override overrides opts options params",
}
# Flags of other tools that are fields of the config here.
FIELDS_OF_FLAGS = {
    "data_config.batch_size": "batch_size bs train_batch_size per_device_train_batch_size",
    "data_config.num_workers": "num_workers workers dataloader_num_workers",
    "train_config.num_epochs": "epochs num_epochs num_train_epochs max_epochs",
    "train_config.num_steps": "steps num_steps max_steps train_steps num_train_steps",
    "train_config.save_checkpoints_steps": "save_steps save_every save_interval",
    "runtime_config.seed": "seed random_seed random_state",
    "runtime_config.timeout": "timeout max_time time_limit",
}

RAW = argparse.RawDescriptionHelpFormatter


class Parser(argparse.ArgumentParser):
    """The flags of a command. An unknown flag is an error that suggests the nearest one. So are
    several words after a flag, which a shell makes of an unquoted pattern, and an empty value,
    which an unset shell variable leaves, unless the flag is in MAY_BE_EMPTY."""

    def __init__(self, prog: str | None = None, **settings: Any) -> None:
        super().__init__(prog=as_started(prog), **settings)
        version = f"tzmmoe {__version__}"
        self.add_argument("--version", action="version", version=version, help="print the version")

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message}; see --help\n")

    def parse_args(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        argv = sys.argv[1:] if argv is None else argv
        parsed, unknown = self.parse_known_args(argv)
        if unknown:
            flag = unknown[0].partition("=")[0]
            if not flag.startswith("-"):
                self.error(self._surplus(argv))
            self.error(f"unknown flag {flag}{self._suggestion(flag)}")
        for name, value in vars(parsed).items():
            if value == "" != self.get_default(name) and name not in MAY_BE_EMPTY:
                self.error(f"--{name} is empty; give it a value, or leave it out")
        return parsed

    def _suggestion(self, flag: str) -> str:
        """What to write in place of an unknown flag: ours with the meaning of another tool's, or
        else the most similar one, compared without the dashes that all flags share."""
        word = flag.strip("-").replace("-", "_")
        own = {name.strip("-"): name for name in self._option_string_actions}
        for name, words in OTHER_FLAGS.items():
            if name in own and word.lower() in words.split():
                return f"; did you mean {own[name]!r}?"
        for field, words in FIELDS_OF_FLAGS.items():
            if "set" in own and word.lower() in words.split():
                return f"; set it in the config, or pass --set {field}=VALUE"
        return did_you_mean(word, own).replace("'", "'--", 1)  # the quoted flag gets its dashes

    def _surplus(self, argv: Sequence[str]) -> str:
        """What to say of words that belong to no flag."""
        groups: list[tuple[str, list[str]]] = [("", [])]  # each flag with the words after it
        for word in argv:
            name, equals, value = word.partition("=")
            if name in self._option_string_actions:
                groups.append((name, [value] if equals else []))
            else:
                groups[-1][1].append(word)
        for flag, words in groups:
            takes = int(flag != "" and self._option_string_actions[flag].nargs != 0)
            if len(words) > takes:
                break
        if not takes:
            return f"{words[0]!r} belongs to no flag; write --FLAG VALUE"
        return (
            f"{flag} takes one value, but {len(words)} follow: {few(words)}; the shell expands a "
            "pattern such as data/*.csv unless it is in quotes: 'data/*.csv'; several values are "
            "joined by commas: a,b"
        )


def as_started(prog: str | None) -> str:
    """What the user typed to start a command: ``python -m tzmmoe.init``, or ``tzmmoe init`` if
    that started it. None: the command is that of the running file."""
    first = sys.argv[0]
    if prog is None:
        file = Path(first)
        return f"python -m tzmmoe.{file.stem}" if file.suffix == ".py" else file.name
    for words in ("python -m tzmmoe ", "tzmmoe "):
        if first.startswith(words):
            return prog.replace("python -m tzmmoe.", words)
    return prog


def parser(description: str) -> Parser:
    """A parser with the flags that every command takes."""
    flags = Parser(description=description, allow_abbrev=False)
    flags.add_argument(
        "--pipeline_config",
        "--pipeline_config_path",
        metavar="FILE",
        help="the config, in protobuf text format, or JSON if it ends in .json",
    )
    flags.add_argument("--model_dir", help="overrides the config's")
    flags.add_argument("--train_input_path", help="overrides the config's")
    flags.add_argument("--eval_input_path", help="overrides the config's")
    flags.add_argument("--test_input_path", help="overrides the config's")
    flags.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, such as model_config.mmoe.num_expert=6; PATH= unsets a message, such "
        "as train_config.early_stopping, or removes an element of a list; repeatable",
    )
    flags.add_argument(
        "--edit_config_json",
        metavar="JSON",
        help='several changes at once: {"feature_configs[:].id_feature.embedding_dim": 8}',
    )
    flags.add_argument(
        "--allow_modules",
        metavar="NAMES",
        help="modules that may be imported for classes of your own: a,b; all inside them, too",
    )
    flags.add_argument("--device", help="auto, cpu, cuda or cuda:1; overrides the config's")
    return flags


def add_accept_changes(flags: Parser) -> None:
    """The flag of the commands that read a checkpoint."""
    flags.add_argument(
        "--accept_changes",
        action="store_true",
        help="go on although the config means something else than to the checkpoint, or files that "
        "it has read have changed",
    )


FIELDS = ("model_dir", "train_input_path", "eval_input_path", "test_input_path")


def changes(arguments: argparse.Namespace, fields: Sequence[str] = FIELDS) -> dict[str, Any]:
    """Keywords for ``Pipeline.load``: --set, --edit_config_json, --device, --allow_modules, and the
    flags that set ``fields`` of the config, each named after the last part of its field's path."""
    flags = {path: getattr(arguments, path.rpartition(".")[2]) for path in fields}
    return {
        "settings": arguments.set,
        "flags": {path: value for path, value in flags.items() if value is not None},
        "edits_json": arguments.edit_config_json,
        "device": arguments.device,
        "allow_modules": arguments.allow_modules or (),
    }


def names(text: str | None) -> list[str] | None:
    """The names in a text such as ``a,b``; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _print_error(error: UserError) -> None:
    """Print an error that all processes share once a machine, by its first process, and any other
    one in the process that it occurred in.

    The processes that print nothing wait a little, since torchrun kills all processes as soon as
    one has ended. So does a process that lost another, since torchrun blames the first one to end.
    """
    try:
        is_first = environment.rank() == 0 or environment.number("LOCAL_RANK", 0) == 0
    except ConfigError:
        is_first = True
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
    """Whether this process has joined others; until then all of them do, and fail, the same."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


def _without_tensorboard(hook: Callable[[threading.ExceptHookArgs], Any]) -> Callable:
    """An ``excepthook`` for threads that skips write errors of TensorBoard's thread, which raises
    them again in the thread that logs the values."""

    def filtered(failure: threading.ExceptHookArgs) -> None:
        is_tensorboard = type(failure.thread).__module__.startswith("tensorboard.")
        if not (is_tensorboard and isinstance(failure.exc_value, OSError)):
            hook(failure)

    return filtered


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run a command and exit with its code, whenever a signal comes."""

    def work() -> int:
        environment.SIGNALS.catch()
        threading.excepthook = _without_tensorboard(threading.excepthook)
        _set_logging()
        return _code(main)

    # The outer call catches a second signal, which may come while the inner one handles the first.
    code = _stoppable(lambda: _stoppable(work))
    if _has_joined():
        _leave(code)
    if code:
        sys.exit(code)


def _stoppable(work: Callable[[], int]) -> int:
    """The exit code of some work, or of the signal that stops it. None comes through afterwards."""
    try:
        return work()
    except Interrupted as stopped:
        return 128 + stopped.signum
    except KeyboardInterrupt:
        return 130
    finally:
        environment.SIGNALS.end()


def _set_logging() -> None:
    """Show lines on stderr: those of this package in the first process, of others if they warn. In
    a program that shows lines in a way of its own, this changes nothing."""
    if logging.getLogger().handlers:
        return
    try:
        is_first = environment.rank() == 0
    except ConfigError:  # which whoever reads it again reports
        is_first = True
    level = logging.INFO if is_first else logging.ERROR
    others = max(level, logging.WARNING)
    logging.basicConfig(level=others, format="%(message)s", stream=sys.stderr)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
    for name, least in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(least)


def _code(main: Callable[[Sequence[str]], None]) -> int:
    """The exit code of a command; errors that the user can fix are printed."""
    try:
        return _completed(main)
    except UserError as error:
        _print_error(error)
        if lacks_memory(error):
            print(LOWER, file=sys.stderr)
        return USER_ERROR
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError) and (not stdout.flush() or stdout.is_unread()):
            return READER_LOST
        words = _message(error)
        if not words:
            raise
        print(words, file=sys.stderr)
        return USER_ERROR


def _completed(main: Callable[[Sequence[str]], None]) -> int:
    """The exit code of a command that raises nothing, once all that it printed is written."""
    try:
        main(sys.argv[1:])
    except SystemExit:  # of --help and of faulty flags
        stdout.flush()
        raise
    return 0 if stdout.flush() else READER_LOST


def _message(error: Exception) -> str:
    """What to say of an error of Python or a library; empty if it is a bug of ours."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("tzmmoe.protos"):
        return NO_SCHEMA
    if lacks_memory(error):
        words = str(error).strip().partition("\n")[0]
        return f"not enough memory{words and ': '}{words}\n{LOWER}"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return ""


def _leave(code: int) -> NoReturn:
    """Exit a process that joined others, skipping the shutdown of the interpreter.

    gloo's threads go on releasing Python objects during that shutdown, which aborted 9 of 80
    processes (torch 2.13). The process group is destroyed only after success: after a failure, that
    would wait for an exchange which some process never joins.
    """
    if code == 0:
        sys.modules["torch.distributed"].destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
