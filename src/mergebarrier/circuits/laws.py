"""Laws: what a configuration says of single layers by their place, and how it is said of others.

    law:  (configuration, layer, number of layers) -> value      first_k_dense_replace = 2  ->  dense, dense, sparse, ..

A law has the keys that say it, and often a list per layer that loaders ask before those.  Source: ours, over the
configuration classes of transformers 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.circuits.places import (
    Table,
    Value,
    after_dense,
    attention,
    by_interval,
    cycle,
    ernie,
    every,
    evolla,
    has_rope,
    letter,
    llama4_experts,
    number,
    periodic,
    runs,
    shared_block,
    sparse_step,
    zamba,
)

_NLLB, _SWITCH = frozenset(("nllb-moe",)), frozenset(("switch_transformers",))
_JAMBA, _ZAMBA = frozenset(("jamba",)), frozenset(("zamba",))
#: What a class takes where its configuration is silent, as far as it tells layers apart.
_SILENT: Mapping[str, Table] = {
    "deepseek_v3": {"first_k_dense_replace": 3},
    "deepseek_v32": {"first_k_dense_replace": 3},
    **{
        key: {"first_k_dense_replace": 1}
        for key in ("axk1", "axk2", "dots3_note_text", "glm4_moe", "glm4_moe_lite", "unlimited_ocr_text")
    },
    "lfm2_moe": {"num_dense_layers": 2},
    "afmoe": {"num_dense_layers": 1},
    "jamba": {"attn_layer_period": 8, "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1},
    "zamba": {"attn_layer_period": 6, "attn_layer_offset": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 12]]},
    "recurrent_gemma": {"block_types": ["recurrent", "recurrent", "attention"]},
    "diffllama": {"lambda_init": True},  # not a key: the class computes it from the number of a layer
}


@dataclass(frozen=True, kw_only=True)
class Law:
    """One thing that is so in some layers and otherwise in others.

    Attributes:
      keys:   what says it; those that are whole numbers in a configuration may take others.
      value:  of one layer.
      listed: the list per layer that is asked first, None without one.
      write:  any values -> the keys that say them outright; None where no class reads such keys.
      types:  model types whose class reads what ``write`` gives; none for all.
      only, but: model types that have the law, and that have another of the same keys; none for all.
      side:   "encoder" or "decoder", whose layers it is about; None for any.
    """

    keys: tuple[str, ...]
    value: Value
    listed: str | None = None
    write: Callable[[Sequence[object]], dict[str, object]] | None = None
    types: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()
    side: str | None = None

    def holds_for(self, config: Table, stack: str) -> bool:
        """Whether the model has this law, for layers of a stack of that name."""
        name = str(config.get("model_type"))
        return name not in self.but and (not self.only or name in self.only) and (self.side or "") in stack

    def of(self, config: Table, layer: int, n_layers: int) -> object:
        """Return the value of a layer, from the list where there is one."""
        values = config.get(self.listed) if self.listed is not None else None
        if isinstance(values, list) and len(values) == n_layers:
            return values[layer]
        return self.value({**_SILENT.get(str(config.get("model_type")), {}), **config}, layer, n_layers)

    def said(self, config: Table, values: Sequence[object]) -> dict[str, object] | None:
        """Return keys that say any values, None where the model's class reads none."""
        if self.write is None or (self.types and str(config.get("model_type")) not in self.types):
            return None
        return self.write(values)


def _nllb(side: str) -> Law:
    key = f"{side}_sparse_step"

    def value(config: Table, layer: int, n_layers: int) -> str:
        return "sparse" if number(config, key) > 0 and (layer + 1) % every(config, key) == 0 else "dense"

    return Law(keys=(key,), value=value, side=side, only=_NLLB)


def _switch(side: str) -> Law:
    key = f"num_sparse_{side}_layers"

    def value(config: Table, layer: int, n_layers: int) -> str:
        step = n_layers // (number(config, key) or 1)
        return "sparse" if step == 1 or layer % max(1, step) == 1 else "dense"

    return Law(keys=(key,), value=value, side=side, only=_SWITCH)


def _before(key: str, word: str, other: str) -> Law:
    return Law(keys=(key,), value=lambda config, layer, n: word if layer < number(config, key) else other)


def _by_number(key: str) -> Law:
    """Return the law of a switch under which a layer computes by its number."""
    return Law(keys=(key,), value=lambda config, layer, n: f"number {layer}" if config.get(key) else None)


def _indices(key: str, first: int = 0) -> Law:
    """Return the law of a list of the layers that are so; ``first`` is the number of the first."""

    def value(config: Table, layer: int, n_layers: int) -> bool:
        listed = config.get(key)
        return isinstance(listed, list) and layer + first in listed

    return Law(keys=(key,), value=value, write=lambda values: {key: _where(values, True, first)})


def _where(values: Sequence[object], word: object, first: int = 0) -> list[int]:
    return [place for place, value in enumerate(values, first) if value == word]


