"""A folder in use: by one process at a time, and by none once that is gone."""

import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from forked import CONTEXT

from tzmmoe.errors import CheckpointError
from tzmmoe.run.folder import locked


def hold(folder: Path, held: Event) -> None:
    with locked(folder):
        held.set()
        time.sleep(60)


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught, locked(folder):
        pass
    return str(caught.value)


def test_another_process_is_refused_with_the_number_of_the_one_that_has_it(tmp_path) -> None:
    """Until it ends, even by SIGKILL."""
    held = CONTEXT.Event()
    holder = CONTEXT.Process(target=hold, args=(tmp_path, held))
    holder.start()
    assert held.wait(60)
    assert f"{tmp_path} is in use by process {holder.pid} on" in refused(tmp_path)
    holder.kill()
    holder.join()
    with locked(tmp_path):
        assert "is in use by process" in refused(tmp_path)
    with locked(tmp_path):
        pass


def test_a_body_that_fails_lets_go(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass
