"""The tensors that layers in another order must hold, and where layers of two kinds were merged.

What the configuration says of them is said again by ``with_layers``.  Below that is a net that needs no law: a layer of
the output holds the same tensors, in the same shapes, as the donor's layers of that kind; where the laws tell no kinds
apart, as the donor's layer at that place.  Source: ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mergebarrier.circuits import LAWS, SPOKEN, LayerOrigin
from mergebarrier.errors import ConfigMismatch, TensorSetMismatch, clean
from mergebarrier.merge.recipe.layers import within

if TYPE_CHECKING:
    from mergebarrier.checkpoint import TensorInfo

_KEEP = "let layers of that kind stay where they are, or merge whole models"
#: Type -> (a part that layers have which compute by their number, and what they hold of that where it is stored).
_BY_NUMBER = {
    "minimax": ("self_attn.qkv_proj.weight", ("slope_rate", "query_decay", "key_decay", "diagonal_decay")),
}


def mixed(rows: Sequence[Sequence[LayerOrigin]], stack: str) -> list[str]:
    """Say which layers of the output are merged from layers of two kinds."""
    odd = {
        place: (clean(mine), clean(theirs))
        for place, (first, *others) in enumerate(rows)
        for law in LAWS
        for other in others
        if law.holds_for(first.config, stack)
        and (mine := law.of(first.config, first.layer, first.n_layers))
        != (theirs := law.of(other.config, other.layer, other.n_layers))
    }
    if not odd:
        return []
    place, words = next(iter(odd.items()))
    what = f"{len(odd)} layers of the output are merged from layers of two kinds, such as {stack}.{place}"
    return [f"{what} ({' and '.join(words)}); the first source is believed"]


def check_numbers(of: Sequence[LayerOrigin], names: Iterable[str], stack: str, where: object) -> None:
    """Refuse layers whose class would compute what they do not hold anew, from their number among others.

    Args:
      of:    where the layers of the output come from.
      names: of the tensors of the output.
      stack: name of the layers.
      where: the configuration, for messages.
    Raises: ConfigMismatch.
    """
    parts = {(place.layer, place.part) for name in names if (place := within(name, stack)) is not None}
    for layer, one in enumerate(of):
        mark, stored = _BY_NUMBER.get(str(one.config.get("model_type")), ("", ()))
        stays = (layer, len(of)) == (one.layer, one.n_layers)
        lacks = next((part for part in stored if (layer, f"self_attn.{part}") not in parts), None)
        if (layer, mark) in parts and lacks is not None and not stays:
            what = f"{clean(stack)}.{layer} of the output holds no {lacks}, which its class makes by the layer's number"
            remedy = "store it first: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR) of transformers"
            raise ConfigMismatch(what, where=where, remedy=remedy)


Held = Mapping[int, Mapping[str, tuple[int, ...]]]


def kinds(
    config: "Mapping[str, object]", n_layers: int, stack: str, lists: Iterable[str] = ()
) -> list[tuple[str, ...]]:
    """Return what laws, and lists of these names, say of every layer."""
    laws = [law for law in LAWS if law.holds_for(config, stack)]
    said = [value for key in lists if isinstance(value := config.get(key), list) and len(value) == n_layers]
    return [
        (*(repr(law.of(config, layer, n_layers)) for law in laws), *(repr(value[layer]) for value in said))
        for layer in range(n_layers)
    ]


def lists_of(before: "Mapping[str, object]", n_before: int, after: "Mapping[str, object]", n_after: int) -> list[str]:
    """Return the keys of lists per layer; one that is as long by chance is not so in both configurations."""

    def per_layer(config: "Mapping[str, object]", n_layers: int) -> set[str]:
        return {key for key, value in config.items() if isinstance(value, list) and len(value) == n_layers}

    return sorted((per_layer(before, n_before) & per_layer(after, n_after)) - SPOKEN)


def held(tensors: "Mapping[str, TensorInfo]", stack: str) -> Held:
    """Return layer -> part -> shape of the weights in a stack."""
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, info in tensors.items():
        place = within(name, stack) if info.role == "weight" else None
        if place is not None:
            found.setdefault(place.layer, {})[place.part] = info.shape
    return found


def check_held(before: Held, was: Sequence[object], after: Held, now: Sequence[object], stack: str) -> None:
    """Compare the tensors of every layer of the output with those that it should hold.

    Args:
      before: layer -> part -> shape, of the donor.
      was:    its kinds of layers.
      after:  as ``before``, of the output.
      now:    its kinds.
      stack:  name of the layers.
    Raises: TensorSetMismatch.
    """
    forms: dict[object, list[Mapping[str, tuple[int, ...]]]] = {}
    for layer, kind in enumerate(was):
        known = forms.setdefault(kind, [])
        known += [before.get(layer, {})] if before.get(layer, {}) not in known else []
    # What layers of one kind do not all hold, a class gives by the place, such as to the first layer alone.
    placed = {
        part for known in forms.values() for form in known for part in form if len({one.get(part) for one in known}) > 1
    }
    for layer, kind in enumerate(now):
        known, here, mine = forms.get(kind, []), before.get(min(layer, len(was) - 1), {}), after.get(layer, {})
        if not known:
            continue
        wanted = {part: shape for part, shape in known[0].items() if part not in placed}
        wanted |= {part: here[part] for part in placed & here.keys()}
        odd = next((part for part in (*mine, *wanted) if mine.get(part) != wanted.get(part)), None)
        if odd is None:
            continue
        what = f"{clean(stack)}.{layer} of the output {'has' if odd in mine else 'lacks'} {clean(odd)}"
        if odd in mine and odd in wanted:
            what += f" in the shape {list(mine[odd])} in place of {list(wanted[odd])}"
        raise TensorSetMismatch(f"{what}, against what its configuration says", where="slices", remedy=_KEEP)
