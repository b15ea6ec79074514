"""Encoder and decoder: T5, BART, Whisper; one stream for both stacks, cross-attention reads the encoder's end of it.

T5: the relative bias of the first layer serves its stack, so the order of heads is one per stack; those of
cross-attention are free per layer.  T5 has no 1/sqrt(d) and no biases; the gated variant is v1.1.
"""

from typing import Final

SEQ2SEQ: Final = r"""
part t5_stack with MLP=STACK.layers.{i}.mlp               # axes of a stack have names of their own
  heads         a   order  num_attention_heads, at STACK.attn
  {STACK}.final_layer_norm.*  d!
  {STACK}.block.{i}.layer.
    0.layer_norm.*  d! -> 0.SelfAttention.{q,k,v}         {LAST}.layer_norm.*  d! -> {LAST}.DenseReluDense.{FIRST}
    0.SelfAttention.  use attention with g=a, q=aq, w=aw, QKV={q,k,v}, OUT=o, ATTN=STACK.layers.{i}.attn
    0.SelfAttention.relative_attention_bias.weight  _ a ? any
    {LAST}.DenseReluDense.  use FEED

part t5 with hidden_size=d_model, num_attention_heads=num_heads, HEAD_DIM=d_kv, num_hidden_layers=num_layers, \
intermediate_size=d_ff, KEY_HEADS=num_heads
  residual  d  signed  hidden_size
  layers    j  num_decoder_layers or num_layers
  shared.weight  _ d                                      {encoder,decoder}.embed_tokens.weight  _ d ?
  use t5_stack with STACK=encoder, LAST=1
  use t5_stack with STACK=decoder, LAST=2, i=j, a=b, aq=bq, aw=bw, n=m
  decoder.block.{j}.layer.
    1.layer_norm.*  d! -> 1.EncDecAttention.q
    1.EncDecAttention.  use attention with g=c, q=cq, w=cw, QKV={q,k,v}, OUT=o, ATTN=decoder.layers.{j}.cross
  lm_head.weight  _ d

family t5 of t5 mt5 (tied): T5ForConditionalGeneration
  select feed_forward_proj = None, 'relu'
  with t5
  use t5 with FEED=plain, MAPS={wi,wo}, FIRST=wi

family t5_gated of t5 umt5 mt5 (tied): {,UM}T5ForConditionalGeneration
  example feed_forward_proj='gated-gelu', tie_word_embeddings=False
  select feed_forward_proj = 'gated-gelu', 'gated-silu'
  with t5
  use t5 with FEED=gated, MAPS={wi_0,wi_1,wo}, FIRST={wi_0,wi_1}

part bart with hidden_size=d_model, num_attention_heads=encoder_attention_heads, num_hidden_layers=encoder_layers, \
intermediate_size=encoder_ffn_dim, KEY_HEADS=encoder_attention_heads, OUT=out_proj
  residual  d  STREAM  hidden_size
  layers    j  decoder_layers
  model.encoder.layers.{i}.
    self_attn.     use attention with g=a, q=e, w=f, ATTN=encoder.layers.{i}.self_attn
    use plain with MLP=encoder.layers.{i}.mlp
  with num_attention_heads=decoder_attention_heads, intermediate_size=decoder_ffn_dim
  model.decoder.layers.{j}.
    self_attn.     use attention with g=b, q=k, w=l, ATTN=decoder.layers.{j}.self_attn
    encoder_attn.  use attention with g=c, q=o, w=p, ATTN=decoder.layers.{j}.encoder_attn
    encoder_attn_layer_norm.*  d! -> encoder_attn.q_proj
    use plain with n=x, MLP=decoder.layers.{j}.mlp
  model.{encoder.layers.{i},decoder.layers.{j}}.
    self_attn_layer_norm.*  d! -> self_attn.{q,k,v}_proj  final_layer_norm.*  d! -> fc1
  model.{encoder,decoder}.embed_positions.weight  _ d

family bart of bart plbart blenderbot-small (tied): {Bart,PLBart,BlenderbotSmall}ForConditionalGeneration
  with bart
  use bart with STREAM=centred, FOLDS=none
  model.{shared,encoder.embed_tokens,decoder.embed_tokens}.weight  _ d | _ d ? | _ d ?
  model.{encoder,decoder}.layernorm_embedding.*  d!
  final_logits_bias  =     lm_head.weight  _ d

family mbart of mbart pegasus blenderbot (tied): {MBart,Pegasus,Blenderbot}ForConditionalGeneration
  with bart
  use bart with STREAM=centred
  model.{shared,encoder.embed_tokens,decoder.embed_tokens}.weight  _ d | _ d ? | _ d ?
  model.{encoder,decoder}.layernorm_embedding.*  d! ?     model.{encoder,decoder}.layer_norm.*  d!
  final_logits_bias  =     lm_head.weight  _ d

family whisper (tied, head proj_out.weight): WhisperForConditionalGeneration
  example num_mel_bins=16, max_source_positions=20, max_target_positions=40
  with bart
  use bart with STREAM=order                              # a sign would change the activation behind a convolution
  model.encoder.conv1.{weight,bias}  _ _ _ | _            model.encoder.conv2.{weight,bias}  d _ _ | d
  model.decoder.embed_tokens.weight  _ d                  model.{encoder,decoder}.layer_norm.*  d!
  proj_out.weight  _ d
"""
