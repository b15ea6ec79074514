"""Encoders of text and of pictures: BERT and its kin, ViT, DINOv2.

BERT, RoBERTa and DistilBERT have their norms behind the block, so nothing is folded; ModernBERT rotates and gates.  An
activation behind a map of the head sees no sign, so the norm behind it brings the sign back.  A
class name that ends in Model gives out the stream itself: there the stream stays as it is (``Family.variant``).
"""

from collections.abc import Mapping

from mergebarrier.arch.families.parts import attention, heads, linear, neurons, norms, plain_mlp, stream
from mergebarrier.arch.family import Family

_WIDTH = "hidden_size / num_attention_heads"
_DIMS: Mapping[str, str] = {
    "hidden": "hidden_size",
    "mlp_width": "intermediate_size",
    "vocab": "vocab_size",
    "n_layers": "num_hidden_layers",
    "positions": "max_position_embeddings or 0",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_attention_heads",
    "head_dim": _WIDTH,
}
_AXES = {"d": stream("centred"), **heads(entries=_WIDTH), "n": neurons("order")}
_GAMMA = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))


def _bert(body: str, extra: Mapping[str, str]) -> dict[str, str]:
    layer, embeddings = f"{body}encoder.layer.{{i}}.", f"{body}embeddings."
    names = ("self.query", "self.key", "self.value", "output.dense")
    return {
        f"{embeddings}word_embeddings.weight": "_ d",
        f"{embeddings}position_embeddings.weight": "_ d",
        f"{embeddings}token_type_embeddings.weight": "_ d",
        f"{embeddings}position_ids": "=",
        f"{embeddings}token_type_ids": "=",
        **norms(f"{embeddings}LayerNorm"),
        **attention(f"{layer}attention.", names, grouped=False),
        **norms(f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"),
        **plain_mlp(layer, ("intermediate.dense", "output.dense")),
        f"{body}pooler.dense.weight": "_ d ?",
        f"{body}pooler.dense.bias": "_ ?",
        **extra,
    }


BERT = Family(
    name="bert",
    architectures=("BertForMaskedLM", "BertForPreTraining"),
    model_types=("bert",),
    axes=_AXES,
    layers={"i": "num_hidden_layers"},
    dims=_DIMS,
    body="bert.",
    tensors=_bert(
        "bert.",
        {
            "cls.predictions.transform.dense.weight": "d! d ?",
            "cls.predictions.transform.dense.bias": "d! ?",
            "cls.predictions.transform.LayerNorm.weight": "d ?",
            "cls.predictions.transform.LayerNorm.bias": "d ?",
            "cls.predictions.decoder.weight": "_ d ?",
            "cls.predictions.decoder.bias": "_ ?",
            "cls.predictions.bias": "_ ?",
            "classifier.weight": "_ _ ?",
            "classifier.bias": "_ ?",
            "cls.seq_relationship.weight": "_ _ ?",
            "cls.seq_relationship.bias": "_ ?",
        },
    ),
    spellings=_GAMMA,
    head="cls.predictions.decoder.weight",
    tied=True,
    refused={"position_embedding_type": ((None, "absolute"), "distances inside the dot product are not in this table")},
)

ROBERTA = Family(
    name="roberta",
    architectures=("RobertaForMaskedLM", "XLMRobertaForMaskedLM"),
    model_types=("roberta", "xlm-roberta"),
    axes=_AXES,
    layers={"i": "num_hidden_layers"},
    dims=_DIMS,
    body="roberta.",
    tensors=_bert(
        "roberta.",
        {
            "lm_head.dense.weight": "d! d ?",
            "lm_head.dense.bias": "d! ?",
            "lm_head.layer_norm.weight": "d ?",
            "lm_head.layer_norm.bias": "d ?",
            "lm_head.decoder.weight": "_ d ?",
            "lm_head.decoder.bias": "_ ?",
            "lm_head.bias": "_ ?",
            "classifier.dense.weight": "_ d ?",
            "classifier.dense.bias": "_ ?",
            "classifier.out_proj.weight": "_ _ ?",
            "classifier.out_proj.bias": "_ ?",
        },
    ),
    spellings=_GAMMA,
    head="lm_head.decoder.weight",
    tied=True,
    refused={"position_embedding_type": ((None, "absolute"), "distances inside the dot product are not in this table")},
)

_DISTIL = "distilbert.transformer.layer.{i}."
DISTILBERT = Family(
    name="distilbert",
    architectures=("DistilBertForMaskedLM",),
    model_types=("distilbert",),
    axes={
        "d": stream("centred", "dim"),
        **heads(heads="n_heads", entries="dim / n_heads"),
        "n": neurons("order", "hidden_dim"),
    },
    layers={"i": "n_layers"},
    dims={
        "hidden": "dim",
        "mlp_width": "hidden_dim",
        "vocab": "vocab_size",
        "n_layers": "n_layers",
        "positions": "max_position_embeddings",
        "n_heads": "n_heads",
        "n_kv_heads": "n_heads",
        "head_dim": "dim / n_heads",
    },
    body="distilbert.",
    tensors={
        "distilbert.embeddings.word_embeddings.weight": "_ d",
        "distilbert.embeddings.position_embeddings.weight": "_ d",
        **norms("distilbert.embeddings.LayerNorm"),
        **attention(f"{_DISTIL}attention.", ("q_lin", "k_lin", "v_lin", "out_lin"), grouped=False),
        **norms(f"{_DISTIL}sa_layer_norm", f"{_DISTIL}output_layer_norm"),
        **plain_mlp(f"{_DISTIL}ffn.", ("lin1", "lin2")),
        "vocab_transform.weight": "d! d ?",
        "vocab_transform.bias": "d! ?",
        "vocab_layer_norm.weight": "d ?",
        "vocab_layer_norm.bias": "d ?",
        "vocab_projector.weight": "_ d ?",
        "vocab_projector.bias": "_ ?",
        "classifier.weight": "_ _ ?",
        "classifier.bias": "_ ?",
        "pre_classifier.weight": "_ d ?",
        "pre_classifier.bias": "_ ?",
    },
    spellings=_GAMMA,
    head="vocab_projector.weight",
    tied=True,
)

_MODERN = "model.layers.{i}."
MODERNBERT = Family(
    name="modernbert",
    architectures=("ModernBertForMaskedLM",),
    model_types=("modernbert",),
    axes={
        "d": stream("centred"),
        **heads(entries=_WIDTH, query={"kind": "planes"}),
        "n": neurons("glu"),
    },
    layers={"i": "num_hidden_layers"},
    dims=_DIMS,
    body="model.",
    tensors={
        "model.embeddings.tok_embeddings.weight": "_ d",
        "model.embeddings.norm.weight": "d!",
        "model.embeddings.norm.bias": "d ?",
        f"{_MODERN}attn_norm.weight": "d! ? any",
        f"{_MODERN}attn_norm.bias": "d ? any",
        f"{_MODERN}attn.Wqkv.weight": "(g q | g q' | g w) d",
        f"{_MODERN}attn.Wqkv.bias": "(g q | g q' | g w) ?",
        **linear(f"{_MODERN}attn.Wo", "d", "(g w')"),
        **norms(f"{_MODERN}mlp_norm"),
        f"{_MODERN}mlp.Wi.weight": "(n | n^) d",
        f"{_MODERN}mlp.Wi.bias": "(n | n^) ?",
        **linear(f"{_MODERN}mlp.Wo", "d", "n^'"),
        **norms("model.final_norm"),
        "head.dense.weight": "d! d ?",
        "head.dense.bias": "d! ?",
        "head.norm.weight": "d ?",
        "head.norm.bias": "d ?",
        "decoder.weight": "_ d ?",
        "decoder.bias": "_ ?",
    },
    folds={f"{_MODERN}attn_norm": (f"{_MODERN}attn.Wqkv",), f"{_MODERN}mlp_norm": (f"{_MODERN}mlp.Wi",)},
    head="decoder.weight",
    tied=True,
)


def _vision(
    body: str, embeddings: Mapping[str, str], last: str, pair: tuple[str, str], layer: Mapping[str, str]
) -> dict[str, str]:
    block = f"{body}encoder.layer.{{i}}."
    names = ("attention.query", "attention.key", "attention.value", "output.dense")
    return {
        **{f"{body}embeddings.{name}": text for name, text in embeddings.items()},
        f"{body}embeddings.patch_embeddings.projection.weight": "d _ _ _",
        f"{body}embeddings.patch_embeddings.projection.bias": "d",
        **norms(*(f"{block}{name}" for name in pair), f"{body}{last}"),
        **attention(f"{block}attention.", names, grouped=False),
        **{f"{block}{name}": text for name, text in layer.items()},
    }


def _folds(body: str, pair: tuple[str, str], first: str) -> dict[str, tuple[str, ...]]:
    block = f"{body}encoder.layer.{{i}}."
    roles = ("query", "key", "value")
    return {
        f"{block}{pair[0]}": tuple(f"{block}attention.attention.{role}" for role in roles),
        f"{block}{pair[1]}": (f"{block}{first}",),
    }


#: As modules of later libraries call them; their own ``save_pretrained`` writes the names of the hub.
_MODULES = (
    (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
    *((rf"\.attention\.{word[0]}_proj\.", f".attention.attention.{word}.") for word in ("query", "key", "value")),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)
_PAIR = ("layernorm_before", "layernorm_after")
VIT = Family(
    name="vit",
    architectures=("ViTForImageClassification",),
    model_types=("vit",),
    axes=_AXES,
    layers={"i": "num_hidden_layers"},
    dims={**_DIMS, "vocab": "0", "positions": "0"},
    body="vit.",
    spellings=(*_MODULES, (r"\.mlp\.fc1\.", ".intermediate.dense."), (r"\.mlp\.fc2\.", ".output.dense.")),
    tensors={
        **_vision(
            "vit.",
            {"cls_token": "1 1 d", "position_embeddings": "1 _ d", "mask_token": "1 1 d ?"},
            "layernorm",
            _PAIR,
            plain_mlp("", ("intermediate.dense", "output.dense")),
        ),
        "vit.pooler.dense.weight": "_ d ?",
        "vit.pooler.dense.bias": "_ ?",
        "classifier.weight": "_ d ?",
        "classifier.bias": "_ ?",
    },
    folds=_folds("vit.", _PAIR, "intermediate.dense"),
    head="",
)

_NORMS = ("norm1", "norm2")
DINOV2 = Family(
    name="dinov2",
    architectures=("Dinov2ForImageClassification",),
    model_types=("dinov2",),
    axes={**_AXES, "n": neurons("order", "mlp_ratio * hidden_size")},
    layers={"i": "num_hidden_layers"},
    dims={**_DIMS, "mlp_width": "mlp_ratio * hidden_size", "vocab": "0", "positions": "0"},
    body="dinov2.",
    spellings=_MODULES,
    tensors={
        **_vision(
            "dinov2.",
            {"cls_token": "1 1 d", "position_embeddings": "1 _ d", "mask_token": "1 d ?", "register_tokens": "1 _ d ?"},
            "layernorm",
            _NORMS,
            {**plain_mlp("mlp."), "layer_scale1.lambda1": "d!", "layer_scale2.lambda1": "d!"},
        ),
        "classifier.weight": "_ (2 d) ?",
        "classifier.bias": "_ ?",
    },
    folds=_folds("dinov2.", _NORMS, "mlp.fc1"),
    head="",
    refused={"use_swiglu_ffn": ((None, False), "the gated MLP of the giant model is not in this table")},
)