#: Lists of the layers that are so, which a law above does not speak of.
_INDICES = (
    "attn_layer_indices", "full_attn_idxs", "hybrid_layer_ids", "cross_attention_layers", "rope_scaling_layers",
    "fullatt_block_indexes", "global_attn_indexes", "window_block_indices", "window_block_indexes",
    "residual_block_indices", "look_ahead_layers", "look_backward_layers", "local_layer_ids", "subsample_layers",
    "deepstack_visual_indexes",
)  # fmt: skip
#: Idefics, the querying transformers of BLIP-2's kind, Inkling 2.
_INTERVALS = ("cross_layer_interval", "cross_attention_frequency", "n_layers_per_attn_res_block")
_ROPE = Law(
    keys=("no_rope_layer_interval",),
    value=has_rope,
    listed="no_rope_layers",
    write=lambda values: {"no_rope_layers": list(values)},
    only=frozenset(("llama4_text", "smollm3")),
)
LAWS: tuple[Law, ...] = (
    _ROPE,
    Law(
        keys=(
            "sliding_window_pattern", "_sliding_window_pattern", "full_attention_interval",
            "global_attn_every_n_layers", "max_window_layers",
        ),
        value=attention,
        listed="layer_types",
        write=lambda values: {"layer_types": list(values)},
    ),
    Law(
        keys=("first_k_dense_replace", "moe_layer_freq"),
        value=after_dense,
        listed="mlp_layer_types",
        write=lambda values: {"mlp_layer_types": list(values)},
        types=frozenset(
            ("axk1", "axk2", "bailing_hybrid", "cohere2_moe", "deepseek_v32", "dots3_note_text", "exaone_moe",
             "glm4_moe_lite", "glm_moe_dsa", "unlimited_ocr_text")
        ),
    ),
    Law(
        keys=("decoder_sparse_step", "mlp_only_layers"),
        value=sparse_step,
        write=lambda values: {"decoder_sparse_step": 1, "mlp_only_layers": _where(values, "dense")},
        but=_NLLB | _SWITCH,
    ),
    Law(
        keys=("interleave_moe_layer_step", "moe_layers"),
        value=llama4_experts,
        write=lambda values: {"moe_layers": _where(values, "sparse")},
    ),
    Law(keys=("moe_layer_interval", "moe_layer_start_index", "moe_layer_end_index"), value=ernie),
    Law(keys=("attn_layer_period", "attn_layer_offset"), value=periodic("attn", "attention", "mamba"), only=_JAMBA),
    Law(keys=("expert_layer_period", "expert_layer_offset"), value=periodic("expert", "sparse", "dense"), only=_JAMBA),
    Law(
        keys=("attn_layer_period", "attn_layer_offset"),
        value=zamba,
        listed="layers_block_type",
        write=lambda values: {"layers_block_type": list(values)},
        only=_ZAMBA,
    ),
    Law(keys=("attention_types",), value=runs, write=lambda values: {
        "attention_types": [[[word], 1] for word in values], "attention_layers": list(values),
    }),
    Law(keys=("block_types",), value=cycle, write=lambda values: {"block_types": list(values)}),
    Law(keys=("hybrid_override_pattern",), value=letter, write=lambda values: {
        "hybrid_override_pattern": "".join(map(str, values)),
    }),
    *(law(side) for law in (_nllb, _switch) for side in ("encoder", "decoder")),
    _before("num_dense_layers", "dense", "sparse"),
    _before("num_hash_layers", "hashed", "routed"),
    Law(
        keys=("num_kv_shared_layers",),
        value=lambda config, layer, n: "sharing" if layer >= n - number(config, "num_kv_shared_layers") else "owning",
    ),
    _by_number("scale_attn_by_inverse_layer_idx"),
    _by_number("lambda_init"),
    Law(
        keys=("hidden_size_per_layer_input",),  # one table holds a column per layer, and their number is its shape
        value=lambda config, layer, n: f"{layer} of {n}" if config.get("hidden_size_per_layer_input") else None,
    ),
    Law(  # not a key: the first layer of the class has no such norm
        keys=("attn_norm",),
        value=lambda config, layer, n: "with it" if layer else "without it",
        only=frozenset(("modernbert", "modernbert-decoder")),
    ),
    # Not a key: a matrix with columns per layer.
    Law(keys=("contact_head",), value=lambda config, layer, n: f"{layer} of {n}", only=frozenset(("esm",))),
    Law(keys=("num_mem_blocks",), value=shared_block),
    *(Law(keys=(key,), value=by_interval(key)) for key in _INTERVALS),
    Law(keys=("aligner_num_add_layers",), value=evolla),
    Law(
        keys=("stagger_local_blocks",),
        value=lambda config, layer, n: bool(config.get("stagger_local_blocks")) and layer % 2,
    ),
    *map(_indices, _INDICES),
    _indices("ple_layer_ids", 1),
)  # fmt: skip
#: Keys that a law reads or writes: none is a list per layer that only follows its layers.
SPOKEN = frozenset(key for law in LAWS for key in law.keys) | {"attention_layers"}
