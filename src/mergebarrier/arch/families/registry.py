"""The families that are known, as data: a further one is a file beside this one and a line here."""

from collections.abc import Mapping
from typing import Final

from mergebarrier.arch.families.decoders import (
    COHERE,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GLM4,
    OLMO,
    OLMO2,
    PHI,
    PHI3,
    QWEN3,
    STABLELM,
)
from mergebarrier.arch.families.encoders import BERT, DINOV2, DISTILBERT, MODERNBERT, ROBERTA, VIT
from mergebarrier.arch.families.gpt import BLOOM, FALCON_7B, FALCON_40B, GPTJ, MPT, NEOX, OPT
from mergebarrier.arch.families.gpt2 import GPT2
from mergebarrier.arch.families.llama import LLAMA
from mergebarrier.arch.families.mamba import MAMBA
from mergebarrier.arch.families.moe import DEEPSEEK, GPT_OSS, MIXTRAL, QWEN2_MOE, QWEN3_MOE
from mergebarrier.arch.families.seq2seq import BART, T5, T5_GATED, WHISPER
from mergebarrier.arch.families.towers import CLIP, GEMMA3_PICTURES, LLAVA, MISTRAL3, QWEN2_VL, SIGLIP
from mergebarrier.arch.family import Family

FAMILIES: Final[Mapping[str, Family]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "olmo": OLMO,
    "olmo2": OLMO2,
    "stablelm": STABLELM,
    "cohere": COHERE,
    "glm4": GLM4,
    "phi": PHI,
    "mixtral": MIXTRAL,
    "qwen2_moe": QWEN2_MOE,
    "qwen3_moe": QWEN3_MOE,
    "gpt_oss": GPT_OSS,
    "deepseek": DEEPSEEK,
    "neox": NEOX,
    "gptj": GPTJ,
    "opt": OPT,
    "bloom": BLOOM,
    "falcon_7b": FALCON_7B,
    "falcon_40b": FALCON_40B,
    "mpt": MPT,
    "mamba": MAMBA,
    "bert": BERT,
    "roberta": ROBERTA,
    "distilbert": DISTILBERT,
    "modernbert": MODERNBERT,
    "vit": VIT,
    "dinov2": DINOV2,
    "t5": T5,
    "t5_gated": T5_GATED,
    "bart": BART,
    "whisper": WHISPER,
    "clip": CLIP,
    "siglip": SIGLIP,
    "llava": LLAVA,
    "gemma3_pictures": GEMMA3_PICTURES,
    "qwen2_vl": QWEN2_VL,
    "mistral3": MISTRAL3,
}
