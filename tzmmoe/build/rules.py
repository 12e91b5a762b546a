"""All rules that a config must keep, wherever they are told.

Whatever has rules beside it, as a model does, is asked here, so that nobody loads a config with
a part of them.
"""

from tzmmoe.build.features import feature_notes
from tzmmoe.config.dialects import torcheasyrec
from tzmmoe.config.rulebook import Rules, joined
from tzmmoe.config.rules import SECTIONS
from tzmmoe.models import MODELS
from tzmmoe.protos.pipeline_pb2 import Pipeline


def rules() -> Rules:
    """Those of the dialects, the config's sections, the features' kinds and the chosen model."""
    return joined(torcheasyrec.RULES, SECTIONS, Rules(notes=feature_notes), OF_THE_MODEL)


def _chosen(pipeline: Pipeline) -> Rules:
    """Those that the chosen model has beside itself."""
    word = pipeline.model_config.WhichOneof(MODELS.schema.name)
    return MODELS[word].rules if word in MODELS else Rules()


OF_THE_MODEL = Rules(
    rewrite=lambda pipeline, faults: _chosen(pipeline).rewrite(pipeline, faults),
    check=lambda pipeline, faults: _chosen(pipeline).check(pipeline, faults),
    notes=lambda pipeline: _chosen(pipeline).notes(pipeline),
)
