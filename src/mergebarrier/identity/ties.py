"""Heads and embeddings that are one tensor: stored twice, stored once, or told apart on request.

    twin    a tied head that is stored all the same and equals the embedding
    lone    a tied head that is stored in place of the embedding, as loaders read it
    untied  a model that has a head of its own: the embedding's values under the head's name, tie_word_embeddings false

Source: ours, over the names of transformers.
"""

from collections.abc import Collection, Sequence

from mergebarrier.arch import Family
from mergebarrier.checkpoint import Checkpoint, View, ViewPart, tied_head, with_own_head
from mergebarrier.circuits import EMBEDDING, embedding_of
from mergebarrier.errors import TensorSetMismatch, apart, clean
from mergebarrier.identity.names import identities, identity_of, spelled_like, table_of
from mergebarrier.identity.stock_heads import NO_BIAS, head_of, ties_unsaid

#: End of the name of a tensor that may be stored twice -> ends of the names of what it may repeat.
_COPIES = {
    ".lm_head.weight": (
        "embed_tokens.weight",
        "wte.weight",
        "word_embeddings.weight",
        "shared.weight",
        "backbone.embeddings.weight",
        "tokens_embed.weight",
        "transformer.w.weight",
    ),
    ".generator_lm_head.weight": ("word_embeddings.weight",),
    ".lm_head.out_proj.weight": ("decoder.embed_tokens.weight",),
    ".lm_loss.weight": ("word_embedding.weight",),
    ".output_projection.weight": ("embed_tokens.weight",),
    ".pred_layer.proj.weight": ("transformer.embeddings.weight",),
    ".embed_out.weight": ("embed_in.weight",),
    ".proj_out.weight": ("decoder.embed_tokens.weight",),
    "coder.embed_tokens.weight": ("shared.weight",),
    ".decoder.weight": ("word_embeddings.weight", "tok_embeddings.weight"),
    ".decoder.bias": ("predictions.bias", "lm_head.bias"),
    ".vocab_projector.weight": ("word_embeddings.weight",),
}
_ROWS = 1 << 21


def is_tied(checkpoint: Checkpoint) -> bool:
    """Whether the configuration, or what its family does without a word, ties the head to the embedding."""
    said = _said(checkpoint)
    family = table_of(checkpoint) if said is None else None
    return bool(said) if family is None else family.tied


