"""Messages that speak of flags -> the same for Python, which has arguments."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from tzmmoe.errors import ConfigError, UserError

# Flags that have an argument of another form or name in the methods of Pipeline.
ARGUMENTS = {
    "continue_train": "continue_train=True",
    "ignore_restore_optimizer": "ignore_restore_optimizer=True",
    "accept_changes": "accept_changes=True",
    "auxiliary": "auxiliary=True",
    "set": "settings",
    "edit_config_json": "edits_json",
    "pipeline_config": "path",
}
# Flags that override a field of the config, by their names.
FIELDS = {
    **{name: name for name in ("model_dir", "train_input_path", "eval_input_path")},
    "test_input_path": "test_input_path",
    "fine_tune_checkpoint": "train_config.fine_tune_checkpoint",
}
# What takes a frame in memory in place of their files.
FRAMES = {
    "train_input_path": ", or fit(train=frame)",
    "eval_input_path": ", or fit(eval=frame) or evaluate(frame)",
}
WHOLE = {"--map_path OLD=NEW": 'map_path="OLD=NEW"'}
BOTH = re.compile(r"--allow_modules \S+, in Python (allow_modules=)")
PASSED = re.compile(r"\b(pass|with|by) --(\w+)")
FLAG = re.compile(r"(?<![\w-])--(\w+)")


def in_python(text: str, arguments: Mapping[str, str] = ARGUMENTS) -> str:
    """The text with arguments of Python's methods in place of flags. ``arguments``: of flags that
    have one of another form or name."""
    for flag, argument in WHOLE.items():
        text = text.replace(flag, argument)
    text = BOTH.sub(r"\1", text)
    text = PASSED.sub(lambda match: f"{match[1]} {_passed(match[2], arguments)}", text)
    return FLAG.sub(lambda match: arguments.get(match[1], match[1]), text)


def _passed(flag: str, arguments: Mapping[str, str]) -> str:
    if flag in FIELDS:
        return f'settings={{"{FIELDS[flag]}": ...}}{FRAMES.get(flag, "")}'
    return arguments.get(flag, f"{flag}=")


@contextmanager
def speaking(translate: Callable[[str], str]) -> Iterator[None]:
    """A UserError that leaves the block has translated messages."""
    try:
        yield
    except UserError as error:
        if isinstance(error, ConfigError):
            error.faults = [
                replace(
                    fault,
                    path=translate(fault.path),
                    text=translate(fault.text),
                    where=translate(fault.where),
                )
                for fault in error.faults
            ]
        error.args = tuple(
            translate(part) if isinstance(part, str) else part for part in error.args
        )
        raise
