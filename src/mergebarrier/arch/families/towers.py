"""Two streams: pictures and text side by side (CLIP, SigLIP), or pictures read by a decoder.

Every tower has a stream of its own; a projector ends one and writes the other.  Files of the hub and of later libraries
spell the tower's names differently; both spellings are read.
"""

from collections.abc import Mapping
from typing import Any

from mergebarrier.arch.axes import Axis
from mergebarrier.arch.families.parts import (
    attention,
    decoder,
    gated_mlp,
    heads,
    linear,
    nested,
    neurons,
    norms,
    plain_mlp,
    stream,
)
from mergebarrier.arch.family import Family

_WIDTH = "hidden_size / num_attention_heads"


def _tower_axes(config: str, d: str, at: str, names: str, n: str, label: str) -> dict[str, Axis]:
    """Axes of a CLIP-like tower whose keys stand in a nested table."""
    return {
        d: stream("centred", nested(config, "hidden_size"), label),
        **heads(
            f"{label}.layers.{{{at}}}.attn",
            heads=nested(config, "num_attention_heads"),
            entries=nested(config, _WIDTH),
            names=names,
        ),
        n: neurons("order", nested(config, "intermediate_size"), f"{label}.layers.{{{at}}}.mlp"),
    }


def _tower(prefix: str, d: str, at: str, names: str, n: str) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Lines and folds of the layers of a CLIP-like tower."""
    layer = f"{prefix}encoder.layers.{{{at}}}."
    tensors = {
        **attention(f"{layer}self_attn.", ("q_proj", "k_proj", "v_proj", "out_proj"), axes=names, grouped=False, d=d),
        **plain_mlp(f"{layer}mlp.", n=n, d=d),
        **norms(f"{layer}layer_norm1", f"{layer}layer_norm2", d=d),
    }
    folds = {
        f"{layer}layer_norm1": tuple(f"{layer}self_attn.{role}_proj" for role in "qkv"),
        f"{layer}layer_norm2": (f"{layer}mlp.fc1",),
    }
    return tensors, folds


def _pictures(prefix: str, d: str) -> dict[str, str]:
    embeddings = f"{prefix}embeddings."
    return {
        f"{embeddings}class_embedding": f"{d} ?",
        f"{embeddings}patch_embedding.weight": f"{d} _ _ _",
        f"{embeddings}patch_embedding.bias": f"{d} ?",
        f"{embeddings}position_embedding.weight": f"_ {d}",
        f"{embeddings}position_ids": "=",
        **{line: f"{text.rstrip(' ?')} ?" for line, text in norms(f"{prefix}pre_layrnorm", d=d).items()},
        **norms(f"{prefix}post_layernorm", d=d),
    }


def _pooling(prefix: str, d: str) -> dict[str, str]:
    """The attention pooling of SigLIP's vision tower: it reads the stream and gives the image vector."""
    return {
        f"{prefix}probe": f"1 1 {d} ?",
        f"{prefix}attention.in_proj_weight": f"_ {d} ?",
        **{f"{prefix}{name}.bias": "_ ?" for name in ("layernorm", "mlp.fc1", "mlp.fc2", "attention.out_proj")},
        **{f"{prefix}{name}.weight": "_ _ ?" for name in ("mlp.fc1", "mlp.fc2", "attention.out_proj")},
        f"{prefix}layernorm.weight": "_ ?",
        f"{prefix}attention.in_proj_bias": "_ ?",
    }


def _text(prefix: str, d: str) -> dict[str, str]:
    return {
        f"{prefix}embeddings.token_embedding.weight": f"_ {d}",
        f"{prefix}embeddings.position_embedding.weight": f"_ {d}",
        f"{prefix}embeddings.position_ids": "=",
        **norms(f"{prefix}final_layer_norm", d=d),
    }


def _two_towers(name: str, architecture: str, ends: Mapping[str, str]) -> Family:
    text, text_folds = _tower("text_model.", "d", "i", "grqw", "n")
    pictures, picture_folds = _tower("vision_model.", "y", "k", "abef", "m")
    return Family(
        name=name,
        architectures=(architecture,),
        model_types=(name,),
        axes={
            **_tower_axes("text_config", "d", "i", "grqw", "n", "text"),
            **_tower_axes("vision_config", "y", "k", "abef", "m", "vision"),
        },
        layers={"i": "text_config.num_hidden_layers", "k": "vision_config.num_hidden_layers"},
        dims=_dims("text_config"),
        tensors={**_pictures("vision_model.", "y"), **pictures, **_text("text_model.", "d"), **text, **ends},
        folds={**text_folds, **picture_folds},
        head="",
    )


