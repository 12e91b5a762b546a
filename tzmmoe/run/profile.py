"""A trace of some batches by torch's profiler, for TensorBoard and Perfetto."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

log = logging.getLogger(__name__)


class Profile:
    """Records the batches ``first`` to ``last`` of the run, both included and counted from 1.

    Each is marked ``ProfilerStep#<number>``, the name that TensorBoard looks for; between two marks
    lie the waiting for data and the run's own accounts. Saving and evaluating are left out. The
    trace is written to ``folder`` as ``batches_<first>_<last>.pt.trace.json`` after the last batch,
    or when the run ends among them; a run that goes on there records those that are left.
    """

    def __init__(
        self, window: Sequence[int] = (), folder: Path = Path(), device: torch.device | None = None
    ) -> None:
        """``window`` holds the first batch and the last one, or only one; none, or 0: nothing."""
        self.first, self.last = (window[0], window[-1]) if any(window) else (0, 0)
        self._folder = folder
        self._device = device or torch.device("cpu")
        self._activities = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)
        self._running: profile | None = None
        self._begun = self._batch = 0

    def batch(self, number: int) -> AbstractContextManager[None]:
        """Around the learning of the batch with this number; records it if it is one of those."""
        self._batch = number
        return self._recorded(number) if self.first <= number <= self.last else nullcontext()

    @contextmanager
    def _recorded(self, number: int) -> Iterator[None]:
        if self._running is None:
            self._begun = number
            self._wait()  # for what earlier batches left on the device
            self._running = profile(activities=self._activities)
            self._running.start()
        with record_function(f"ProfilerStep#{number}"):
            yield
        if number == self.last:
            self._write()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing of the body."""
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
        log.info(
            "a trace of batches %s to %s is in %s", f"{self._begun:,}", f"{self._batch:,}", path
        )

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._running:
            self._write()
        elif kind is None and 0 < self._batch < self.first:
            log.warning(
                "train_config.tensorboard.profile_batch: there is no trace: the run ended with "
                "batch %s, before batch %s",
                f"{self._batch:,}",
                f"{self.first:,}",
            )
