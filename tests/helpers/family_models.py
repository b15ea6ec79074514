"""Tiny random checkpoints of every architecture that has a table, with the stock class of each as the judge.

Gains lie around one and shifts have both signs, so that no error hides behind a unit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_TEXT: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 96, "max_position_embeddings": 128}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_PICTURE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
_SQUARES = {"image_size": 32, "patch_size": 8}
_SPARSE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
_LATENT = {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
_ROUTED = {
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1},
    **{"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
}
_STACKS = {
    **{"d_model": 48, "vocab_size": 96, "encoder_layers": 2, "decoder_layers": 2},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 72, "decoder_ffn_dim": 72},
}
_T5 = {"d_model": 48, "d_kv": 12, "d_ff": 72, "num_layers": 2, "num_heads": 4, "vocab_size": 96, "pad_token_id": 0}
_OLD = {"n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": 96, "n_positions": 64}


def _decoder(heads: int, key_heads: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_attention_heads": heads, "num_key_value_heads": key_heads, "intermediate_size": 72}
    return {**_TEXT, **_SPECIAL, **sizes, **more}


def _encoder(**more: Any) -> dict[str, Any]:
    return {**_TEXT, "num_attention_heads": 4, "intermediate_size": 72, **_SPECIAL, **more}


def _pair(text: Mapping[str, Any], vision: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"text_config": dict(text), "vision_config": dict(vision), **more}


_GEMMA = _decoder(4, 2, head_dim=16, sliding_window=8, query_pre_attn_scalar=16)
_SECTIONS = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}

# name -> (stock class, class of its configuration, arguments)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", _decoder(6, 2, head_dim=12)),
    "llama-biased": ("LlamaForCausalLM", "LlamaConfig", _decoder(4, 1, attention_bias=True, mlp_bias=True)),
    "llama-headless": ("LlamaModel", "LlamaConfig", _decoder(4, 2)),
    "llama-classifier": ("LlamaForSequenceClassification", "LlamaConfig", _decoder(4, 2, num_labels=3)),
    "mistral": ("MistralForCausalLM", "MistralConfig", _decoder(4, 2, sliding_window=8)),
    "ministral": ("Ministral3ForCausalLM", "Ministral3Config", _decoder(4, 2, head_dim=12)),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _decoder(6, 3, tie_word_embeddings=True)),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", _decoder(4, 2, no_rope_layers=[1, 0])),
    "granite": ("GraniteForCausalLM", "GraniteConfig", _decoder(4, 2, residual_multiplier=0.3)),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", _decoder(4, 2, head_dim=16)),
    "qwen2-moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        _decoder(4, 2, shared_expert_intermediate_size=40, **_SPARSE),
    ),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", _decoder(4, 2, head_dim=16, **_SPARSE)),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", _decoder(4, 2, num_local_experts=4)),
    "gpt-oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        _decoder(4, 2, head_dim=12, num_local_experts=4, sliding_window=8),
    ),
    "deepseek-v2": (
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        _decoder(4, 4, topk_method="greedy", **_LATENT, **_ROUTED),
    ),
    "deepseek-v3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", _decoder(4, 4, **_LATENT, **_ROUTED)),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", _decoder(4, 1, head_dim=16)),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", _GEMMA),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", _GEMMA),
    "phi": ("PhiForCausalLM", "PhiConfig", _decoder(4, 4, partial_rotary_factor=0.5)),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", _decoder(4, 2)),
    "olmo": ("OlmoForCausalLM", "OlmoConfig", _decoder(4, 4)),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", _decoder(4, 2)),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", _decoder(4, 2, partial_rotary_factor=0.5, use_qkv_bias=True)),
    "cohere": ("CohereForCausalLM", "CohereConfig", _decoder(4, 2)),
    "glm4": ("Glm4ForCausalLM", "Glm4Config", _decoder(4, 2, head_dim=12, partial_rotary_factor=0.5)),
    "helium": ("HeliumForCausalLM", "HeliumConfig", _decoder(4, 2, head_dim=12)),
    "exaone4": ("Exaone4ForCausalLM", "Exaone4Config", _decoder(4, 2, head_dim=16, sliding_window=8)),
    "nemotron": ("NemotronForCausalLM", "NemotronConfig", _decoder(4, 2, head_dim=12, partial_rotary_factor=0.5)),
    "olmoe": ("OlmoeForCausalLM", "OlmoeConfig", _decoder(4, 2, num_experts=4, num_experts_per_tok=2)),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", _OLD | _SPECIAL),
    "gpt-j": ("GPTJForCausalLM", "GPTJConfig", {**_OLD, **_SPECIAL, "rotary_dim": 8}),
    "gpt-neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", _encoder(rotary_pct=0.5)),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {**_TEXT, **_SPECIAL, "ffn_dim": 72, "num_attention_heads": 4, "word_embed_proj_dim": 48},
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"hidden_size": 48, "n_layer": 2, "n_head": 4, "vocab_size": 96, **_SPECIAL},
    ),
    "falcon-one-key": ("FalconForCausalLM", "FalconConfig", {**_TEXT, **_SPECIAL, "num_attention_heads": 4}),
    "falcon-groups": (
        "FalconForCausalLM",
        "FalconConfig",
        {**_TEXT, **_SPECIAL, "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True},
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {"d_model": 48, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "vocab_size": 96, **_SPECIAL},
    ),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "vocab_size": 96, **_SPECIAL},
    ),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5),
    "t5-gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", {**_STACKS, "max_position_embeddings": 64, **_SPECIAL}),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", {**_STACKS, "max_position_embeddings": 64, **_SPECIAL}),
    "pegasus": (
        "PegasusForConditionalGeneration",
        "PegasusConfig",
        {**_STACKS, "max_position_embeddings": 64, **_SPECIAL},
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {**_STACKS, **_SPECIAL, "num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 40},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", _encoder()),
    "bert-classifier": ("BertForSequenceClassification", "BertConfig", _encoder(num_labels=5)),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", _encoder()),
    "distilbert": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 72, "vocab_size": 96, "max_position_embeddings": 64},
    ),
    "modernbert": (
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        _encoder(local_attention=8, cls_token_id=1, sep_token_id=2),
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", {**_PICTURE, **_SQUARES, "num_labels": 7}),
    "dinov2": ("Dinov2Model", "Dinov2Config", {**_PICTURE, **_SQUARES, "mlp_ratio": 2}),
    "clip": (
        "CLIPModel",
        "CLIPConfig",
        _pair(_encoder(projection_dim=24), _PICTURE | _SQUARES | {"projection_dim": 24}, projection_dim=24),
    ),
    "siglip": ("SiglipModel", "SiglipConfig", _pair(_encoder(projection_size=32), _PICTURE | _SQUARES)),
    "llava": (
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        _pair(
            _decoder(4, 2) | {"model_type": "llama"},
            {**_PICTURE, **_SQUARES, "model_type": "clip_vision_model", "projection_dim": 24},
            image_token_index=92,
        ),
    ),
    "gemma3-pictures": (
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        _pair(
            _GEMMA | {"model_type": "gemma3_text"},
            {**_PICTURE, **_SQUARES, "model_type": "siglip_vision_model"},
            **{"mm_tokens_per_image": 4, "boi_token_index": 90, "eoi_token_index": 91, "image_token_index": 92},
        ),
    ),
    "mistral3-pictures": (
        "Mistral3ForConditionalGeneration",
        "Mistral3Config",
        _pair(
            _decoder(4, 2, head_dim=12) | {"model_type": "mistral"},
            {**_PICTURE, **_SQUARES, "head_dim": 8, "model_type": "pixtral"},
            **{"image_token_index": 92, "spatial_merge_size": 2},
        ),
    ),
    "qwen2-vl": (
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLConfig",
        _pair(
            _decoder(4, 2, rope_parameters=_SECTIONS),
            {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 4, "mlp_ratio": 2, "patch_size": 4},
            **{"image_token_id": 92, "video_token_id": 93, "vision_start_token_id": 90, "vision_end_token_id": 91},
        ),
    ),
}

# What is learnt on a scale of its own: redrawing it would leave the range in which the model is a model.
_KEPT = ("A_log", ".D", "dt_proj", "conv1d", "logit_scale", "logit_bias")


def save(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random float32 checkpoint of a configuration."""
    import transformers

    stock, configuration, arguments = MODELS[name]
    torch.manual_seed(seed)
    module = getattr(transformers, stock)(getattr(transformers, configuration)(**arguments))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            if any(kept in path for kept in _KEPT):
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            gain = path.endswith("weight") and (parameter.ndim == 1 or "norm" in path)
            offset = name.startswith("gemma") and "vision" not in path
            around = 0.0 if offset else 1.0
            parameter.copy_(around + 0.3 * noise if gain or "lambda1" in path else 0.12 * noise)
    module.save_pretrained(folder)
    return folder


