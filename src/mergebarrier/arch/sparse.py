"""Sparse decoders: experts of a layer have no order, and each has neurons of its own.

Mixtral, Phi-MoE, Qwen2/3-MoE     a tensor per expert and matrix, names move with the router's rows; or all in one
OLMoE                             gains of full width on q and k: quarter turns per head group
GPT-OSS                           three-dimensional tensors, gate and up interleaved; a clamp forbids scales
DeepSeek-V2, V3                   latent attention (MLA); routed in groups, so experts stay where they are

MLA: latents behind a norm have order and signs; the rotary part of a key is shared by all heads.
"""

from typing import Final

SPARSE: Final = r"""
part routed with EXPERTS=num_experts or num_local_experts, WIDTH=moe_intermediate_size, EACH={gate,up,down}_proj
  experts   e  order partial  EXPERTS, at MLP
  neurons   m  glu partial    WIDTH, at layers.{i}.experts.{e}
  gate.weight  e d                                        experts.{e}.{EACH}.*  m d | m^ d | d m^'
  experts.gate_up_proj  e (m | m^) d ?                    experts.down_proj     e d m^' ?

part dense_or_routed                                      # a layer has a dense MLP, or a router and experts
  neurons   n  glu partial    intermediate_size, at MLP
  use gated
  use routed

part mixtral with EXPERTS=num_local_experts, WIDTH=intermediate_size, EACH={w1,w3,w2}, FEED_AT=block_sparse_moe, \
FEED_READ=block_sparse_moe.gate \
block_sparse_moe.experts.{e}.{w1,w3} block_sparse_moe.experts.gate_up_proj, FEED=routed
  spell \.mlp\. => .block_sparse_moe.
  use decoder

family mixtral: MixtralForCausalLM
  use mixtral

family phimoe: PhimoeForCausalLM
  use mixtral with STREAM=centred

family qwen2_moe: Qwen2MoeForCausalLM
  example shared_expert_intermediate_size=40
  neurons   s  glu partial    shared_expert_intermediate_size, at layers.{i}.shared
  use decoder with FEED=dense_or_routed, FEED_READ=ROUTED mlp.shared_expert_gate mlp.shared_expert.{gate,up}_proj
  model.layers.{i}.mlp.
    shared_expert.{gate,up,down}_proj.*  s d | s^ d | d s^'         shared_expert_gate.weight  1 d ? any

family qwen3_moe: Qwen3MoeForCausalLM
  use decoder with ATTENTION=normed, FEED=dense_or_routed, FEED_READ=ROUTED

family olmoe: OlmoeForCausalLM
  refuse clip_qkv unless None: clipping q, k, v breaks the value/output maps
  with WIDTH=intermediate_size, QUERY=planes normed
  use decoder with FEED=routed, FEED_READ=mlp.gate mlp.experts.{e}.{gate,up}_proj mlp.experts.gate_up_proj
  model.layers.{i}.self_attn.{q,k}_norm.weight  (g r q!) | (g q!)

family gpt_oss: GptOssForCausalLM
  experts   e  order partial  num_local_experts, at MLP
  neurons   n  order partial  intermediate_size, at layers.{i}.experts.{e}
  use decoder with FEED=gpt_oss, FEED_READ=mlp.router mlp.experts.gate_up_proj
  model.layers.{i}.self_attn.sinks  (g r)

part gpt_oss
  router.weight  e d      router.bias  e
  experts.gate_up_proj  e d (n 2)                         experts.gate_up_proj_bias  e (n 2)
  experts.down_proj     e n d                             experts.down_proj_bias     e d

family deepseek of deepseek_v3 deepseek_v2: DeepseekV3ForCausalLM DeepseekV2ForCausalLM
  example q_lora_rank=24, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12
  example n_routed_experts=4, n_shared_experts=1
  example num_key_value_heads=4, first_k_dense_replace=1, n_group=1, topk_group=1
  residual   d  signed          hidden_size
  latents    u  signed partial  q_lora_rank, at ATTN u.
  latents    z  signed          kv_lora_rank, at ATTN z.
  query_key  q  basis           qk_nope_head_dim, at ATTN, per g
  query_key  p  planes pairs    qk_rope_head_dim, at ATTN rope
  experts    e  fixed partial   n_routed_experts, at MLP
  neurons    s  glu partial     moe_intermediate_size * n_shared_experts, at layers.{i}.shared
  with HEAD_DIM=v_head_dim
  use decoder with ATTENTION=latent, FEED=dense_or_routed, NORMS=unread
  model.layers.{i}.mlp.
    gate.{weight,e_score_correction_bias}  e d ? any | e ? any
    shared_experts.{gate,up,down}_proj.*  s d | s^ d | d s^'

part unread
  {input,post_attention}_layernorm.*  d!

part latent
  use heads
  q_proj.weight  (g (q | p)) d ? any                      o_proj.*  d (g w')
  q_a_proj.*  u d      q_a_layernorm.weight  u!           q_b_proj.weight   (g (q | p)) u
  kv_a_proj_with_mqa.*  (z | p') d                        kv_a_layernorm.weight  z!
  kv_b_proj.weight  (g (q' | w)) z
"""