def _dims(config: str) -> dict[str, str]:
    return {
        "hidden": f"{config}.hidden_size",
        "mlp_width": f"{config}.intermediate_size",
        "vocab": f"{config}.vocab_size",
        "n_layers": f"{config}.num_hidden_layers",
        "positions": "0",
        "n_heads": f"{config}.num_attention_heads",
        "n_kv_heads": nested(config, "num_key_value_heads or num_attention_heads"),
        "head_dim": nested(config, f"head_dim or {_WIDTH}"),
    }


CLIP = _two_towers(
    "clip",
    "CLIPModel",
    {"text_projection.weight": "_ d", "visual_projection.weight": "_ y", "logit_scale": "="},
)
SIGLIP = _two_towers(
    "siglip",
    "SiglipModel",
    {
        **_pooling("vision_model.head.", "y"),
        **linear("text_model.head", "_", "d"),
        "logit_scale": "=",
        "logit_bias": "=",
    },
)

_TEXT = "language_model.model.layers.{i}."
_RENAMED = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.(vision_tower|multi_modal_projector)\.", r"\1."),
    (r"^vision_tower\.vision_model\.", "vision_tower."),
    (r"^lm_head\.", "language_model.lm_head."),
)
_LLAMA_ENDS = {
    "language_model.model.embed_tokens.weight": "_ d",
    **norms("language_model.model.norm"),
    "language_model.lm_head.weight": "_ d",
}


def _reader(name: str, architecture: str, text: Mapping[str, Any], tower: Mapping[str, Any], **more: Any) -> Family:
    """A decoder that reads pictures: both tables, and what joins them."""
    return Family(
        name=name,
        architectures=(architecture,),
        model_types=(name,),
        axes={**text["axes"], **tower["axes"]},
        layers={**text["layers"], "k": more.pop("pictures", "vision_config.num_hidden_layers")},
        dims=text["dims"],
        folds={**text["folds"], **tower["folds"]},
        head=more.pop("head", "language_model.lm_head.weight"),
        **more,
    )


_clip_lines, _clip_folds = _tower("vision_tower.", "y", "k", "abef", "m")
_CLIP_TOWER = {"axes": _tower_axes("vision_config", "y", "k", "abef", "m", "vision"), "folds": _clip_folds}
_TWO_NORMS = norms(f"{_TEXT}input_layernorm", f"{_TEXT}post_attention_layernorm")

LLAVA = _reader(
    "llava",
    "LlavaForConditionalGeneration",
    decoder(prefix=_TEXT, config="text_config"),
    _CLIP_TOWER,
    tensors={
        **_LLAMA_ENDS,
        **_TWO_NORMS,
        **attention(f"{_TEXT}self_attn."),
        **gated_mlp(f"{_TEXT}mlp."),
        **_pictures("vision_tower.", "y"),
        **_clip_lines,
        **linear("multi_modal_projector.linear_1", "_", "y"),
        **linear("multi_modal_projector.linear_2", "d", "_"),
    },
    spellings=_RENAMED,
)

GEMMA3_PICTURES = _reader(
    "gemma3",
    "Gemma3ForConditionalGeneration",
    decoder(
        prefix=_TEXT,
        config="text_config",
        norms=("input_layernorm", "pre_feedforward_layernorm"),
        normed=True,
        scope=("i",),
    ),
    {**_CLIP_TOWER, "folds": {}},
    tensors={
        **_LLAMA_ENDS,
        **_TWO_NORMS,
        **norms(f"{_TEXT}pre_feedforward_layernorm", f"{_TEXT}post_feedforward_layernorm"),
        **attention(f"{_TEXT}self_attn."),
        f"{_TEXT}self_attn.q_norm.weight": "q!",
        f"{_TEXT}self_attn.k_norm.weight": "q!",
        **gated_mlp(f"{_TEXT}mlp."),
        **_pictures("vision_tower.", "y"),
        **_clip_lines,
        **_pooling("vision_tower.head.", "y"),
        "multi_modal_projector.mm_input_projection_weight": "y d",
        "multi_modal_projector.mm_soft_emb_norm.weight": "y!",
    },
    spellings=_RENAMED,
    offset=1.0,
    tied=True,
)

