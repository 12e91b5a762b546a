"""Scoring rows with an exported folder, by the same feature code as in training."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tzmmoe.batch import Batch
from tzmmoe.data.encode import Assembler, Rows, UnfitRow
from tzmmoe.data.loader import Loader
from tzmmoe.data.plan.delivery import Delivery
from tzmmoe.data.plan.sharing import count
from tzmmoe.data.quality import Quality
from tzmmoe.data.reading.files import Reading, open_source
from tzmmoe.data.reading.partitions import with_partitions
from tzmmoe.data.unfit import check_types
from tzmmoe.errors import CheckpointError, ConfigError, DataError
from tzmmoe.features import Feature
from tzmmoe.features.base import Layout
from tzmmoe.registry import Modules, OwnErrors
from tzmmoe.registry.modules import NO_MODULES
from tzmmoe.serving.memory import Need, ProgramError
from tzmmoe.serving.program import check_fit, load, outputs_of, program_inputs
from tzmmoe.serving.requests import Request, RequestReader
from tzmmoe.serving.seal import Key
from tzmmoe.serving.service.clock import Clock, memory_named
from tzmmoe.serving.service.faults import RowFaults
from tzmmoe.serving.service.limits import NAME as REQUEST
from tzmmoe.serving.service.limits import NO_LIMITS, Limits
from tzmmoe.serving.service.singling import Singling
from tzmmoe.serving.signature import NAME, UNREADABLE, Signature
from tzmmoe.system import spoken
from tzmmoe.system.digest import sha256
from tzmmoe.system.localpath import local
from tzmmoe.system.pathkind import not_an_export
from tzmmoe.system.runtime import free_bytes, keep_memory, prepare_for_forks, short_bytes
from tzmmoe.system.world import World
from tzmmoe.tasks.taskset import ERRORS

log = logging.getLogger(__name__)

LITTLE_BYTES = 1 << 28
TOO_LARGE = f"{REQUEST}: takes more memory than is free; send fewer rows at a time"

# What messages call the arguments of a Scorer's methods, by the flags of tzmmoe.predict.
ARGUMENTS = {"saved_model_dir": "directory", "predict_input_path": "path"}
in_python = partial(spoken.in_python, arguments=ARGUMENTS)


class Scorer:
    """Scores rows with an exported model."""

    def __init__(
        self,
        programs: Sequence[torch.export.ExportedProgram],
        features: list[Feature],
        helpers: list[Feature],
        reading: Reading,
        device: torch.device,
        *,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        if device.type != "cpu":
            move = torch.export.passes.move_to_device_pass
            programs = [move(program, device) for program in programs]
        self._programs = [program.module() for program in programs]
        self._files: Sequence[str] = ()  # of the programs
        self._order: Sequence[str] = ()  # of the outputs
        self.features, self.helpers = features, helpers
        self.assembler = Assembler(features, (), helpers=helpers)
        self.reading = reading
        self.device = device
        self._source: tuple[str, str | torch.device, Sequence[str], str | None] | None = None
        self._digest = ""  # of the export's signature, which has those of its files
        self._translate: Callable[[str], str] = in_python
        self._own_errors = OwnErrors(NO_MODULES)
        self._training = training
        self._need: Need | None = None
        self._served = Quality()
        types = training["types"] if training else {}
        self._reader = RequestReader(self.assembler.needed, self.assembler.features, types)
        self._singling = Singling(features, helpers)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        device: str | torch.device = "cpu",
        *,
        allow_modules: str | Sequence[str] = (),
        key_file: str | Path | None = None,
        limits: Limits | None = Limits(),  # noqa: B008, which is immutable
    ) -> "Scorer":
        """Open an export, without unpickling anything in it.

        ``allow_modules``: those that may be imported for features of the user's, with all inside
        them. ``key_file``: holds the secret that the export must be signed with. ``limits``: what
        one request may hold; None is anything.

        Raises:
            CheckpointError: the folder is not an export, is damaged, has another format, or is not
                signed with the key; or the class of a feature cannot be had.
            ConfigError: the key cannot be read.
        """
        if not isinstance(limits, Limits | None):
            words = f"is {limits!r}; pass Limits(...) of tzmmoe.serving.service.limits, or None"
            raise ConfigError.at("limits", words)
        with spoken.speaking(in_python):
            scorer = cls._opened(directory, device, allow_modules, key_file, in_python=True)
        scorer._reader.limits = limits or NO_LIMITS
        return scorer

    @classmethod
    def of_command(
        cls,
        directory: str | Path,
        device: str | torch.device,
        *,
        allow_modules: str | Sequence[str] = (),
        key_file: str | Path | None = None,
    ) -> "Scorer":
        """As ``load``, for a command line: messages speak of flags."""
        keep_memory()
        scorer = cls._opened(directory, device, allow_modules, key_file, in_python=False)
        scorer._translate = str
        return scorer

    @classmethod
    def _opened(
        cls,
        directory: str | Path,
        device: str | torch.device,
        allow_modules: str | Sequence[str],
        key_file: str | Path | None,
        *,
        in_python: bool,
    ) -> "Scorer":
        prepare_for_forks()
        folder, modules = Path(local(directory, "--saved_model_dir")), Modules.of(allow_modules)
        if not (folder / NAME).exists():
            raise CheckpointError(not_an_export(folder, in_python=in_python))
        signature = Signature.read(folder, modules, Key.read(key_file))
        programs, needs = [], []
        for file, names in signature.programs.items():
            programs.append(load(folder / file))
            outputs = {name: signature.outputs[name] for name in names}
            try:
                layout = Layout.of(signature.features)
                needs.append(check_fit(programs[-1], layout, outputs))
            except (ProgramError, *UNREADABLE) as error:
                raise _rejected(folder / file, error) from error
        scorer = cls(
            programs,
            signature.features,
            signature.helpers,
            signature.reading,
            torch.device(device),
            training=signature.training,
        )
        scorer._own_errors = OwnErrors(modules)
        scorer._need = Need.of_all(needs)
        scorer._order, scorer._files = list(signature.outputs), list(signature.programs)
        key = None if key_file is None else os.path.abspath(local(key_file, "--key_file"))
        scorer._source = (str(folder.absolute()), device, modules.allowed, key)
        scorer._digest = sha256(folder / NAME)
        return scorer

    def __reduce__(self) -> tuple:
        """A scorer is pickled as the place of its export, which the copy loads again."""
        return _again, (*self._source, self._digest, self.limits)

    @property
    def limits(self) -> Limits:
        """What one request may hold."""
        return self._reader.limits

    def score(
        self,
        rows: Any,
        *,
        timeout_s: float | None = None,
        errors: Literal["raise", "rows"] = "raise",
    ) -> dict[str, Any]:
        """Outputs by name, (B,) or (B, C), for rows that have the columns that the features read.

        ``rows``: a list of dicts, an Arrow table or batch, or a DataFrame of pandas, polars or
        another package that gives an Arrow stream. A dict without a key that others have has no
        value there, and a dict or a list of pairs in the cell of a weighted feature maps values to
        weights. How a row is read does not depend on the other rows.

        ``timeout_s``: seconds, checked after the request is read, after it is encoded, and after
        the program has run. ``errors="rows"``: rows with a value that cannot be used do not fail
        the others. Their outputs are NaN, and ``"errors"`` in the answer is a list with a message
        for each row, or None if it was scored.

        Raises:
            DataError: a missing column, a request above a limit, more memory than is free, or a
                value that cannot be used, with its row.
            CheckpointError: the program, or a weight, was made by hand, and fails with these rows.
            TimeLimitError: the time was up after a stage.
        """
        if errors not in ("raise", "rows"):
            raise ConfigError.at("errors", f"is {errors!r}; give 'raise' or 'rows'")
        clock, faults = Clock(timeout_s), RowFaults(are_collected=errors == "rows")
        with memory_named(TOO_LARGE):
            request = self._reader.read(rows, faults)
            num_rows = request.chunk.num_rows
            clock.check("reading the request")
            encoded = self._encoded(request, faults, clock)
            clock.check("encoding")
            outputs = self._run_program(next(encoded.batches(max(encoded.num_rows, 1))))
            clock.check("the program")
            answer = {name: output.cpu() for name, output in outputs.items()}
            if faults:
                good = torch.from_numpy(faults.good(num_rows))
                answer = {name: _spread(output, good) for name, output in answer.items()}
        self._served.add(encoded.tallies, encoded.num_rows)
        return answer | ({ERRORS: faults.messages(num_rows)} if errors == "rows" else {})

    def _encoded(self, request: Request, faults: RowFaults, clock: Clock) -> Rows:
        """The rows of a request without faults, in its order."""
        num_rows = request.chunk.num_rows
        with self._own_errors:
            try:
                part = request.only(faults.good(num_rows)) if faults else request
                encoded = self.assembler.assemble(part.chunk)
            except UnfitRow:
                if not faults.are_collected:
                    raise
                before = len(faults)
                check = partial(clock.check, "a part of encoding")
                self._singling.find(request.chunk, request.numbers, faults, check)
                if len(faults) == before:
                    raise
                part = request.only(faults.good(num_rows))
                encoded = self.assembler.assemble(part.chunk)
        return encoded if part.places is None else encoded.permuted(part.places)

    def quality(self) -> dict[str, Any]:
        """What was scored so far: the number of ``rows``, and for each feature in how many of them
        it was missing, defaulted, unknown or outside its table, with the share of the rows and that
        of the training rows. Threads may call it while others score.
        """
        names = [feature.name for feature in self.features]
        return self._served.beside(self._training, names)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """The outputs for an encoded batch, moved to the CPU.

        Raises DataError if it would take more memory than is free, and CheckpointError if the
        program fails.
        """
        return {name: output.cpu() for name, output in self._run_program(batch).items()}

    @torch.no_grad()
    def _run_program(self, batch: Batch) -> dict[str, Tensor]:
        self._check_memory(batch)
        words = (
            f"scoring {len(batch):,} rows at a time takes more memory than is free; lower "
            "--batch_size"
        )
        with memory_named(self._translate(words)):
            inputs = program_inputs(batch.to(self.device).inputs, self.assembler.layout)
            outputs = {}
            for file, run in zip(self._files, self._programs, strict=True):
                try:
                    outputs |= outputs_of(run, inputs, len(batch))
                except ProgramError as error:
                    raise _rejected(Path(self._source[0]) / file, error) from error
            return {name: outputs[name] for name in self._order}

    def _check_memory(self, batch: Batch) -> None:
        """Before anything is allocated; what takes little is not worth a look at the system."""
        if self._need is None:
            return
        layout, ids = self.assembler.layout, batch.inputs.ids
        for_ids = [ids[width].flat.numel() / len(slots) for width, slots in layout.pooled.items()]
        needed = self._need.of(max([len(batch), *for_ids]))
        free = free_bytes(self.device) if needed > LITTLE_BYTES else None
        if free is not None and needed > free:
            words = (
                f"scoring {len(batch):,} rows at a time takes {short_bytes(needed)} of memory, and "
                f"{short_bytes(free)} are free; lower --batch_size"
            )
            raise DataError(self._translate(words))

    def loader(
        self,
        path: str,
        *,
        reserved: Sequence[str],
        batch_size: int,
        num_workers: int,
        world: World | None = None,
    ) -> Loader:
        """Batches of files for ``predict``, along with ``reserved`` columns. Each process of
        ``world`` reads its share of the rows."""
        world = world or World()
        reading = self.reading
        if not reading.types:  # trained on Parquet, or on CSV with a header
            reading = replace(reading, with_header=True)
        with spoken.speaking(self._translate):
            source = with_partitions(open_source(path, "--predict_input_path", reading))
        assembler = Assembler(
            self.features, (), helpers=self.helpers, reserved=source.expand(reserved)
        )
        for file in source.files:
            source.check_columns(file, assembler.needed, assembler.readers)
        check_types(source, assembler)
        delivery = Delivery(
            batch_size=batch_size,
            shuffle=False,
            shuffle_batches=1,
            drop_remainder=False,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            seed=0,
            rank=world.rank,
            world=world.size,
        )
        return Loader(source, assembler, delivery, count(source, world))


def _rejected(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{file}: rejected, since {error}; export it again")


def _spread(output: Tensor, good: Tensor) -> Tensor:
    """The outputs of the rows that are True in (B,) bool, and NaN for the others."""
    spread = output.new_full((len(good), *output.shape[1:]), float("nan"))
    spread[good] = output
    return spread


def _again(
    directory: str,
    device: str | torch.device,
    allow_modules: Sequence[str],
    key_file: str | None,
    digest: str,
    limits: Limits,
) -> Scorer:
    """The scorer of an export, whose signature has this digest. Raises CheckpointError."""
    scorer = Scorer.load(
        directory, device, allow_modules=allow_modules, key_file=key_file, limits=limits
    )
    if scorer._digest != digest:
        raise CheckpointError(
            f"{directory}: holds another model than when this scorer was pickled; pickle a scorer "
            "of this export"
        )
    return scorer
