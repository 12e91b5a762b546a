"""All rules that a config must obey, gathered from wherever they are defined.

Features and models define their own rules. Gathering all of them here prevents a config from being
loaded with only some.
"""

from collections.abc import Iterator
from functools import partial

from tzmmoe.build.features import feature_notes
from tzmmoe.config.dialects import easyrec, torcheasyrec
from tzmmoe.config.rulebook import Rules, joined
from tzmmoe.config.rules import SECTIONS
from tzmmoe.config.walk import custom_classes
from tzmmoe.errors import ConfigError
from tzmmoe.models import MODELS
from tzmmoe.protos.pipeline_pb2 import Pipeline
from tzmmoe.registry import Modules
from tzmmoe.registry.modules import NO_MODULES


def rules(modules: Modules = NO_MODULES) -> Rules:
    """The rules of the dialects, the config's sections, the features and the config's model.
    ``modules`` are those in which classes of the user's may lie."""
    of_features = Rules(notes=partial(feature_notes, modules=modules))
    idle = Rules(notes=partial(_idle, modules))
    return joined(
        easyrec.RULES, torcheasyrec.RULES, SECTIONS, of_features, _of_the_model(modules), idle
    )


def _idle(modules: Modules, pipeline: Pipeline) -> Iterator[str]:
    """A line for each allowed module in which no class of the config lies."""
    paths = [path for _, path in custom_classes(pipeline)]
    for name in modules.allowed:
        if not any(Modules((name,)).allows(path) for path in paths):
            yield f"allow_modules: {name} has no effect: no class of the config is in it"


def _of_the_model(modules: Modules) -> Rules:
    """The rules of whatever model a config chooses."""

    def chosen(pipeline: Pipeline) -> Rules:
        config = pipeline.model_config
        if config.WhichOneof(MODELS.schema.name) is None:
            return Rules()
        word, arguments = MODELS.chosen(config)
        try:
            return MODELS.kind(word, arguments, modules).rules
        except ConfigError:  # a class of the user's, which building reports
            return Rules()

    return Rules(
        rewrite=lambda pipeline, faults: chosen(pipeline).rewrite(pipeline, faults),
        check=lambda pipeline, faults: chosen(pipeline).check(pipeline, faults),
        notes=lambda pipeline: chosen(pipeline).notes(pipeline),
    )
