"""Encoders of text and of pictures: BERT and its kin, ViT, DINOv2.

BERT, RoBERTa, MPNet and DistilBERT have their norms behind the block, so nothing is folded; ModernBERT rotates and
gates.  An activation behind a map of the head sees no sign, so the norm behind it brings the sign back.  A class name
that ends in Model gives out the stream itself: there the stream stays as it is (``family_of``).
"""

from typing import Final

ENCODERS: Final = r"""
part bert with KINDS={word,position,token_type}, QKV=self.{query,key,value}, OUT=output.dense, AFTER=attention.output
  spell LayerNorm\.{gamma,beta}$ => LayerNorm.{weight,bias}
  refuse position_embedding_type unless None, 'absolute': distances inside the dot product are not in this table
  residual  d  centred  hidden_size
  embeddings.
    {KINDS}_embeddings.weight  _ d                        {position,token_type}_ids  =     LayerNorm.*  d!
  encoder.layer.{i}.
    attention.  use attention
    use plain with MAPS={intermediate,output}.dense
    {AFTER}.LayerNorm.*  d!                               output.LayerNorm.*  d!
  pooler.dense.*  _ d ?

part masked                                               # behind the stream: a map, an activation, a norm, the words
  {TO}.*  d! d ?      {NORM}.{weight,bias}  d ?           {WORDS}.*  _ d ?

family bert (tied, body bert., head cls.predictions.decoder.weight): BertForMaskedLM BertForPreTraining
  with POSITIONS=max_position_embeddings or 0
  bert.  use bert
  cls.predictions.  use masked with TO=transform.dense, NORM=transform.LayerNorm, WORDS=decoder
  cls.predictions.bias  _ ?      cls.seq_relationship.*  _ _ ?      classifier.*  _ _ ?

family roberta of roberta xlm-roberta camembert (tied, body roberta., head lm_head.decoder.weight): \
    {Roberta,XLMRoberta,Camembert}ForMaskedLM
  with POSITIONS=max_position_embeddings or 0
  roberta.  use bert
  lm_head.  use masked with TO=dense, NORM=layer_norm, WORDS=decoder
  lm_head.bias  _ ?      classifier.dense.*  _ d ?        classifier.out_proj.*  _ _ ?

family mpnet (tied, body mpnet., head lm_head.decoder.weight): MPNetForMaskedLM      # a bias per head, for all layers
  with POSITIONS=max_position_embeddings or 0
  heads  g  order  num_attention_heads, at attn
  mpnet.  use bert with KINDS={word,position}, QKV=attn.{q,k,v}, OUT=attn.o, AFTER=attention
  mpnet.encoder.relative_attention_bias.weight  _ g
  lm_head.  use masked with TO=dense, NORM=layer_norm, WORDS=decoder
  lm_head.bias  _ ?

family distilbert (tied, body distilbert., head vocab_projector.weight): DistilBertForMaskedLM
  spell LayerNorm\.{gamma,beta}$ => LayerNorm.{weight,bias}
  with hidden_size=dim, num_attention_heads=n_heads, num_hidden_layers=n_layers, intermediate_size=hidden_dim
  with POSITIONS=max_position_embeddings
  residual  d  centred  hidden_size
  distilbert.embeddings.{word,position}_embeddings.weight  _ d      distilbert.embeddings.LayerNorm.*  d!
  distilbert.transformer.layer.{i}.
    attention.  use attention with QKV={q,k,v}_lin, OUT=out_lin
    ffn.        use plain with MAPS={lin1,lin2}
    {sa,output}_layer_norm.*  d!
  use masked with TO=vocab_transform, NORM=vocab_layer_norm, WORDS=vocab_projector
  classifier.*  _ _ ?      pre_classifier.*  _ d ?

family modernbert (tied, head decoder.weight): ModernBertForMaskedLM
  example local_attention=8, cls_token_id=1, sep_token_id=2
  with POSITIONS=max_position_embeddings or 0, QUERY=planes
  residual  d  centred  hidden_size
  neurons   n  glu      intermediate_size, at MLP
  model.embeddings.tok_embeddings.weight  _ d             model.{embeddings.norm,final_norm}.*  d!
  model.layers.{i}.
    attn_norm.*  d! ? any -> attn.Wqkv                    mlp_norm.*  d! -> mlp.Wi
    attn.
      use heads
      Wqkv.*  (g q | g q' | g w) d                        Wo.*  d (g w')
    mlp.Wi.*  (n | n^) d                                  mlp.Wo.*  d n^'
  use masked with TO=head.dense, NORM=head.norm, WORDS=decoder

part patches                                              # of ViT and its kin; their modules have other names
  spell (^|\.)layers\.(\d+)\. => \1encoder.layer.\2.
  spell \.attention\.{q,k,v}_proj\. => .attention.attention.{query,key,value}.
  spell \.attention\.o_proj\. => .attention.output.dense.
  residual  d  centred  hidden_size
  embeddings.
    cls_token  1 1 d       position_embeddings  1 _ d     mask_token  MASK d ?
    patch_embeddings.projection.{weight,bias}  d _ _ _ | d
  encoder.layer.{i}.attention.  use attention with QKV=attention.{query,key,value}, OUT=output.dense
  layernorm.*  d!

family vit (body vit., headless): ViTForImageClassification
  example picture, num_labels=7
  with VOCAB=0
  vit.  use patches with MASK=1 1
  spell \.mlp\.{fc1,fc2}\. => .{intermediate,output}.dense.
  vit.encoder.layer.{i}.
    layernorm_before.*  d! -> attention.attention.{query,key,value}
    layernorm_after.*   d! -> intermediate.dense
    use plain with MAPS={intermediate,output}.dense
  vit.pooler.dense.*  _ d ?                               classifier.*  _ d ?

family dinov2 of dinov2 dinov2_with_registers (body dinov2., headless): Dinov2{,WithRegisters}ForImageClassification
  spell ^dinov2_with_registers\. => dinov2.
  example picture
  refuse use_swiglu_ffn unless None, False: the gated MLP of the giant model is not in this table
  with VOCAB=0, intermediate_size=mlp_ratio * hidden_size
  dinov2.  use patches with MASK=1
  dinov2.embeddings.register_tokens  1 _ d ?
  dinov2.encoder.layer.{i}.
    norm1.*  d! -> attention.attention.{query,key,value}  norm2.*  d! -> mlp.fc1
    mlp.  use plain                                       layer_scale{1,2}.lambda1  d!
  classifier.*  _ (2 d) ?
"""
