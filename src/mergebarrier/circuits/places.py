"""What layers are by their place, family by family: functions (configuration, layer, number of layers) -> a word.

    every n-th:  (layer + 1) % n == 0        from k on:  layer >= k        a period with an offset:  layer % p == o

Some classes follow a rhythm that no key of theirs says, such as every second layer of Gemma 2; it stands here by
``model_type``.  Source: the configuration classes of transformers 5, which the tests hold every function against.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Table = Mapping[str, object]
Value = Callable[[Table, int, int], object]
_FULL, _SLIDING, _LINEAR, _CHUNKED = "full_attention", "sliding_attention", "linear_attention", "chunked_attention"


@dataclass(frozen=True, kw_only=True)
class _Rhythm:
    """Every n-th layer, the last of n or the first, is of full attention; the others have a word."""

    every: int
    key: str | None = None
    first: bool = False
    word: str = _SLIDING
    last_full: bool = False


RHYTHMS: Mapping[str, _Rhythm] = {
    **dict.fromkeys(("gemma2", "gpt_oss", "vaultgemma", "t5_gemma_module"), _Rhythm(every=2)),
    **dict.fromkeys(
        ("gemma3_text", "t5gemma2_text", "t5gemma2_decoder"), _Rhythm(every=6, key="sliding_window_pattern")
    ),
    **dict.fromkeys(
        ("cohere2", "cohere2_moe", "exaone4", "exaone_moe"), _Rhythm(every=4, key="sliding_window_pattern")
    ),
    **dict.fromkeys(
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
        _Rhythm(every=4, key="full_attention_interval", word=_LINEAR),
    ),
    **dict.fromkeys(
        ("modernbert", "modernbert-decoder"), _Rhythm(every=3, key="global_attn_every_n_layers", first=True)
    ),
    **dict.fromkeys(("gemma4_text", "gemma4_unified_text", "diffusion_gemma_text"), _Rhythm(every=6, last_full=True)),
    **dict.fromkeys(("granite_swa", "granitemoe_swa"), _Rhythm(every=4, first=True)),
    "bailing_hybrid": _Rhythm(every=6, key="layer_group_size", word=_LINEAR),
    "afmoe": _Rhythm(every=4, key="global_attn_every_n_layers"),
    "olmo3": _Rhythm(every=4),
    "olmo_hybrid": _Rhythm(every=4, word=_LINEAR),
    "gemma3n_text": _Rhythm(every=5),
    "cwm": _Rhythm(every=4, first=True),
    "minimax": _Rhythm(every=2, first=True, word=_LINEAR),
    "ultrabert": _Rhythm(every=3),
}
_TYPES, _SPARSE = "layer_types", "mlp_layer_types"
#: Types whose class makes lists per layer by rules that are not known here, where the file does not hold them.
UNSAID: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("dots3_note_text", "embedding_gemma2_text", "flint", "inkling2_text", "inkling_text", "kolibri1", "lfm3",
         "lfm3_vl_vision", "muse_glimmer_vision", "muse_spark_vision", "neomme", "qwen4_exp_text"),
        (_TYPES,),
    ),
    **dict.fromkeys(("ernie4_5_vl_moe_text", "hy_v3", "laguna", "step3p5"), (_SPARSE,)),
    **dict.fromkeys(("beam", "deepseek_v4", "glm5_next_text", "kimi_linear", "mimo_v2_flash"), (_TYPES, _SPARSE)),
    **dict.fromkeys(("muse_glimmer_text", "muse_spark_text"), (_TYPES, "layer_rope_theta")),
    "hy_v4": (_SPARSE, "indexer_types"),
    "mistral_large4_text": (_SPARSE, "no_rope_layers", "kv_source_layers"),
}  # fmt: skip
#: Types whose last layer is of full attention, whatever a list says.
LAST_FULL = frozenset(name for name, rhythm in RHYTHMS.items() if rhythm.last_full)


def number(config: Table, key: str, otherwise: int = 0) -> int:
    """Return a whole number of a configuration."""
    value = config.get(key)
    return value if type(value) is int else otherwise


def every(config: Table, key: str, otherwise: int = 1) -> int:
    """Return a number to count by, at least 1."""
    return max(1, number(config, key, otherwise))


def attention(config: Table, layer: int, n_layers: int) -> object:
    """Return the kind of attention of a layer: by its rope, by the layers before a window, or by the type's rhythm."""
    name = str(config.get("model_type"))
    windowed = bool(config.get("use_sliding_window")) and config.get("sliding_window") is not None
    if name in ("llama4_text", "smollm3"):
        local = _CHUNKED if name == "llama4_text" else _SLIDING if windowed else None
        rope = has_rope(config, layer, n_layers)
        return local if local and rope == (name == "llama4_text") else _FULL
    if "max_window_layers" in config:
        start = number(config, "max_window_layers")
        inside = layer < start and layer % 2 == 0 if name == "qwen2_moe" else layer >= start
        return _SLIDING if windowed and inside else _FULL
    rhythm = RHYTHMS.get(name)
    if rhythm is None:
        return None
    pattern = config.get(rhythm.key) if rhythm.key is not None else None
    if isinstance(pattern, str) and pattern:
        return _FULL if pattern[layer % len(pattern)] == "G" else rhythm.word
    beats = pattern if type(pattern) is int and pattern > 0 else rhythm.every
    full = (layer if rhythm.first else layer + 1) % beats == 0
    return _FULL if full or (rhythm.last_full and layer == n_layers - 1) else rhythm.word


