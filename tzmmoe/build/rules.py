"""All rules that a config must obey, gathered from wherever they are defined.

Features and models define their own rules. Gathering all of them here prevents a config from being
loaded with only some.
"""

from tzmmoe.build.features import feature_notes
from tzmmoe.config.dialects import torcheasyrec
from tzmmoe.config.rulebook import Rules, joined
from tzmmoe.config.rules import SECTIONS
from tzmmoe.models import MODELS
from tzmmoe.protos.pipeline_pb2 import Pipeline


def rules() -> Rules:
    """The rules of the dialects, the config's sections, the features and the config's model."""
    return joined(torcheasyrec.RULES, SECTIONS, Rules(notes=feature_notes), MODEL)


def _model_rules(pipeline: Pipeline) -> Rules:
    """The rules of the model that a config chooses."""
    word = pipeline.model_config.WhichOneof(MODELS.schema.name)
    return MODELS[word].rules if word in MODELS else Rules()


MODEL = Rules(
    rewrite=lambda pipeline, faults: _model_rules(pipeline).rewrite(pipeline, faults),
    check=lambda pipeline, faults: _model_rules(pipeline).check(pipeline, faults),
    notes=lambda pipeline: _model_rules(pipeline).notes(pipeline),
)
