"""What will be trained, at a glance: tables, parameters, memory."""

from torch import Tensor

from tzmmoe.models import RankModel
from tzmmoe.training.optimization import Optimization


def summary(model: RankModel, optimization: Optimization, free_bytes: int | None) -> str:
    """Tables with rows, width and bytes, the dense part by module, memory needed and there."""
    lines = [f"{'table':32} {'rows':>12} {'width':>6} {'size':>10}"]
    for module in optimization.tables.values():
        width = module.weight.shape[1]
        for name, (begin, end) in module.spans.items():
            frozen = "" if end <= module.trained_rows else "  (not trained)"
            size = (end - begin) * width * module.weight.element_size()
            lines.append(f"{name:32} {end - begin:>12,} {width:>6} {_bytes(size):>10}{frozen}")
    table_bytes = sum(_size(module.weight) for module in optimization.tables.values())
    dense = list(optimization.dense_parameters.values())
    dense_bytes = sum(_size(parameter) for parameter in dense)
    state_bytes = sum(
        _size(tensor)
        for optimizer in (optimization.sparse, optimization.dense)
        if optimizer
        for state in optimizer.state.values()
        for tensor in state.values()
        if isinstance(tensor, Tensor)
    )
    for name, child in (*model.named_children(), *model.encoder.named_children()):
        count = sum(
            parameter.numel()
            for key, parameter in child.named_parameters()
            if any(parameter is each for each in dense)
        )
        if count and name not in ("encoder", "tables"):
            lines.append(f"{name:32} {count:>12,} parameters")
    needed = table_bytes + 2 * dense_bytes + state_bytes
    there = f" of {_bytes(free_bytes)} free" if free_bytes is not None else ""
    lines.append(
        f"memory: tables {_bytes(table_bytes)}, dense part {_bytes(dense_bytes)}, optimizers "
        f"{_bytes(state_bytes)}; with gradients {_bytes(needed)}{there}, and the batches beside it"
    )
    return "\n".join(lines)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
