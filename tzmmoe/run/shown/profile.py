"""A trace of some batches by torch's profiler, for TensorBoard and Perfetto."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

log = logging.getLogger(__name__)


class Profile:
    """Records the batches ``first`` to ``last`` of the run, inclusive and counted from 1.

    Each is marked ``ProfilerStep#<number>``, the name that TensorBoard looks for; between the marks
    are the wait for data and the run's own bookkeeping. Saving and evaluating are left out. The
    trace is written to ``folder`` as ``batches_<first>_<last>.pt.trace.json`` after the last batch,
    or when the run ends before that; a resumed run records the rest.
    """

    def __init__(
        self, window: Sequence[int] = (), folder: Path = Path(), device: torch.device | None = None
    ) -> None:
        """``window``: the first batch and the last, or only one; empty or 0: record nothing."""
        self.first, self.last = (window[0], window[-1]) if any(window) else (0, 0)
        self._folder = folder
        self._device = device or torch.device("cpu")
        self._activities = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)
        self._running: profile | None = None
        self._begun = self._batch = 0

    def batch(self, number: int) -> AbstractContextManager[None]:
        """A context for the step on this batch, which is recorded if it is one of those."""
        self._batch = number
        return self._recorded(number) if self.first <= number <= self.last else nullcontext()

    @contextmanager
    def _recorded(self, number: int) -> Iterator[None]:
        if self._running is None:
            self._begun = number
            self._wait()  # for the device's work on earlier batches
            self._running = profile(activities=self._activities)
            self._running.start()
        with record_function(f"ProfilerStep#{number}"):
            yield
        if number == self.last:
            self._write()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of the trace."""
        running = self._running
        if running is None:
            yield
            return
        self._wait()
        running.toggle_collection_dynamic(False, self._activities)
        try:
            yield
        finally:
            self._wait()
            running.toggle_collection_dynamic(True, self._activities)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _write(self) -> None:
        running, self._running = self._running, None
        self._wait()
        running.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"batches_{self._begun}_{self._batch}.pt.trace.json"
        running.export_chrome_trace(str(path))
        log.info("trace of batches %s to %s: %s", f"{self._begun:,}", f"{self._batch:,}", path)

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._running:
            self._write()
        elif kind is None and 0 < self._batch < self.first:
            log.warning(
                "train_config.tensorboard.profile_batch has no effect: the run ended after batch "
                "%s, before batch %s",
                f"{self._batch:,}",
                f"{self.first:,}",
            )
