"""The columns as their cells mean them: what was found of them so, and what contradicts it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tzmmoe.data.reading.base import Source
from tzmmoe.drafting.survey.cells.converted import ConvertedSource
from tzmmoe.drafting.survey.cells.form import CellForm, form_of_cells
from tzmmoe.drafting.survey.columns.power import Power
from tzmmoe.drafting.survey.columns.rows import Survey, survey


@dataclass(frozen=True)
class Interpretation:
    """``survey``: of all columns, those in ``forms`` as these read them, with the parts of dates
    beside them. ``faults``: {column: place and text of a cell that contradicts its likely form}."""

    survey: Survey
    forms: Mapping[str, CellForm] = field(default_factory=dict)
    faults: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def source(self, source: Source) -> ConvertedSource:
        """The files with the columns as they are understood."""
        forms = self.forms.values()
        return ConvertedSource(
            source, [each.again() for form in forms for each in form.conversions]
        )


def interpreted(
    source: Source,
    plain: Survey,
    labels: Sequence[str],
    *,
    roles: Mapping[str, str],
    typed: Collection[str],
    zone: str,
) -> Interpretation:
    """Look at the columns again whose cells do not simply hold their values. ``plain``: what was
    found of all columns as they stand. ``roles``: {column: what the user says that it is}, of all
    but labels and weights. ``typed``, ``zone``: see ``survey`` and ``form_of_cells``."""
    names = set(plain.profiles)
    found = [
        form_of_cells(plain.profiles[name], role, plain.powers.get(name, Power()), names, zone)
        for name, role in roles.items()
    ]
    forms = {form.column: form for form in found if form}
    if not forms:
        return Interpretation(plain)
    changes = [each for form in forms.values() for each in form.conversions]
    again = survey(
        ConvertedSource(source, changes),
        [*(each.name for each in changes), *labels],
        labels,
        typed=[name for name in labels if name in typed],
    )
    faults = {name: form.fault for name, form in forms.items() if form.fault}
    forms = {name: form for name, form in forms.items() if name not in faults}
    read = [each.name for form in forms.values() for each in form.conversions]
    powers = {name: power for name, power in plain.powers.items() if name not in forms}
    merged = replace(
        plain,
        profiles={**plain.profiles, **_of(again.profiles, read)},
        powers={**powers, **_of(again.powers, read)},
        values={**plain.values, **_of(again.values, read)},
    )
    return Interpretation(merged, forms, faults)


def _of(found: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    return {name: found[name] for name in names if name in found}
