"""A head that a base ties to its embedding, where an adapter trained one of the two, or both.

    both get the same values            ->   they stay one tensor
    a saved copy of what the base has   ->   nothing was trained there, and nothing comes apart
    one of them, or each its own        ->   a head of its own, on request, else refused with the way out

Source: what peft 0.18 to 0.21.2 save.  Differs: ``ensure_weight_tying`` is not asked, since peft ties by the names
``embed_tokens`` and ``lm_head`` alone, and where it ties, both stand in the file; DoRA gives the two other lengths;
and peft's own merge adds what was trained on a tied head to the embedding too, which is not the model that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping

from mergebarrier.checkpoint.adapter.adapter import Adapter
from mergebarrier.checkpoint.adapter.change import WeightChange
from mergebarrier.checkpoint.adapter.contents import Factors
from mergebarrier.checkpoint.read import Checkpoint
from mergebarrier.errors import BadAdapter, clean
from mergebarrier.lazy import torch


def settle_head(
    adapter: Adapter, base: Checkpoint, ties: Mapping[str, str], found: dict[str, WeightChange], *, untie: bool
) -> None:
    """Leave a tied head tied where it gets what the embedding gets; else untie it, or refuse.

    Args:
      adapter: the adapter.
      base:    what it was trained on.
      ties:    what the base ties and does not store, the head first -> the stored tensor.
      found:   tensor -> what the adapter does to it; changed here.
      untie:   store the head apart.
    Raises: BadAdapter.
    """
    head_name = next(iter(ties), "")
    if not head_name:
        return
    name = ties[head_name]
    for one in (name, *ties):
        if one in found and _is_copy(adapter, base, ties.get(one, name), found[one]):
            del found[one]
    for one, source in ties.items():  # the bias of a head is tied to another one, not to the embedding
        if source != name and {one, source} <= found.keys() and _same(adapter, found[source], found[one]):
            del found[one]
    if not any(one in found for one in (name, *ties)):
        return
    embedding, head = found.get(name), found.get(head_name)
    apart = [one for one in ties if one in found and not _same(adapter, embedding, found[one])]
    follows = embedding is not None and embedding.whole is None and not embedding.added
    if not apart and (head is not None or follows):
        for tied in ties:
            found.pop(tied, None)
        return
    alone = embedding or next(found[one] for one in ties if one in found)

    def refuse(tensor: str, what: str, remedy: str) -> BadAdapter:
        return BadAdapter(what, where=f"{adapter.path}: tensor {clean(tensor)!r}", remedy=remedy)

    if not untie:
        what = f"{clean(name)} of the base {base.name} is also its head, and the adapter was trained on one"
        if embedding is None:
            what = f"the head of the base {base.name} is tied to the embedding, which was not trained"
        raise refuse(alone.tensor, what, "merge with --untie, which stores the head apart")
    if head is not None and head.factors is not None and embedding is not None and head.tokens is None:
        if embedding.tokens is not None and head.factors.magnitude is not None:
            raise refuse(head.tensor, "DoRA of a head below which rows of tokens are trained", "merge it with peft")
        head = WeightChange(head.source, head.whole, head.factors, head.transposed, tokens=embedding.tokens)
    found[head_name] = head or WeightChange(name)
    for tied, source in ties.items():
        found.setdefault(tied, found.get(source, WeightChange(source)))


def _is_copy(adapter: Adapter, base: Checkpoint, name: str, change: WeightChange) -> bool:
    """Say whether a change stores again, rounded as the base is stored, what that has: a saved module never trained."""
    whole, more = change.whole, (change.factors, change.tokens, change.update)
    if whole is None or any(one is not None for one in more) or whole.shape != base.tensors[name].shape:
        return False
    kept = base.read(name)
    return torch.equal(adapter.weights.read(whole.name).to(kept.dtype), kept)


def _same(adapter: Adapter, one: WeightChange | None, other: WeightChange) -> bool:
    """Say whether a tied tensor and its embedding get the same values."""
    if one is None or one.update or other.update or not _same_update(adapter, one.factors, other.factors):
        return False
    pairs = [(one.whole, other.whole), (one.tokens and one.tokens.values, other.tokens and other.tokens.values)]
    if (one.tokens and one.tokens.indices) != (other.tokens and other.tokens.indices):
        return False
    read = adapter.weights.read
    return all(a is b or (a and b and torch.equal(read(a.name), read(b.name))) for a, b in pairs)


def _same_update(adapter: Adapter, one: Factors | None, other: Factors | None) -> bool:
    """Say whether the updates of an embedding and of what is tied to it are one, each stored in its way."""
    if one is None or other is None:
        return one is other
    plain = not (one.magnitude or other.magnitude or one.bias or other.bias or one.parameters or other.parameters)
    if not plain or one.scale != other.scale:
        return False
    read = adapter.weights.read
    turned = one.embedding != other.embedding
    pairs = ((one.a, other.b), (one.b, other.a)) if turned else ((one.a, other.a), (one.b, other.b))
    return all(torch.equal(read(a.name), read(b.name).T if turned else read(b.name)) for a, b in pairs)
