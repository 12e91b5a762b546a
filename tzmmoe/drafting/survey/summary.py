"""What the person who asked for a draft is told: what each column was taken for, doubts first."""

import shlex
from collections.abc import Iterator

from tzmmoe.drafting.survey import auxiliary
from tzmmoe.drafting.survey.feature import shown
from tzmmoe.drafting.survey.findings import Findings
from tzmmoe.drafting.survey.semantics import looks_like_ids
from tzmmoe.drafting.survey.task import LabelTask
from tzmmoe.errors import Faults


def summary(findings: Findings) -> str:
    """What was looked at, what a person should decide, and what became of each column."""
    sections = {
        "to decide": list(_doubts(findings)),
        "tasks": [_task(each) for each in findings.tasks],
        "features": [
            f"{shown(each.column)} ({each.config.WhichOneof('feature')}): {each.why}"
            for each in findings.features
        ],
        "left out": left_out(findings),
    }
    lines = [f"looked at {findings.survey.seen} of {files_of(findings)}"]
    for title, entries in sections.items():
        if entries:
            lines += [f"{title}:", *(f"  {entry}" for entry in entries)]
    return "\n".join(lines)


def _task(task: LabelTask) -> str:
    mark = " (auxiliary)" if task.auxiliary else ""
    return f"{shown(task.column.name)}{mark}: {task.why}"


def left_out(findings: Findings) -> list[str]:
    """The columns that are no features, and why."""
    return [f"{shown(each.column) or '(no name)'}: {each.why}" for each in findings.left_out]


def files_of(findings: Findings) -> str:
    """The files that were looked at, in words."""
    first, more = findings.source.files[0], len(findings.source.files) - 1
    files = f"{first} and {more} more" if more else first
    return f"{files} that are trained on" if findings.request.split else files


def leaked(column: str, findings: Findings, between: str) -> str:
    """The labels that a column alone predicts."""
    suspects = findings.leaks[column].items()
    return between.join(f"{shown(label)} (AUC {auc:.4f})" for label, auc in suspects)


def _leak(column: str, findings: Findings) -> str:
    text = (
        f"leaks? {shown(column)} alone predicts {leaked(column, findings, ' and ')}; if it "
        f"is made from the label, draft again with --ignore {shlex.quote(column)}"
    )
    profile, faults = findings.survey.profiles[column], Faults()
    if auxiliary.draft(profile, typed=findings.typed, faults=faults):
        names = ",".join([*findings.request.auxiliary, column])
        text += f"; if prediction will not have it, with {auxiliary.FLAG} {shlex.quote(names)}"
    return text


def _doubts(findings: Findings) -> Iterator[str]:
    yield from (_leak(column, findings) for column in findings.leaks)
    for each in (*findings.features, *findings.left_out):
        if each.doubt:
            yield f"{shown(each.origin) or '(no name)'}: {each.doubt}"
    yield from (f"{shown(name)}: {words}" for name, words in findings.strange.items())
    for label in findings.sorted_by:
        advice = "shuffle the files' rows; training permutes them only nearby"
        yield f"sorted by {shown(label)}? {advice}"
    for each in findings.tasks:
        if looks_like_ids(each.column):
            yield f"{shown(each.column.name)}: is it to be predicted? its values look like ids"
    yield from (each.advice for each in findings.tasks if each.advice)
    if not findings.request.evaluates:
        yield "training will not evaluate: name files by --eval_data, or pass --eval_fraction 0.2"
