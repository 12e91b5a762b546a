"""The towers of any model: their specifications, what they read of each other, their networks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from tzmmoe.config.walk import task_towers
from tzmmoe.errors import ConfigError, Faults, did_you_mean, few
from tzmmoe.models import Body
from tzmmoe.models.base import TowerSpec
from tzmmoe.models.tower import Tower
from tzmmoe.protos.model_pb2 import ModelConfig, TaskTower
from tzmmoe.registry import Modules, OwnErrors, fields

RELATIONS = "relation_tower_names"


def tower_specs(config: ModelConfig, faults: Faults) -> dict[str, TowerSpec]:
    """The specification of each tower, by its path, without relations that are faulty."""
    of_tasks = TaskTower.DESCRIPTOR.fields_by_name
    specs = {}
    for path, message in task_towers(config):
        values = fields(message)
        specs[path] = TowerSpec(
            name=message.tower_name,
            num_class=message.num_class or 1,  # 0 is a fault of its own
            mlp=values["mlp"],
            further={name: value for name, value in values.items() if name not in of_tasks},
            relations=values[RELATIONS],
            relation_mlp=values["relation_mlp"],
        )
    return _without_rings(_with_valid_relations(specs, faults), faults)


def _with_valid_relations(specs: Mapping[str, TowerSpec], faults: Faults) -> dict[str, TowerSpec]:
    """The specifications, without relations to the tower itself, to an unknown one, or to one
    twice."""
    names, checked = [spec.name for spec in specs.values()], {}
    for path, spec in specs.items():
        place, others = f"{path}.{RELATIONS}", [name for name in names if name != spec.name]
        for name, count in Counter(spec.relations).items():
            if name == spec.name:
                faults.add(place, f"{name!r} is the tower itself; remove it")
            elif name not in names:
                remedy = f"give one of {few(others)}" if others else "remove it"
                words = f"{name!r} is not a tower of the model; {remedy}"
                faults.add(place, words + did_you_mean(name, others))
            elif count > 1:
                faults.add(place, f"{name!r} is listed twice; remove one")
        valid = [name for name in dict.fromkeys(spec.relations) if name in others]
        checked[path] = replace(spec, relations=valid)
    return checked


def _without_rings(specs: dict[str, TowerSpec], faults: Faults) -> dict[str, TowerSpec]:
    """The specifications; if towers read each other in a ring, without any relations."""
    try:
        TopologicalSorter({spec.name: spec.relations for spec in specs.values()}).prepare()
    except CycleError as error:
        *ring, _ = error.args[1][::-1]  # each reads the next, and the last one the first
        path = next(path for path, spec in specs.items() if spec.name == ring[0])
        shown = " reads ".join(repr(name) for name in (*ring, ring[0]))
        faults.add(f"{path}.{RELATIONS}", f"towers read each other in a ring: {shown}; remove one")
        return {path: replace(spec, relations=()) for path, spec in specs.items()}
    return specs


def build_towers(
    specs: Mapping[str, TowerSpec], body: Body | None, faults: Faults, modules: Modules
) -> dict[str, Tower]:
    """The towers by name, in the order of the config. Each is made after those that it reads.

    ``specs``: by path. ``body``: None if it is faulty; the towers are checked all the same.
    """
    names = [spec.name for spec in specs.values()]
    by_name = {spec.name: (i, path, spec) for i, (path, spec) in enumerate(specs.items())}
    towers: dict[str, Tower] = {}
    for name in body.order(names) if body else by_name:
        index, path, spec = by_name[name]
        with faults.under(path), OwnErrors(modules, ConfigError):
            if body:
                sources = [towers[other] for other in body.reads.get(name, ()) if other in towers]
                towers[name] = body.tower(index, spec, sources)
            else:
                Tower(1, spec.num_class, spec.mlp, relation=spec.relation_mlp)
    return {name: towers[name] for name in names if name in towers}
