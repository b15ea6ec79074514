"""Kinds of adapters that train tensors of the base as they are: norms whole, or single rows of an embedding.

    LN_TUNING: X.ln_tuning_layers.weight -> X.weight        TRAINABLE_TOKENS: X.trainable_tokens_delta -> rows of X

Source: arXiv 2312.11420 for the norms, names and layouts of peft 0.21.2.
"""

from mergebarrier.checkpoint.adapter.kinds.kind import MODULES, Kind

LN_TUNING = Kind(
    name="LN_TUNING",
    keys=MODULES,
)
TRAINABLE_TOKENS = Kind(
    name="TRAINABLE_TOKENS",
    keys=frozenset(("target_modules", "exclude_modules", "token_indices", "init_weights", "fan_in_fan_out")),
)
