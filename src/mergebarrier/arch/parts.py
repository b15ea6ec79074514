"""What many tables share: attention, MLPs, where norms stand, the blocks of a decoder and of a tower."""

from typing import Final

PARTS: Final = r"""
part heads with QUERY=basis, ORDER=order, KEYS=num_attention_heads
  query_key     q  QUERY  HEAD_DIM, at ATTN, per g, rotary ROTARY
  value_output  w  basis  HEAD_DIM, at ATTN, per g
  heads         g  ORDER  KEYS, at ATTN

part grouped_heads with QUERY=planes, KEYS=KEY_HEADS      # query heads r share the keys and values of their group g
  use heads
  heads         r  order  num_attention_heads / KEYS, at ATTN, per g

part attention with QKV={q,k,v}_proj, OUT=o_proj          # q and k meet on a head's entries, v and o on its values
  use heads
  {QKV}.*  (g q) d | (g q') d | (g w) d                   {OUT}.*  d (g w')

part grouped with QKV={q,k,v}_proj, OUT=o_proj            # with biases where a configuration asks for them
  use grouped_heads
  {QKV}.*  (g r q) d | (g q') d | (g w) d                 {OUT}.*  d (g r w')
  {QKV}.bias  (g r q) ? attention_bias | (g q') ? attention_bias | (g w) ? attention_bias
  {OUT}.bias  d ? attention_bias

part normed                                               # gains on q and k are shared by the heads: so are elements
  query_key     q  planes normed  HEAD_DIM, at ATTN
  use grouped
  {q,k}_norm.weight  q!

part gated with MAPS={gate,up,down}_proj                  # down(act(gate x) * up x)
  neurons       n  glu    intermediate_size, at MLP
  {MAPS}.*  n d | n^ d | d n^'

part gated_fused
  neurons       n  glu    intermediate_size, at MLP
  gate_up_proj.weight  (n | n^) d                         down_proj.weight  d n^'

part plain with MAPS={fc1,fc2}                            # fc2(act(fc1 x))
  neurons       n  order  intermediate_size, at MLP
  {MAPS}.*  n d | d n

part before                                               # the norms of a block: before attention and before the MLP
  input_layernorm.*  d! -> {READ}                         post_attention_layernorm.*  d! -> {FEED_READ}

part around
  input_layernorm.*  d! -> {READ}                         post_attention_layernorm.*    d!
  pre_feedforward_layernorm.*  d! -> {FEED_READ}          post_feedforward_layernorm.*  d!

part behind
  {post_attention,post_feedforward}_layernorm.*  d!

part beside                                               # attention and MLP read the stream through one norm
  input_layernorm.*  d! -> {READ} {FEED_READ}

part decoder with STREAM=signed, NORMS=before, ATTENTION=grouped, FEED=gated, FEED_AT=mlp, \
READ=self_attn.{q,k,v}_proj, FEED_READ=mlp.{gate,up}_proj, LAST=norm
  residual      d  STREAM  hidden_size
  model.
    embed_tokens.weight  _ d
    layers.{i}.
      use NORMS
      self_attn.  use ATTENTION                           {FEED_AT}.  use FEED
    {LAST}.*             d!
  lm_head.weight         _ d

part tower_block                                          # of CLIP and its kin
  layer_norm1.*  d! -> self_attn.{q,k,v}_proj             layer_norm2.*  d! -> mlp.fc1
  self_attn.     use attention with OUT=out_proj          mlp.           use plain
"""
