"""Two streams: pictures and text side by side (CLIP, SigLIP), or pictures read by a decoder.

Every tower has a stream of its own; a projector ends one and writes the other.  Files of the hub and of later libraries
spell the tower's names differently; both spellings are read.
"""

from typing import Final

TOWERS: Final = r"""
part pictures
  with in=vision_config, d=y, g=a, q=e, w=f, n=m, i=k, ATTN=vision.layers.{k}.attn, MLP=vision.layers.{k}.mlp
  residual  d  STREAM  hidden_size, at vision
  layers    i  LAYERS
  use TOWER

part clip_pictures
  embeddings.
    class_embedding  d ?     patch_embedding.{weight,bias}  d _ _ _ | d ?
    position_embedding.weight  _ d                        position_ids  =
  pre_layrnorm.*  d! ?     post_layernorm.*  d!
  encoder.layers.{i}.  use tower_block

part clip_text with ATTN=text.layers.{i}.attn, MLP=text.layers.{i}.mlp
  residual  d  centred  hidden_size, at text
  embeddings.{token,position}_embedding.weight  _ d       embeddings.position_ids  =     final_layer_norm.*  d!
  encoder.layers.{i}.  use tower_block

part siglip_pooling                                       # reads the stream y and gives the image vector
  probe  1 1 y ?      attention.in_proj_{weight,bias}  _ y ? | _ ?
  {mlp.fc1,mlp.fc2,attention.out_proj}.*  _ _ ?           layernorm.{weight,bias}  _ ?

family clip (headless): CLIPModel
  example projection_dim=24
  example text_config: text, projection_dim=24
  example vision_config: picture, projection_dim=24
  with in=text_config
  text_model.  use clip_text                              vision_model.  use clip_vision
  text_projection.weight  _ d                             visual_projection.weight  _ y      logit_scale  =

family siglip (headless): SiglipModel
  example text_config: text, projection_size=32
  example vision_config: picture
  with in=text_config
  text_model.  use clip_text                              vision_model.  use clip_vision
  text_model.head.*  _ d                                  vision_model.head.  use siglip_pooling
  {logit_scale,logit_bias}  =

part spoken                                               # the text that is read with the pictures
  spell ^model\.language_model\. => language_model.model.
  spell ^model\.(vision_tower|multi_modal_projector)\. => \1.
  spell ^vision_tower\.vision_model\. => vision_tower.
  spell ^lm_head\. => language_model.lm_head.
  language_model.  use decoder

part clip_vision
  use pictures with TOWER=clip_pictures, STREAM=centred, LAYERS=num_hidden_layers

family llava (head language_model.lm_head.weight): LlavaForConditionalGeneration
  example text_config: text, model_type='llama'
  example vision_config: picture, model_type='clip_vision_model', projection_dim=24
  with in=text_config
  use spoken
  vision_tower.  use clip_vision
  multi_modal_projector.linear_{1,2}.*  _ y | d _

family gemma3_pictures of gemma3 (tied, offset 1, head language_model.lm_head.weight): Gemma3ForConditionalGeneration
  example text_config: text, model_type='gemma3_text'
  example vision_config: picture, model_type='siglip_vision_model'
  with in=text_config
  use spoken with NORMS=around, ATTENTION=normed
  vision_tower.  use clip_vision with FOLDS=none          vision_tower.head.  use siglip_pooling
  multi_modal_projector.mm_input_projection_weight  y d   multi_modal_projector.mm_soft_emb_norm.weight  y!

family qwen2_vl: Qwen2VLForConditionalGeneration
  example text_config: text
  example text_config: rope_parameters={'rope_type': 'default', 'rope_theta': 1e4, 'mrope_section': [2, 2, 2]}
  example vision_config: depth=2, embed_dim=32, hidden_size=48, num_heads=4, mlp_ratio=2, patch_size=4
  spell ^model\.{language_model,visual}\. => {model,visual}.
  with in=text_config
  use decoder
  visual.  use qwen_vision
  visual.merger.mlp.2.*  d _

part qwen_vision
  with hidden_size=embed_dim, intermediate_size=mlp_ratio * embed_dim, num_attention_heads=num_heads
  use pictures with TOWER=qwen_pictures, STREAM=centred, LAYERS=depth, QUERY=planes

part qwen_pictures
  patch_embed.proj.weight  d _ _ _ _                      merger.ln_q.*  d!      merger.mlp.0.*  _ (4 d)
  blocks.{i}.
    norm1.*  d! -> attn.qkv                               norm2.*  d! -> mlp.fc1
    attn.
      use heads
      qkv.{weight,bias}  (g q | g q' | g w) d | (g q | g q' | g w)      proj.*  d (g w')
    mlp.  use plain

family mistral3 (tied, head language_model.lm_head.weight): Mistral3ForConditionalGeneration
  example text_config: text, model_type='mistral'
  example vision_config: picture, model_type='pixtral', head_dim=8
  with in=text_config
  use spoken
  vision_tower.  use pictures with TOWER=pixtral, STREAM=signed, LAYERS=num_hidden_layers, QUERY=planes
  multi_modal_projector.
    norm.weight  y!      patch_merger.merging_layer.weight  _ (y 4)      linear_{1,2}.*  _ _ | d _

part pixtral
  patch_conv.weight  d _ _ _                              ln_pre.weight  d!
  transformer.layers.{i}.
    attention_norm.weight  d! -> attention.{q,k,v}_proj   ffn_norm.weight  d! -> feed_forward.{gate,up}_proj
    attention.  use attention                             feed_forward.  use gated
"""
