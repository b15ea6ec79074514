"""Flags of mergekit-yaml on ``merge``: each is an option here, has no effect because it is the default, or is refused
by name.

    "--cuda" -> error: --cuda: an option of mergekit that has no meaning here: ...; leave it out

One literal table, compared with the list of mergekit 0.1.5 by a test, so that no flag ends in a guess at a likely name.
"""

import re
from typing import Final, Literal, TypeAlias

import click

__all__ = ["MERGEKIT_FLAGS", "PARAMETER_COUNT", "WITH_A_VALUE", "flag_named"]

#: By mergekit's name of the field.  "ours": one of our options does it; "always": this is the default here; else why it
#: has no meaning here, and what to do.
Reply: TypeAlias = Literal["ours", "always"] | tuple[str, str]

_GPU: Final = ("merging is done by the processor, at the speed of the disk", "leave it out, or see --device")
_CODE: Final = ("no program of a model is ever run", "leave it out; models of unknown architectures are merged by name")
MERGEKIT_FLAGS: Final[dict[str, Reply]] = {
    "allow_crimes": ("models of two architectures are never merged", "merge models of one family"),
    "no_allow_crimes": "always",
    "unsafe_truncate_embeddings": "ours",
    "no_unsafe_truncate_embeddings": "always",
    "transformers_cache": ("the Hub's cache is found by its own variable", "set HF_HUB_CACHE"),
    "lora_merge_cache": ("no merged copy of a model is ever written", "leave it out"),
    "lora_merge_dtype": ("adapters are put on their base in float32", "leave it out"),
    "cuda": _GPU,
    "no_cuda": "always",
    "device": "ours",
    "low_cpu_memory": ("memory is bounded by streaming", "leave it out, or give --max-ram"),
    "no_low_cpu_memory": "always",
    "out_shard_size": "ours",
    "copy_tokenizer": "always",
    "no_copy_tokenizer": ("tokenizer files always come along", "delete them from the output"),
    "clone_tensors": "always",
    "no_clone_tensors": "always",
    "trust_remote_code": _CODE,
    "no_trust_remote_code": "always",
    "random_seed": "ours",
    "lazy_unpickle": ("pickles are never opened, and safetensors are always read lazily", "leave it out"),
    "no_lazy_unpickle": "always",
    "write_model_card": "always",
    "no_write_model_card": ("the model card always comes along", "delete README.md from the output"),
    "safe_serialization": "always",
    "no_safe_serialization": ("pickles are never written", "leave it out"),
    "v": "ours",
    "quiet": "ours",
    "no_quiet": "always",
    "read_to_gpu": _GPU,
    "no_read_to_gpu": "always",
    "multi_gpu": _GPU,
    "no_multi_gpu": "always",
    "num_threads": ("it is called --threads here", "give --threads N"),
    "j": ("it is called --threads here", "give --threads N"),
    "gpu_rich": _GPU,
    "async_write": ("every worker writes while the others read already", "leave it out, see --workers"),
    "no_async_write": "always",
    "write_threads": ("every worker writes what it merged", "leave it out, see --workers"),
}
WITH_A_VALUE: Final = (
    "transformers_cache", "lora_merge_cache", "lora_merge_dtype", "num_threads", "j", "write_threads",
)  # fmt: skip


def flag_named(name: str) -> str:
    """Return the flag of a key of the table."""
    return f"-{name}" if len(name) == 1 else "--" + name.replace("_", "-")


def _count(value: str) -> int:
    """Read a number of parameters as mergekit does: 5B, 500M, 100k or a plain number; units are powers of 1000."""
    count = re.fullmatch(r"(\d+)([KMB]?)", value, re.ASCII | re.IGNORECASE)
    n_parameters = int(count[1]) * {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}[count[2].upper()] if count else 0
    if n_parameters < 1:
        says = "is not a number of parameters such as 5B; --max-shard-size takes bytes, such as 4G"
        raise click.BadParameter(f"{value!r} {says}")
    return n_parameters


PARAMETER_COUNT: Final = click.types.FuncParamType(_count)
