"""What a part of the config requires beyond the schema, and how such rules are joined."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tzmmoe.errors import Faults
from tzmmoe.protos.pipeline_pb2 import Pipeline

Rewrite = Callable[[Pipeline, Faults], Mapping[str, str]]
Check = Callable[[Pipeline, Faults], None]
Notes = Callable[[Pipeline], Iterable[str]]


@dataclass(frozen=True)
class Rules:
    """The rules of one part: a section of the config, a neighbour's dialect, a model.

    A part defines only those it needs:

    - ``rewrite`` converts other forms into the canonical one, in place, and returns the paths that
      it sets, each with the path that the user wrote; its faults are contradictions between forms.
    - ``check`` adds the faults of a canonical pipeline.
    - ``notes`` returns a line for each setting, or kind of setting, without effect. It requires a
      pipeline without faults.
    """

    rewrite: Rewrite = lambda pipeline, faults: {}
    check: Check = lambda pipeline, faults: None
    notes: Notes = lambda pipeline: ()


def joined(*parts: Rules) -> Rules:
    """The rules of all parts, in the given order."""

    def rewrite(pipeline: Pipeline, faults: Faults) -> dict[str, str]:
        written: dict[str, str] = {}
        for part in parts:
            written |= part.rewrite(pipeline, faults)
        return written

    def check(pipeline: Pipeline, faults: Faults) -> None:
        for part in parts:
            part.check(pipeline, faults)

    def notes(pipeline: Pipeline) -> list[str]:
        return [line for part in parts for line in part.notes(pipeline)]

    return Rules(rewrite, check, notes)