def nudge(folder: Path, step: float = 0.01) -> None:
    """Fine-tune a checkpoint in place: every tensor of real numbers moves by a random one of relative size ``step``."""
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(1)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        tensors[name] = tensor + step * noise * tensor.norm() / noise.norm()
    save_file(tensors, path, {"format": "pt"})


def outputs(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return what the stock class computes from a folder in a dtype, as ``answers``.

    Raises: AssertionError when the class misses tensors or does not know some.
    """
    module, said = stock(name, folder, dtype)
    assert not said["missing_keys"] and not said["unexpected_keys"], said
    return answers(name, module, dtype)


def stock(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Mapping[str, Any]]:
    """Return the module that the stock library makes of a folder, and what it says about the tensors."""
    import transformers

    loaded: tuple[Any, Mapping[str, Any]] = getattr(transformers, MODELS[name][0]).from_pretrained(
        folder, dtype=dtype, output_loading_info=True
    )
    return loaded


def answers(name: str, module: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return what a module computes on fixed inputs, Float[Tensor, "..."] each.

    Where pictures are read by a decoder, their vectors stand before the text's, as the decoder reads them.
    """
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, 80, (2, 24), generator=generator)
    pictures = torch.randn(2, 3, 32, 32, generator=generator).to(dtype)
    with torch.no_grad():
        if name == "whisper":
            sound = torch.randn(2, 16, 40, generator=generator).to(dtype)
            return [module.eval()(input_features=sound, decoder_input_ids=tokens[:, :9]).logits]
        if name in ("clip", "siglip"):
            tokens[:, -1] = 2
            found = module.eval()(input_ids=tokens, pixel_values=pictures)
            return [found.logits_per_image, found.text_embeds, found.image_embeds]
        if name in ("vit", "dinov2"):
            return [_result(module.eval()(pixel_values=pictures))]
        if "vision_config" in MODELS[name][2]:
            seen = _pictures_of(name, module.eval(), pictures)
            read = torch.cat([seen, module.get_input_embeddings()(tokens[:1])], dim=1)
            return [module(inputs_embeds=read).logits, module(input_ids=tokens).logits]
        more = {"decoder_input_ids": tokens[:, :9]} if module.config.is_encoder_decoder else {}
        return [_result(module.eval()(input_ids=tokens, **more))]


def _result(found: Any) -> torch.Tensor:
    return found.logits if "logits" in found else found.last_hidden_state


def _pictures_of(name: str, module: Any, pictures: torch.Tensor) -> torch.Tensor:
    if name == "qwen2-vl":
        patches = torch.randn(16, 3 * 2 * 4 * 4, generator=torch.Generator().manual_seed(6)).to(pictures.dtype)
        seen = module.get_image_features(pixel_values=patches, image_grid_thw=torch.tensor([[1, 4, 4]]))
    elif name == "mistral3-pictures":
        seen = module.get_image_features(pixel_values=pictures[:1], image_sizes=torch.tensor([[32, 32]]))
    else:
        seen = module.get_image_features(pixel_values=pictures[:1])
    seen = getattr(seen, "pooler_output", seen)
    seen = seen[0] if isinstance(seen, list | tuple) else seen
    return seen.reshape(1, -1, seen.shape[-1])


def relative_error(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """Return the largest max|a - b| / max|b|."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))
