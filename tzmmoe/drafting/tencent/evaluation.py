"""eval_args -> eval_config."""

from collections.abc import Callable

from tzmmoe.drafting.draft import Part
from tzmmoe.drafting.tencent.metrics import of_towers, put_metrics
from tzmmoe.drafting.tencent.section import Given, Section
from tzmmoe.drafting.tencent.training import batch_size


def put_evaluation(
    root: Part, evaluation: Section, towers: dict[str, str], place: Callable[[Given], str]
) -> None:
    """The final evaluation; ``towers`` are {label: tower}."""
    part = root.part("eval_config")
    if not root.message.test_input_path:
        evaluation.report.notes.append(
            "there is no test_data_args: eval_args measures val_data_args"
        )
    part.put("batch_size", batch_size(evaluation), "changes no result")
    output = evaluation.text("output_file")
    if output.value:
        part.put("output_file", Given(place(output), output.path))
    metrics = of_towers(evaluation, list(towers))
    for name, each in zip(towers.values(), metrics or [], strict=False):
        if each:
            own = part.part("task_metrics")
            own.set("name", name)
            put_metrics(own, each, evaluation)
