"""EasyRec's ``model_config`` -> the canonical form that the rest of the code reads.

Only the model's part: a whole pipeline of EasyRec has other words for data, features and training,
which ``tzmmoe.convert easyrec`` translates.
"""

from tzmmoe.config.dialects.easyrec.models import canonicalize
from tzmmoe.config.rulebook import Rules

RULES = Rules(rewrite=canonicalize)

__all__ = ["RULES"]
