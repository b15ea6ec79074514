"""Which keys the configuration of an adapter may hold, by its kind, and what is refused by name and why.

Source: the configuration classes of peft 0.21.2.  Differs: peft warns about a key that it does not know and goes on;
here one with a value is refused, as the weights may depend on it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from mergebarrier.checkpoint.adapter.kinds import KINDS, LAYERS, MODULES
from mergebarrier.errors import AdapterRefused, BadAdapter, clean
from mergebarrier.nearest import did_you_mean

INSTEAD = "merge the adapter into its base with peft (merge_and_unload), save that, and give the result"
REPAIR = "repair the file, or save the adapter again with peft"
LORA = "LORA"
# Of every kind, without influence on the weights.
_COMMON = frozenset((
    "peft_type", "base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version", "inference_mode",
    "runtime_config",
))  # fmt: skip
# Of LoRA: read and applied, or without influence on the weights.
_LORA_KEYS = MODULES | LAYERS | frozenset((
    "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "bias",
    "init_lora_weights", "lora_dropout", "megatron_core", "qalora_group_size", "loftq_config", "eva_config",
    "ensure_weight_tying", "target_parameters", "trainable_token_indices", "velora_config", "lora_bias",
    "corda_config", "lora_ga_config",
    "merge_weights",  # of peft 0.1: when the update is added, not whether
    "swift_type", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr",  # of ms-swift: how it was trained
))  # fmt: skip
# Key -> what it makes of the update; refused when it has a value.
_REFUSED = {
    "alora_invocation_tokens": "the adapter acts on some tokens only",
    "use_qalora": "QALoRA pools the inputs",
    "use_bdlora": "the factors are block-diagonal",
    "kasa_config": "KaSA changes the base",
    "arrow_config": "adapters are chosen per token",
    "monteclora_config": "the factors are random",
    "enable_lora": "parts of a joined projection are adapted apart, as by peft 0.1",
    "megatron_config": "parallel layers of Megatron",
}
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
#: Kinds that no weights can hold -> what they do.
_NO_WEIGHTS = {
    "PROMPT_TUNING": "puts trained vectors before the text",
    "MULTITASK_PROMPT_TUNING": "puts trained vectors before the text",
    "P_TUNING": "puts trained vectors before the text",
    "PREFIX_TUNING": "puts trained keys and values before the text",
    "CPT": "puts trained vectors before the text",
    "CARTRIDGE": "puts trained keys and values before the text",
    "ADAPTION_PROMPT": "adds trained prompts to the attention",
    "POLY": "chooses among adapters per task",
    "XLORA": "chooses among adapters per token",
}
_NAMED = 12


def check_keys(document: Mapping[str, Any], where: Path) -> None:
    """Refuse a kind or a variant that is not read, and keys with a value that are not known.

    Raises: AdapterRefused, BadAdapter.
    """
    kind = document.get("peft_type")
    if not isinstance(kind, str) or (kind != LORA and kind not in KINDS):
        _refuse_kind(kind, where)
    for key, meaning in _REFUSED.items():
        if document.get(key) not in (None, False, {}, []):
            raise AdapterRefused(f"{key}: {meaning}, which is not read", where=where, remedy=INSTEAD)
    _check_replication(document.get("layer_replication"), where)
    start = document.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_THE_BASE):
        convert = "convert it with peft: save_pretrained(DIR, path_initial_model_for_weight_conversion=INITIAL_ADAPTER)"
        remedy = "give the base that its start left (unload() of peft, saved), and write true there"
        remedy = remedy if start.lower() == "loftq" else f"{convert}; or {remedy}"  # which peft does not convert
        what = f"init_lora_weights is {clean(repr(start))}: the adapter belongs to a base that its start changed"
        raise AdapterRefused(what, where=where, remedy=remedy)
    known = _COMMON | (_LORA_KEYS if kind == LORA else KINDS[kind].keys)
    for key, value in document.items():
        if key not in known and key not in _REFUSED and value not in (None, False, {}, [], ""):
            hint = did_you_mean(key, sorted(known))
            remedy = "remove the key, if the weights do not depend on it"
            raise BadAdapter(f"unknown key {clean(key)!r}{hint}", where=where, remedy=remedy)


def _refuse_kind(kind: object, where: Path) -> NoReturn:
    if isinstance(kind, str) and kind in _NO_WEIGHTS:
        what = f"peft_type is {kind}, which {_NO_WEIGHTS[kind]}; no weights of the base could hold that"
        raise AdapterRefused(what, where=where, remedy="serve it with peft beside a merged model, or train a LoRA")
    what = f"peft_type is {clean(repr(kind))}; of adapters, {', '.join((LORA, *sorted(KINDS)))} are read"
    raise AdapterRefused(what, where=where, remedy=INSTEAD)


def _check_replication(repeated: Any, where: Path) -> None:
    if repeated:
        what = "layer_replication: layers of the base are repeated, each with an update of its own"
        said = [clean(one) for one in repeated[:_NAMED]] if isinstance(repeated, list) else ["as there"]
        ranges = f"layer_range {', then '.join(said)}{' ...' if len(repeated) > _NAMED else ''}"
        stack = f"stack the base so first (merge_method: passthrough, a slice each with {ranges})"
        remedy = f"{stack}, remove the key, and give that base; peft's own merge adds the updates of copies up"
        raise AdapterRefused(what, where=where, remedy=remedy)
