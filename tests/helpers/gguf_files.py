"""Tiny Llama models as GGUF files, written by the reference library as ggml's converter does."""

from pathlib import Path

import gguf
import torch
from gguf.quants import quantize

#: (name of the file's tensor, that of the stock class, behind the number of the layer).
_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def llama(seed: int = 0) -> torch.nn.Module:
    """Return a random Llama whose rows are whole blocks."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=64, num_hidden_layers=2, vocab_size=96, intermediate_size=96, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, rms_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(seed)
    module = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                torch.randn(parameter.shape) * (0.1 if parameter.dim() > 1 else 0.2) + (parameter.dim() < 2)
            )
    return module


def write(module: torch.nn.Module, path: Path, kind: str = "F32") -> Path:
    """Write a module, its matrices in a type of ggml."""
    config, state = module.config, module.state_dict()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    words = [*map(chr, range(33, 127)), "ab", "cd"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([1] * len(words))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {f"blk.{layer}.{ours}": f"model.layers.{layer}.{theirs}"
             for layer in range(config.num_hidden_layers) for ours, theirs in _PARTS.items()}  # fmt: skip
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for ours, theirs in (_WHOLE | names).items():
        weight = state[f"{theirs}.weight"].float()
        if (part := ours.rpartition(".")[2]) in heads:  # planes as pairs
            weight = weight.unflatten(0, (heads[part], 2, -1)).transpose(1, 2).flatten(0, 2)
        stored = gguf.GGMLQuantizationType[kind if weight.dim() > 1 else "F32"]
        writer.add_tensor(f"{ours}.weight", quantize(weight.contiguous().numpy(), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
