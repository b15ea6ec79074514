"""The kinds of adapters beside LoRA, by ``peft_type``."""

from collections.abc import Mapping
from typing import Final

from mergebarrier.checkpoint.adapter.kinds.adalora import ADALORA
from mergebarrier.checkpoint.adapter.kinds.ia3 import IA3
from mergebarrier.checkpoint.adapter.kinds.kind import Kind
from mergebarrier.checkpoint.adapter.kinds.loha import LOHA
from mergebarrier.checkpoint.adapter.kinds.lokr import LOKR
from mergebarrier.checkpoint.adapter.kinds.vera import VERA
from mergebarrier.checkpoint.adapter.kinds.whole import LN_TUNING, TRAINABLE_TOKENS

KINDS: Final[Mapping[str, Kind]] = {
    "ADALORA": ADALORA,
    "IA3": IA3,
    "LN_TUNING": LN_TUNING,
    "LOHA": LOHA,
    "LOKR": LOKR,
    "TRAINABLE_TOKENS": TRAINABLE_TOKENS,
    "VERA": VERA,
}