def _said(checkpoint: Checkpoint) -> object:
    """Return what the configuration says of the tie, or its table for text; None for nothing."""
    config = checkpoint.config
    text = config.get("text_config")
    return config.get("tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, dict) else None)


def matched(donor: Checkpoint, other: Checkpoint) -> Checkpoint:
    """Return ``other`` as ``spelled_like`` does, with the tied heads that the donor stores, and with no others."""
    other = spelled_like(donor, other)
    other = without_twins(other, donor.tensors)
    lacking = {name: repeats(donor, name) for name in donor.tensors if name not in other.tensors}
    parts = {name: ViewPart.of(other, name) for name in other.tensors}
    parts |= {name: parts[original] for name, original in lacking.items() if original in parts}
    return other if parts.keys() == other.tensors.keys() else View(other, parts, {})


def with_embedding(model: Checkpoint) -> Checkpoint:
    """Return a model that stores its embedding: under the head's name alone, it is the same tensor."""
    table = table_of(model)
    name = "" if table is None else embedding_of(table)
    stored = identities(model).get(identity_of(name, table), name) if name else ""
    if stored not in model.tensors or EMBEDDING.search(stored) or not is_tied(model):
        return model
    return View(model, {name if one == stored else one: ViewPart.of(model, one) for one in model.tensors}, {})


def stored_once(model: Checkpoint) -> Checkpoint:
    """Return a model that stores a tied embedding once, under the embedding's name."""
    model = with_embedding(model)
    heads = [name for name in model.tensors if is_head(name)] if is_tied(model) else []
    return without_twins(model, [name for name in model.tensors if name not in heads])


def ties_of(model: Checkpoint) -> dict[str, str] | None:
    """Return what a model ties and does not store, the head first -> the stored tensor; None where nothing tells."""
    table = table_of(model)
    if table is None:
        return _without_table(model)
    words, firsts = table.head.split("."), {name.partition(".")[0] for name in model.tensors}
    name = table.head if len(words) < 3 or words[0] in firsts else ".".join(words[-2:])
    tied = is_tied(model) or (table.tied and "tie_word_embeddings" not in model.config)  # what its class does
    head = tied_head(model, name, tied=tied) if table.head else ""
    embedding = identities(model).get(identity_of(embedding_of(table), table))
    return {head: embedding, **_beside(model, table, head)} if head and embedding else {}


def _without_table(model: Checkpoint) -> dict[str, str] | None:
    """Return the ties of a model whose family has no table."""
    name, said = head_of(model), _said(model)
    embedding = min(originals(model, name), key=lambda one: not one.endswith("shared.weight"), default=None)
    if embedding is None:
        return None
    head = tied_head(model, name, tied=ties_unsaid(model) if said is None else bool(said))
    return {head: embedding, **_beside(model, None, head)} if head else {}


def _beside(model: Checkpoint, table: Family | None, head: str) -> dict[str, str]:
    """Return what is tied beside a head, by the same entry of the configuration: its bias, embeddings of BART's kind.

    T5 has such embeddings too, and its classes tie them whatever the configuration says.
    """
    stem = head.removesuffix(".weight")
    has_bias = model.config.get("model_type") not in NO_BIAS
    found = {f"{stem}.bias": f"{stem.rpartition('.')[0]}.bias"} if has_bias else {}
    shared = next((name for name in model.tensors if name.endswith(".shared.weight")), None)
    if shared is not None:
        body = shared.removesuffix("shared.weight")
        lines = (f"{body}{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
        lines = lines if table is None else (line.name for line in table.lines)
        found |= {name: shared for name in lines if name.endswith("coder.embed_tokens.weight")}
    return {name: source for name, source in found.items() if name not in model.tensors and source in model.tensors}


def without_twins(model: Checkpoint, names: Collection[str]) -> Checkpoint:
    """Return a model without those of its tensors that repeat another and are none of some names."""
    twins = twins_of(model, [name for name in model.tensors if name not in names])
    parts = {name: ViewPart.of(model, name) for name in model.tensors if name not in twins}
    return View(model, parts, twins) if twins else model


def untied(models: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Return models that all store their heads, as a copy of the embedding where they have no other.

    Raises: TensorSetMismatch for one without an embedding.
    """
    names = [name for model in models for name in model.tensors if is_head(name)]
    return tuple(_untied(model, next(iter(names), None)) for model in models)


def _untied(model: Checkpoint, name: str | None) -> Checkpoint:
    """Return one of them; a head that is stored beside the embedding counts, as it does for loaders."""
    model = with_embedding(model)
    stored = any(map(is_head, model.tensors)) or head_of(model) in model.tensors
    if stored and not is_tied(model):
        return model
    parts = {own: ViewPart.of(model, own) for own in model.tensors}
    table = table_of(model)
    if not stored:
        name = name or (table.head if table is not None and table.head else head_of(model))
        embedding = next(iter(originals(model, name)), None)
        if embedding is None:
            raise TensorSetMismatch("has neither a head nor an embedding", where=model.path, remedy="leave --untie out")
        parts[name] = ViewPart.of(model, embedding)
    head = next(filter(is_head, parts), head_of(model))
    parts |= {one: ViewPart.of(model, source) for one, source in _beside(model, table, head).items()}
    return View(model, parts, {}, with_own_head(model.config))


def repeats(checkpoint: Checkpoint, name: str) -> str | None:
    """Return the tensor that one repeats, value by value, such as the embedding that a head is tied to; or None."""
    info = checkpoint.tensors[name]
    step = max(1, _ROWS * info.rows // max(1, info.numel))
    spans = [(start, min(start + step, info.rows)) for start in range(0, info.rows, step)]
    for original in originals(checkpoint, name):
        other = checkpoint.tensors[original]
        same = (info.shape, info.dtype) == (other.shape, other.dtype)
        if same and all(checkpoint.read_rows(name, *at).equal(checkpoint.read_rows(original, *at)) for at in spans):
            return original
    return None


def originals(checkpoint: Checkpoint, name: str) -> list[str]:
    """Return the tensors of a checkpoint that one of this name may repeat."""
    ends = next((ends for copy, ends in _COPIES.items() if f".{name}".endswith(copy)), None)
    return [other for other in checkpoint.tensors if ends and other != name and other.endswith(ends)]


def twins_of(model: Checkpoint, names: Sequence[str]) -> dict[str, str]:
    """Return those of some tensors that repeat another, and what is said of them."""
    found = {name: repeats(model, name) for name in names}
    return {name: f"repeats {original}" for name, original in found.items() if original is not None}


def _may_repeat(name: str) -> bool:
    return any(f".{name}".endswith(copy) for copy in _COPIES)


def is_head(name: str) -> bool:
    """Whether a tensor of this name is a head that may be tied to an embedding."""
    return _may_repeat(name) and not name.endswith(("embed_tokens.weight", "bias"))


def own_heads(donor: Checkpoint, model: Checkpoint, lacks: Sequence[str]) -> dict[str, str]:
    """Return heads that a tied model does not store -> its embeddings; where the donor is tied by its values alone."""
    found = {}
    for name in lacks if is_tied(model) else ():
        original = repeats(donor, name)
        if original is not None and original in model.tensors:
            found[name] = original
    return found


def check_ties(donor: Checkpoint, model: Checkpoint, odd: Sequence[str], *, resolved: bool) -> None:
    """Refuse a head that one of two models stores and the other ties, and ties that only one declares."""
    said = [side.config.get("tie_word_embeddings") for side in (donor, model)]
    mixed = any(map(is_head, odd)) and (is_tied(donor) or is_tied(model))
    if None not in said and said[0] != said[1] and not resolved:
        both = [name for name in donor.tensors if name in model.tensors and is_head(name)]
        tied = [side for side in (donor, model) if side is model or is_tied(donor)]
        mixed = not both or any(repeats(side, name) is None for name in both for side in tied)
    if mixed:
        name = apart(donor.path.absolute(), model.path.absolute())
        raise TensorSetMismatch(
            f"tied and untied embeddings are mixed: the head is stored in one of this and "
            f"{name} only, or tie_word_embeddings differs ({clean(repr(said[1]))} and "
            f"{clean(repr(said[0]))})",
            where=model.path,
            remedy="save all models tied, or all untied, or give --untie",
        )