_BLOCK = "visual.blocks.{k}."
_QWEN = "model.layers.{i}."
QWEN2_VL = _reader(
    "qwen2_vl",
    "Qwen2VLForConditionalGeneration",
    decoder(config="text_config"),
    {
        "axes": {
            "y": stream("centred", "vision_config.embed_dim", "vision"),
            **heads(
                "vision.layers.{k}.attn",
                heads="vision_config.num_heads",
                entries="vision_config.embed_dim / vision_config.num_heads",
                names="abef",
                query={"kind": "planes"},
            ),
            "m": neurons("order", "vision_config.mlp_ratio * vision_config.embed_dim", "vision.layers.{k}.mlp"),
        },
        "folds": {f"{_BLOCK}norm1": (f"{_BLOCK}attn.qkv",), f"{_BLOCK}norm2": (f"{_BLOCK}mlp.fc1",)},
    },
    pictures="vision_config.depth",
    tensors={
        "model.embed_tokens.weight": "_ d",
        **norms("model.norm", f"{_QWEN}input_layernorm", f"{_QWEN}post_attention_layernorm"),
        **attention(f"{_QWEN}self_attn."),
        **gated_mlp(f"{_QWEN}mlp."),
        "lm_head.weight": "_ d",
        "visual.patch_embed.proj.weight": "y _ _ _ _",
        **norms(f"{_BLOCK}norm1", f"{_BLOCK}norm2", "visual.merger.ln_q", d="y"),
        f"{_BLOCK}attn.qkv.weight": "(a e | a e' | a f) y",
        f"{_BLOCK}attn.qkv.bias": "(a e | a e' | a f)",
        **linear(f"{_BLOCK}attn.proj", "y", "(a f')"),
        **plain_mlp(f"{_BLOCK}mlp.", n="m", d="y"),
        **linear("visual.merger.mlp.0", "_", "(4 y)"),
        **linear("visual.merger.mlp.2", "d", "_"),
    },
    spellings=((r"^model\.language_model\.", "model."), (r"^model\.visual\.", "visual.")),
    head="lm_head.weight",
)

_PIXTRAL = "vision_tower.transformer.layers.{k}."
MISTRAL3 = _reader(
    "mistral3",
    "Mistral3ForConditionalGeneration",
    decoder(prefix=_TEXT, config="text_config"),
    {
        "axes": {
            "y": stream("signed", "vision_config.hidden_size", "vision"),
            **heads(
                "vision.layers.{k}.attn",
                heads="vision_config.num_attention_heads",
                entries=nested("vision_config", f"head_dim or {_WIDTH}"),
                names="abef",
                query={"kind": "planes"},
            ),
            "m": neurons("glu", "vision_config.intermediate_size", "vision.layers.{k}.mlp"),
        },
        "folds": {
            f"{_PIXTRAL}attention_norm": tuple(f"{_PIXTRAL}attention.{role}_proj" for role in "qkv"),
            f"{_PIXTRAL}ffn_norm": (f"{_PIXTRAL}feed_forward.gate_proj", f"{_PIXTRAL}feed_forward.up_proj"),
        },
    },
    tensors={
        **_LLAMA_ENDS,
        **_TWO_NORMS,
        **attention(f"{_TEXT}self_attn."),
        **gated_mlp(f"{_TEXT}mlp."),
        "vision_tower.patch_conv.weight": "y _ _ _",
        "vision_tower.ln_pre.weight": "y!",
        f"{_PIXTRAL}attention_norm.weight": "y!",
        f"{_PIXTRAL}ffn_norm.weight": "y!",
        **attention(f"{_PIXTRAL}attention.", axes="abef", grouped=False, d="y"),
        **gated_mlp(f"{_PIXTRAL}feed_forward.", n="m", d="y"),
        "multi_modal_projector.norm.weight": "y!",
        "multi_modal_projector.patch_merger.merging_layer.weight": "_ (y 4)",
        **linear("multi_modal_projector.linear_1", "_", "_"),
        **linear("multi_modal_projector.linear_2", "d", "_"),
    },
    spellings=_RENAMED,
    tied=True,
)
