"""Decoders with LayerNorm and a plain MLP: GPT-2, GPT-NeoX, GPT-J, OPT, Bloom, Falcon, MPT, each with its own storage.

GPT-2                learned positions, fused q|k|v, weights stored as (in, out); its first files lack the prefix
GPT-NeoX, Bloom      q, k, v of a head side by side;  Falcon-40B the query heads of a group, then its key and value
GPT-J                planes are entries (2i, 2i + 1) of the first ``rotary_dim``
Bloom, MPT           ALiBi: a slope per head, so heads keep their order
"""

from typing import Final

GPT: Final = r"""
family gpt2 (tied, body transformer.): GPT2LMHeadModel
  spell ^(?!transformer\.|lm_head) => transformer.
  refuse add_cross_attention unless None, False: cross-attention is not in this table
  with hidden_size=n_embd, num_attention_heads=n_head, num_hidden_layers=n_layer, POSITIONS=n_positions
  with intermediate_size=n_inner or 4 * n_embd, HEAD_DIM=n_embd / n_head, KEY_HEADS=n_head
  use gpt with EMBED={wte,wpe}
  transformer.h.{i}.
    ln_1.*  d! -> attn.c_attn                             ln_2.*  d! -> mlp.c_fc
    attn.
      use heads
      c_attn.{weight,bias}  d (g q | g q' | g w) | (g q | g q' | g w)
      c_proj.{weight,bias}  (g w') d | d                  {bias,masked_bias}  =
    neurons  n  order  intermediate_size, at MLP
    mlp.c_fc.{weight,bias}  d n | n                       mlp.c_proj.{weight,bias}  n d | d

part gpt with EMBED=wte, LAST=ln_f
  residual  d  centred  hidden_size
  transformer.{EMBED}.weight  _ d     transformer.{LAST}.*  d!     lm_head.weight  _ d

family gpt_neox (body gpt_neox., head embed_out.weight): GPTNeoXForCausalLM
  example rotary_pct=0.5
  spell ^lm_head\. => embed_out.
  with ROTARY=HEAD_DIM * (rope_parameters.partial_rotary_factor or rotary_pct or 0.25), QUERY=planes
  residual  d  centred  hidden_size
  gpt_neox.embed_in.weight  _ d                           gpt_neox.final_layer_norm.*  d!
  gpt_neox.layers.{i}.
    input_layernorm.*           d! -> attention.query_key_value
    post_attention_layernorm.*  d! -> mlp.dense_h_to_4h
    attention.
      use heads
      query_key_value.*  (g (q | q' | w)) d               dense.*  d (g w')
      {rotary_emb.inv_freq,bias,masked_bias}  =
    mlp.  use plain with MAPS={dense_h_to_4h,dense_4h_to_h}
  embed_out.weight  _ d

family gptj (body transformer.): GPTJForCausalLM
  example rotary_dim=8
  with hidden_size=n_embd, num_attention_heads=n_head, num_hidden_layers=n_layer, HEAD_DIM=n_embd / n_head
  with intermediate_size=n_inner or 4 * n_embd, ROTARY=rotary_dim or n_embd / n_head, QUERY=planes pairs
  use gpt
  transformer.h.{i}.
    ln_1.*  d! -> attn.{q,k,v}_proj mlp.fc_in             attn.{bias,masked_bias}  =
    attn.  use attention with OUT=out_proj                mlp.  use plain with MAPS={fc_in,fc_out}
  lm_head.bias  _ ?

family opt (tied): OPTForCausalLM
  example word_embed_proj_dim=48
  spell ^decoder\. => model.decoder.
  refuse word_embed_proj_dim / hidden_size unless None, 1.0: embeddings of another width are not in this table
  refuse do_layer_norm_before unless None, True: norms behind the block are not in this table
  with intermediate_size=ffn_dim
  residual  d  centred  hidden_size
  model.decoder.
    {embed_tokens,embed_positions}.weight  _ d            final_layer_norm.*  d!
    layers.{i}.
      self_attn_layer_norm.*  d! -> self_attn.{q,k,v}_proj
      final_layer_norm.*      d! -> fc1
      self_attn.  use attention with OUT=out_proj
      use plain
  lm_head.weight  _ d

family bloom (tied, body transformer.): BloomForCausalLM
  spell ^(?!transformer\.|lm_head) => transformer.
  with num_attention_heads=n_head, num_hidden_layers=n_layer, intermediate_size=4 * hidden_size, ORDER=fixed
  use heads
  use gpt with EMBED=word_embeddings
  transformer.word_embeddings_layernorm.*  d!
  transformer.h.{i}.
    mlp.  use plain with MAPS={dense_h_to_4h,dense_4h_to_h}
    input_layernorm.*           d! -> self_attention.query_key_value
    post_attention_layernorm.*  d! -> mlp.dense_h_to_4h
    self_attention.query_key_value.{weight,bias}  (g (q | q' | w)) d | (g (q | q' | w))
    self_attention.dense.{weight,bias}            d (g w') | d

part falcon
  refuse alibi unless None, False: a slope per head is not in this table
  refuse bias unless None, False: biases are not in this table
  use grouped_heads
  use gpt with EMBED=word_embeddings
  transformer.h.{i}.
    mlp.  use plain with MAPS={dense_h_to_4h,dense_4h_to_h}
    self_attention.query_key_value.weight  ROWS d         self_attention.dense.weight  d (g r w')

family falcon_7b of falcon (tied, body transformer.): FalconForCausalLM      # one key and value head, one norm
  select new_decoder_architecture = None, False
  with intermediate_size=ffn_hidden_size or 4 * hidden_size, KEY_HEADS=1, ROWS=(g r q | g q' | g w)
  use falcon
  transformer.h.{i}.
    input_layernorm.*  d! -> self_attention.query_key_value mlp.dense_h_to_4h

family falcon_40b of falcon (tied, body transformer.): FalconForCausalLM
  example num_kv_heads=2, new_decoder_architecture=True
  select new_decoder_architecture = True
  with intermediate_size=ffn_hidden_size or 4 * hidden_size, KEY_HEADS=num_kv_heads, ROWS=(g (r q | q' | w))
  use falcon
  transformer.h.{i}.
    ln_attn.*  d! -> self_attention.query_key_value       ln_mlp.*  d! -> mlp.dense_h_to_4h

family mpt (tied, body transformer.): MptForCausalLM
  example expansion_ratio=2
  refuse attn_config.clip_qkv unless None: clipping q, k, v breaks the value/output maps
  refuse attn_config.qk_ln unless None, False: a norm on q and k is not in this table
  with hidden_size=d_model, num_attention_heads=n_heads, num_hidden_layers=n_layers, ORDER=fixed
  with intermediate_size=4 * d_model
  use gpt with LAST=norm_f
  transformer.blocks.{i}.
    norm_1.*  d! -> attn.Wqkv                             norm_2.*  d! -> ffn.up_proj
    attn.
      use heads
      Wqkv.weight  (g q | g q' | g w) d                   out_proj.weight  d (g w')
    ffn.  use plain with MAPS={up_proj,down_proj}
"""
