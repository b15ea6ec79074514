"""The configuration of a model whose vocabulary has changed: other rows, or a head of its own.

    T5, tied: logits = E h / sqrt(d)      not tied: H h      not tied, with scale_decoder_outputs: H h / sqrt(d)

Source: the configuration classes of transformers 5.23.  Differs: Switch, which has no other key for the factor, is
refused a head of its own, since the model would answer otherwise.
"""

from collections.abc import Mapping
from typing import Any

from mergebarrier.errors import BadConfig

_TIE, _SCALE = "tie_word_embeddings", "scale_decoder_outputs"
#: Types whose class takes the tie for a factor before the head, and those of them that say the factor apart.
_SCALED = ("t5", "longt5", "pop2piano", "switch_transformers")
_SAID_APART = _SCALED[:-1]


def with_rows(config: Mapping[str, Any], before: int, rows: int) -> dict[str, Any]:
    """Return a configuration with another vocabulary; tables inside it included."""
    return {
        key: rows
        if key == "vocab_size" and value == before
        else with_rows(value, before, rows)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }


def with_own_head(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that ties no head to an embedding; the tables inside it that speak of one, too.

    Raises: BadConfig where its class would then leave out a factor.
    """
    kind = config.get("model_type")
    scaled = {_SCALE: config.get(_SCALE, True)} if kind in _SAID_APART else {}
    if kind in _SCALED and not scaled:
        what = "its class scales what enters a tied head alone, so a head of its own would answer otherwise"
        raise BadConfig(what, where=f"config.json: {kind}", remedy="leave --untie out, and merge models that tie alike")
    tables = {key: {**value, _TIE: False} for key, value in config.items() if isinstance(value, dict) and _TIE in value}
    return {**config, **tables, **scaled, _TIE: False}