def has_rope(config: Table, layer: int, n_layers: int) -> int:
    """Return 1 for a layer with rotary angles; SmolLM 3 and Llama 4 leave every fourth without."""
    listed = config.get("no_rope_layers")
    if isinstance(listed, list) and len(listed) == n_layers:
        return int(listed[layer] == 1)
    return int((layer + 1) % every(config, "no_rope_layer_interval", 4) != 0)


def after_dense(config: Table, layer: int, n_layers: int) -> str:
    """DeepSeek: the first layers are dense, and all but every n-th after them, or those that a list says."""
    beyond, listed = layer >= number(config, "first_k_dense_replace"), config.get("moe_layer_freq")
    if isinstance(listed, list) and len(listed) == n_layers:
        return "sparse" if beyond and listed[layer] else "dense"
    return "sparse" if beyond and layer % every(config, "moe_layer_freq") == 0 else "dense"


def sparse_step(config: Table, layer: int, n_layers: int) -> str:
    """Qwen: every n-th layer is sparse, but for those that are listed."""
    only = config.get("mlp_only_layers")
    dense = isinstance(only, list) and layer in only
    return "dense" if dense or (layer + 1) % every(config, "decoder_sparse_step") else "sparse"


def ernie(config: Table, layer: int, n_layers: int) -> str:
    """Ernie: every n-th layer from a first to a last is sparse."""
    end = number(config, "moe_layer_end_index", -1)
    inside = number(config, "moe_layer_start_index") <= layer <= (n_layers - 1 if end < 0 else end)
    return "sparse" if (layer + 1) % every(config, "moe_layer_interval") == 0 and inside else "dense"


def llama4_experts(config: Table, layer: int, n_layers: int) -> str:
    """Llama 4: the listed layers are sparse, or every n-th."""
    listed = config.get("moe_layers")
    if isinstance(listed, list):
        return "sparse" if layer in listed else "dense"
    return "dense" if (layer + 1) % every(config, "interleave_moe_layer_step") else "sparse"


def periodic(part: str, word: str, other: str) -> Value:
    """Jamba: a word for the layers at an offset in a period, another for the rest."""
    period, offset = f"{part}_layer_period", f"{part}_layer_offset"
    return lambda config, layer, n: word if layer % every(config, period) == number(config, offset) else other


def zamba(config: Table, layer: int, n_layers: int) -> str:
    """Zamba: the third layer is hybrid, then those at an offset in a period."""
    at = (layer - 3) % every(config, "attn_layer_period") == number(config, "attn_layer_offset")
    return "hybrid" if (at and layer > 2) or layer == 2 else _LINEAR


def runs(config: Table, layer: int, n_layers: int) -> object:
    """GPT-Neo: runs [words, times], each says its words so many times; all of them make up the layers."""
    types = config.get("attention_types")
    found: list[tuple[list[object], int]] = []
    for run in types if isinstance(types, list) else ():
        words, times = run if isinstance(run, list) and len(run) == 2 else (None, None)
        if isinstance(words, list) and type(times) is int:
            found.append((words, len(words) * times))
    if sum(length for _, length in found) != n_layers:
        return None
    for words, length in found:
        if layer < length:
            return words[layer % len(words)]
        layer -= length
    return None


def cycle(config: Table, layer: int, n_layers: int) -> object:
    """RecurrentGemma: the words of a list, over and over."""
    cycle = config.get("block_types")
    return cycle[layer % len(cycle)] if isinstance(cycle, list) and cycle else None


def letter(config: Table, layer: int, n_layers: int) -> object:
    """Nemotron-H: a letter per layer."""
    letters = config.get("hybrid_override_pattern")
    return letters[layer] if isinstance(letters, str) and layer < len(letters) else None


def by_interval(key: str) -> Value:
    """Say whether a layer is one of every n-th, the first among them."""
    return lambda config, layer, n_layers: key in config and layer % every(config, key) == 0


def evolla(config: Table, layer: int, n_layers: int) -> bool:
    """Evolla: so many layers, evenly spread, look at the sequence of a protein."""
    parts = number(config, "aligner_num_add_layers")
    return parts > 0 and (layer + 1) % max(n_layers // parts, 1) == 0


def shared_block(config: Table, layer: int, n_layers: int) -> object:
    """Zamba 2: a block that its hybrid layers share keeps something for each of them, by their number and count."""
    kinds = config.get("layers_block_type")
    hybrid = [place for place, kind in enumerate(kinds) if kind == "hybrid"] if isinstance(kinds, list) else []
    known = "num_mem_blocks" in config and layer in hybrid
    return f"hybrid {hybrid.index(layer) + 1} of {len(hybrid)}" if known else None
