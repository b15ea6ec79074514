"""Heads over the vocabulary that stock classes name and tie in families without a table.

    no tensor but embeddings has a row per token, and the class has a head   ->   the head is the embedding

A configuration of transformers 4 says a tie only where it is not the default, so that most say nothing.
Source: ``_tied_weights_keys`` of the classes of transformers 5.23, which a test holds these names against.
"""

import re
from collections.abc import Mapping
from typing import Final

from mergebarrier.checkpoint import Checkpoint

#: The module of a head -> the types of models whose class has it; of all others it is ``lm_head``.
_HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "cls.predictions.decoder": (
        "big_bird", "deberta", "deberta-v2", "ernie", "fnet", "layoutlm", "lxmert", "megatron-bert", "mobilebert",
        "mra", "nomic_bert", "nystromformer", "roc_bert", "roformer", "squeezebert", "tapas", "visual_bert", "yoso",
    ),
    "lm_head.decoder": (
        "bert-generation", "data2vec-text", "esm", "gte", "ibert", "jina_embeddings_v3", "longformer", "luke",
        "roberta-prelayernorm", "xlm-roberta-xl", "xmod",
    ),
    "decoder": ("modernbert-decoder",),
    "embed_out": ("gpt_neox_japanese",),
    "generator_lm_head": ("convbert", "electra"),
    "lm_head.out_proj": ("t5gemma", "t5gemma2"),
    "lm_loss": ("xlnet",),
    "output_projection": ("biogpt",),
    "pred_layer.proj": ("flaubert", "xlm"),
    "predictions.decoder": ("albert",),
    "proj_out": ("canary", "cohere_asr", "moonshine", "moonshine_streaming"),
}  # fmt: skip
HEADS: Final = {kind: head for head, kinds in _HEADS.items() for kind in kinds}
#: Types whose head has no bias of its own beside the one that its parent adds.
NO_BIAS: Final = frozenset(("esm", "gte", "luke", "lxmert"))
_WITH_HEAD = re.compile(r"(For(CausalLM|MaskedLM|ConditionalGeneration|PreTraining)|LMHeadModel|MTModel)$")
#: Classes of that ending whose head is another thing.
_OTHERWISE = ("ElectraForPreTraining",)
_EMBEDS = re.compile(r"embed|shared|wte|wpe|(^|\.)w\.weight$")
_LAYER = re.compile(r"\.\d+\.")


def head_of(model: Checkpoint) -> str:
    """Return the name of the head that the class of a model has."""
    return HEADS.get(str(model.config.get("model_type")), "lm_head") + ".weight"


def ties_unsaid(model: Checkpoint) -> bool:
    """Say whether a model whose configuration does not tell must tie its head: its class has one, its files do not."""
    named = model.config.get("architectures")
    classes = [str(one) for one in named] if isinstance(named, list) else []
    rows = model.config.get("vocab_size")
    others = (
        name
        for name, info in model.tensors.items()
        if len(info.shape) == 2 and info.rows == rows and not _EMBEDS.search(name) and not _LAYER.search(name)
    )
    headed = any(_WITH_HEAD.search(one) and one not in _OTHERWISE for one in classes)
    return headed and next(others, None) is None
