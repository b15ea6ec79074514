"""Decoders with rotary heads: Llama, and what differs from it in where norms stand and how maps are stored.

Qwen3, Gemma 3     gains on q and k, shared by the heads of a layer: only quarter turns, which the gains follow
OLMo 2             gains of full width: quarter turns per head group;  Cohere, Phi: one norm for attention and MLP
Gemma              1 + w multiplies; Gemma 2 and 3 and GLM-4 have norms behind the block too
StableLM, Phi, Phi-3, GLM-4     rotate a part of each head
Nemotron           LayerNorm with 1 + w;  EXAONE 4: gains on q and k, and norms behind the block alone
Cohere, GLM, Helium, ERNIE 4.5      planes are entries (2i, 2i + 1)
Mamba              no heads: one axis of channels on six tensors, a low-rank step t, and states s that are ordered
                   alike in B, C and A; B may gain what C loses, state by state

RoPE scaling changes angles, not planes, so every variant of it is covered, and layers without rotation (SmolLM3) allow
what rotated ones do.
"""

from typing import Final

DECODERS: Final = r"""
family llama of llama mistral qwen2 ministral3 granite smollm3 cwm ministral: \
    {Llama,Mistral,Qwen2,Ministral3,Granite,SmolLM3,Cwm,Ministral}ForCausalLM
  example num_attention_heads=6, head_dim=12
  refuse clip_qkv unless None: clipping q, k, v breaks the value/output maps
  refuse PARTIAL unless None, 1.0: this table rotates whole heads
  use decoder
  model.layers.{i}.
    self_attn.rotary_emb.inv_freq  =
    mlp.{gate,up,down}_proj.bias  n ? mlp_bias | n^ ? mlp_bias | d ? mlp_bias

family qwen3: Qwen3ForCausalLM
  use decoder with ATTENTION=normed

family gemma (tied, offset 1): GemmaForCausalLM
  example num_key_value_heads=1
  use decoder

family gemma2 (tied, offset 1): Gemma2ForCausalLM
  use decoder with NORMS=around

family gemma3 of gemma3_text (tied, offset 1): Gemma3ForCausalLM
  use decoder with NORMS=around, ATTENTION=normed

family phi3: Phi3ForCausalLM
  with ROTARY=HEAD_DIM * (PARTIAL or 1)
  use decoder with ATTENTION=grouped_heads, READ=self_attn.qkv_proj, FEED=gated_fused, FEED_READ=mlp.gate_up_proj
  model.layers.{i}.self_attn.
    qkv_proj.weight  (g r q | g q' | g w) d               o_proj.weight  d (g r w')

family olmo: OlmoForCausalLM                              # its norms have no gains
  refuse clip_qkv unless None: clipping q, k, v breaks the value/output maps
  residual  d  centred  hidden_size
  model.embed_tokens.weight  _ d
  model.layers.{i}.
    self_attn.  use grouped                               mlp.  use gated
  lm_head.weight  _ d

family olmo2 of olmo2 olmo3: Olmo2ForCausalLM Olmo3ForCausalLM
  use decoder with NORMS=behind, QUERY=planes normed
  model.layers.{i}.self_attn.{q,k}_norm.weight  (g r q!) | (g q!)

family stablelm: StableLmForCausalLM
  example partial_rotary_factor=0.5, use_qkv_bias=True
  refuse qk_layernorm unless None, False: a norm on q and k is not in this table
  refuse use_parallel_residual unless None, False: parallel blocks read another norm than this table says
  with ROTARY=HEAD_DIM * (PARTIAL or 0.25)
  use decoder with STREAM=centred

family cohere of cohere cohere2 (tied): CohereForCausalLM Cohere2ForCausalLM
  refuse use_qk_norm unless None, False: a norm on q and k is not in this table
  use decoder with STREAM=centred, NORMS=beside, QUERY=planes pairs

family glm4: Glm4ForCausalLM
  example partial_rotary_factor=0.5
  with ROTARY=HEAD_DIM * (PARTIAL or 0.5), QUERY=planes pairs
  use decoder with FEED=gated_fused, FEED_READ=mlp.gate_up_proj
  model.layers.{i}.{post_self_attn,post_mlp}_layernorm.*  d!      model.layers.{i}.self_attn.o_proj.bias  d ?

family glm: GlmForCausalLM
  with ROTARY=HEAD_DIM * (PARTIAL or 0.5), QUERY=planes pairs
  use decoder with FEED=gated_fused, FEED_READ=mlp.gate_up_proj
  model.layers.{i}.self_attn.o_proj.bias  d ?

family helium of helium ernie4_5: HeliumForCausalLM Ernie4_5ForCausalLM
  example head_dim=12
  use decoder with QUERY=planes pairs
  model.layers.{i}.self_attn.o_proj.bias  d ?

family exaone4: Exaone4ForCausalLM
  use decoder with NORMS=behind, ATTENTION=normed

family nemotron (offset 1): NemotronForCausalLM
  example partial_rotary_factor=0.5
  with ROTARY=HEAD_DIM * (PARTIAL or 0.5), MAPS={up,down}_proj
  use decoder with STREAM=centred, FEED=plain, FEED_READ=mlp.up_proj

family phi: PhiForCausalLM
  example partial_rotary_factor=0.5
  refuse qk_layernorm unless None, False: a norm on q and k is not in this table
  with ROTARY=HEAD_DIM * (PARTIAL or 0.5)
  use decoder with STREAM=centred, NORMS=beside, OUT=dense, FEED=plain, FEED_READ=mlp.fc1, LAST=final_layernorm
  lm_head.bias  _ ?

family mamba (tied, body backbone.): MambaForCausalLM
  example state_size=8
  with intermediate_size=intermediate_size or expand * hidden_size
  residual  d  signed  hidden_size
  neurons   n  order   intermediate_size, at layers.{i}.mixer
  latents   t  basis   time_step_rank, at layers.{i}.mixer t
  latents   s  glu     state_size, at layers.{i}.mixer s.
  backbone.embeddings.weight  _ d                         backbone.norm_f.*  d!
  backbone.layers.{i}.
    norm.*  d! -> mixer.in_proj
    mixer.
      in_proj.*       (n | n) d                           out_proj.*  d n
      conv1d.*        n 1 _                               x_proj.weight  (t | s^ | s^') n
      dt_proj.weight  n t'       dt_proj.bias  n          A_log  n s       D  n
  lm_head.weight  _ d
"""
