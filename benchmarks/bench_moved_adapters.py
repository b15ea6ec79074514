"""Adapters that move along with a protection: how far peft's answers on both models lie apart, in float32.

Tiny random models, each with an adapter that peft made; ``protect`` moves both, and peft puts one on the other.  The
figure is the largest difference of a logit from the original's with its adapter, which adapters of this size move by
more than half; at most 1e-5 is allowed.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _quiet import one_quiet_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import mergebarrier as mb
import peft_adapters
import tiny_models
from _keep import say
from mergebarrier.errors import MergebarrierError
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS, Protection, protection_named

METHODS: Mapping[str, Protection] = {
    **{name: kind() for name, kind in PROTECTIONS.items()},
    "mergebarrier keyed": protection_named("mergebarrier", {"select": "keyed"}),
    "exact full": protection_named("exact", {"profile": "full"}),
    "exact rotate": protection_named("exact", {"residual": "rotate"}),
    "params gl": protection_named("params", {"kind": "gl"}),
    "params+mergelock": protection_named("params+mergelock", {}),
    "exact+widen": protection_named("exact+widen", {}),
    "widen dead": protection_named("widen", {"dead_layers": 1}),
}
_EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_CONV = {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "r": 4}
#: Column -> the model, and what peft is asked for.
ADAPTERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "LoRA": ("llama-gqa-untied", {"r": 4, "target_modules": _EVERY}),
    "LoRA, embedding and head too": (
        "llama-gqa-untied",
        {"r": 4, "target_modules": [*_EVERY, "embed_tokens", "lm_head"], "use_rslora": True},
    ),
    "LoRA and biases": ("llama-mqa-biased", {"r": 4, "target_modules": _EVERY, "bias": "all"}),
    "LoRA, tied": ("qwen2", {"r": 4, "target_modules": _EVERY}),
    "LoRA, GPT-2": ("gpt2-tied", _CONV),
    "DoRA": ("llama-gqa-untied", {"r": 4, "target_modules": _EVERY, "use_dora": True}),
    "DoRA, tied": ("qwen2", {"r": 4, "target_modules": _EVERY, "use_dora": True}),
    "DoRA, GPT-2": ("gpt2-tied", {**_CONV, "use_dora": True}),
}


def apart(name: str, config: Mapping[str, Any], method: Protection, root: Path) -> float | str:
    """Return how far answers lie apart, or the reason for which nothing moves."""
    import peft
    from transformers import AutoModelForCausalLM

    model, adapter = (
        tiny_models.save(name, root / "model"),
        peft_adapters.save_adapter(root / "adapter", name, **config),
    )
    key = Key(bytes([7]) * 32) if method.keyed else None
    try:
        mb.protect(model, root / "out", method=method, key=key, adapters=[adapter])
    except MergebarrierError as refused:
        return refused.what
    wanted = peft_adapters.logits_of(peft_adapters.loaded(name, adapter))
    with peft_adapters.quiet():
        host = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(root / "out"), root / "out-adapter")
    moved = float((wanted - peft_adapters.logits_of(tiny_models.build(name))).abs().max())
    assert moved > 0.5, f"the adapter moves a logit by {moved:.1g} at most"
    return float((peft_adapters.logits_of(host) - wanted).abs().max())


def main() -> None:
    """Print the table, and the reasons below it."""
    one_quiet_thread()
    reasons: dict[str, int] = {}
    print(f"| method | {' | '.join(ADAPTERS)} |\n|{'---|' * (1 + len(ADAPTERS))}")
    worst = 0.0
    for label, method in METHODS.items():
        cells = []
        for name, config in ADAPTERS.values():
            with tempfile.TemporaryDirectory() as scratch:
                found = apart(name, config, method, Path(scratch))
            if isinstance(found, str):
                cells.append(f"no ({reasons.setdefault(found, len(reasons) + 1)})")
            else:
                worst = max(worst, found)
                cells.append(f"{found:.0e}")
        print(f"| {label} | {' | '.join(cells)} |")
        say(f"{label}: {cells}")
    print(f"\nLargest of all: {worst:.1e}.\n")
    print("\n".join(f"- no ({number}): {what}" for what, number in reasons.items()))


if __name__ == "__main__":
    main()
