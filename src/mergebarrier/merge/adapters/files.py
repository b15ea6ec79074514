"""The files of an adapter that peft loads: names of tensors and the configuration.

    every update is stored with scale 1: lora_alpha = r, and alpha_pattern = rank_pattern where ranks differ

Source: the format of peft 0.21.2.  Differs from what peft writes: modules are named in full, so that no base can have
another module that the name means too; nothing names a class or a library to import.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mergebarrier.checkpoint import ADAPTER_PREFIX, Adapter


def factor_names(module: str, *, embedding: bool) -> tuple[str, str]:
    """Return the names of A and B on disk."""
    middle, end = ("lora_embedding_", "") if embedding else ("lora_", ".weight")
    return f"{ADAPTER_PREFIX}{module}.{middle}A{end}", f"{ADAPTER_PREFIX}{module}.{middle}B{end}"


def whole_name(tensor: str, modules: Iterable[str]) -> str:
    """Return the name on disk of a whole tensor; under a module with an update, peft calls it ``base_layer``."""
    module, _, last = tensor.rpartition(".")
    return f"{ADAPTER_PREFIX}{module}.base_layer.{last}" if module in modules else ADAPTER_PREFIX + tensor


def document(adapters: Sequence[Adapter], ranks: Mapping[str, int]) -> dict[str, object]:
    """Return the configuration of the merged adapter.

    Args:
      adapters: what was merged.
      ranks:    of every module.
    """
    counts = Counter(ranks.values())
    usual = max(counts, key=lambda rank: (counts[rank], rank), default=1)
    # The longest first: a name that ends another one must not be met before it.
    odd = sorted((module for module in ranks if ranks[module] != usual), key=lambda name: (-len(name), name))
    pattern = {module: ranks[module] for module in odd}
    saved = dict.fromkeys(name for adapter in adapters for name in adapter.config.modules_to_save)
    biases = [adapter.config.bias for adapter in adapters]
    return {
        "peft_type": "LORA",
        "task_type": _agreed([adapter.config.task_type for adapter in adapters]),
        "base_model_name_or_path": _agreed([adapter.config.base for adapter in adapters]),
        "revision": _agreed([adapter.config.revision for adapter in adapters]),
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "fan_in_fan_out": adapters[0].config.fan_in_fan_out,
        "target_modules": list(ranks),
        "modules_to_save": list(saved) or None,
        "bias": next((bias for bias in ("all", "lora_only") if bias in biases), "none"),
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def dump(table: Mapping[str, object]) -> bytes:
    """Return the bytes of a configuration; the order of its keys is kept, since that of patterns has a meaning."""
    return json.dumps(table, indent=2).encode() + b"\n"


def _agreed(values: Sequence[str]) -> str | None:
    """Return what all that say something say; None when they differ or say nothing."""
    found = list(dict.fromkeys(value for value in values if value))
    return found[0] if len(found) == 1 else None
