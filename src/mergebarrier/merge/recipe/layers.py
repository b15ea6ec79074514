"""Layer and module that a tensor belongs to, read from its name; and the keys that count the layers.

    model.layers.7.mlp.up_proj.weight  ->  stack "model.layers", layer 7, part "mlp.up_proj.weight"

A layer's index is the first number among the dotted parts of a name, its stack what is before it; what belongs to
no stack comes before the layers when it embeds, after them otherwise. No table of families is needed for that.  Where a
recipe has modules, one is named by a part of the dotted names of its tensors, and one may get all the rest:

    modules: {vision_tower: .., text_decoder: ..}      vision_tower.encoder.layers.0.mlp.weight -> vision_tower
                                                       every other tensor                       -> text_decoder

Source: ours. Differs from mergekit, which needs a description of each architecture.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.recipe.schema import RecipeModule

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
#: Words of few classes, most of them for what sees pictures beside a language model.
_OTHER_COUNTS = ("layers", "depth", "num_blocks")
#: Counts layers behind the others that predict further tokens; loaders for one token pass over them.
FURTHER = "num_nextn_predict_layers"
_EMBEDS = re.compile(r"(^|[._])(embed\w*|\w*embeddings?|wte|wpe)([._]|$)")
_DTYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class LayerPlace:
    """A tensor in a stack of layers."""

    stack: str
    layer: int
    part: str


def locate(name: str) -> LayerPlace | None:
    """Return the layer of a tensor; None outside of any stack.

    Example:
      >>> locate("transformer.h.3.attn.bias")
      LayerPlace(stack='transformer.h', layer=3, part='attn.bias')
    """
    words = name.split(".")
    for index, word in enumerate(words[:-1]):
        if word.isascii() and word.isdigit() and index:
            return LayerPlace(".".join(words[:index]), int(word), ".".join(words[index + 1 :]))
    return None


def within(name: str, stack: str) -> LayerPlace | None:
    """Return the layer of a tensor in one stack; None outside of that."""
    place = locate(name)
    return place if place is not None and place.stack == stack else None


def embeds(name: str) -> bool:
    """Say whether a tensor outside of the stacks comes before the layers."""
    return _EMBEDS.search(name) is not None


def stacks(names: Iterable[str]) -> dict[str, int]:
    """Return stack -> number of its layers, in the order of first use."""
    found: dict[str, int] = {}
    for name in names:
        place = locate(name)
        if place is not None:
            found[place.stack] = max(found.get(place.stack, 0), place.layer + 1)
    return found


def only_stack(names: Iterable[str], config: Mapping[str, object], where: object) -> tuple[str, int]:
    """Return the one stack of a model and its layers; of several, the one that its configuration counts.

    Raises: BadRecipe when there is none or more, and the configuration counts not one of them alone.
    """
    found = stacks(names)
    ours = {name: n for name, n in found.items() if len(found) == 1 or counted(config, name, n)}
    if len(ours) > 1:  # what is counted by another word stays whole beside one that is counted by a usual one
        usual = {name: n for name, n in ours.items() if _by_usual_word(config, name, n)}
        ours = usual if len(usual) == 1 else ours
    if len(ours) != 1:
        listed = ", ".join(f"{clean(name)} ({n})" for name, n in found.items()) or "none"
        raise BadRecipe(
            f"slices need a model with one stack of layers, found {listed}",
            where=where,
            remedy="use models, or modules with slices in one",
        )
    return next(iter(ours.items()))


def _by_usual_word(config: Mapping[str, object], stack: str, n_layers: int) -> bool:
    found = counted(config, stack, n_layers)
    table = config if found is None or found[0] is None else config[found[0]]
    return isinstance(table, Mapping) and not set(layer_counts(table, stack)) & set(_OTHER_COUNTS)


def layer_counts(table: Mapping[str, object], stack: str) -> list[str]:
    """Return the keys of a configuration that count the layers of a stack, those of its side where there are two."""
    side = next((word for word in ("decoder", "encoder") if word in stack), None)
    own = {
        "decoder": ("decoder_layers", "num_decoder_layers", "decoder_num_hidden_layers"),
        "encoder": ("encoder_layers", "encoder_num_hidden_layers", *(_COUNTS if "encoder_layers" in table else ())),
        None: (),
    }[side]
    known = (own, _COUNTS, _OTHER_COUNTS)
    return next(filter(None, ([key for key in words if key in table] for words in known)), [])


def counted(config: Mapping[str, object], stack: str, n_layers: int) -> tuple[str | None, int] | None:
    """Find what a configuration says of a stack of ``n_layers``.

    Returns: (key of the table inside it, None for itself; the layers that it counts: all, or all but those that predict
      further tokens), None where no number fits.  Of several tables, the one whose key begins with a word of the
      stack's name, such as ``vision``; else one for text.
    """

    def hidden(table: Mapping[str, object]) -> int | None:
        counts, further = layer_counts(table, stack), table.get(FURTHER)
        fewer = n_layers - further if type(further) is int else n_layers
        return next((n for n in (n_layers, fewer) if any(table[key] == n for key in counts)), None)

    inner = {key: value for key, value in config.items() if isinstance(value, dict)}
    found = {key: n for key, table in inner.items() if (n := hidden(table)) is not None}
    named = [key for key in found if key.split("_")[0] in re.split(r"[._]", stack)]
    text = [key for key in found if key.startswith("text")]
    outer = hidden(config)
    if outer is not None:
        return None, outer
    if not found:
        return None
    key = next(iter([*named, *text, *found]))
    return key, found[key]


def with_dtype(config: Mapping[str, object], name: str) -> dict[str, object]:
    """Return a configuration that says the weights are stored as ``name``; tables inside it included."""
    changed = {
        key: name
        if key in _DTYPE_KEYS and isinstance(value, str)
        else (_inner_dtype(value, name) if isinstance(value, dict) else value)
        for key, value in config.items()
    }
    if not any(key in changed for key in _DTYPE_KEYS):
        changed["dtype"] = name
    return changed


def _inner_dtype(table: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: name if key in _DTYPE_KEYS and isinstance(value, str) else value for key, value in table.items()}


def owners(modules: Sequence[RecipeModule], names: Sequence[str]) -> Callable[[str], RecipeModule | None]:
    """Return which module a tensor belongs to: that whose name is a part of the tensor's, else the one of no tensor.

    Raises: BadRecipe when a tensor belongs to none, or a module has no tensor.
    """
    if len(modules) == 1:
        return lambda name: modules[0]

    def claims(name: str) -> RecipeModule | None:
        return next((module for module in modules if module.name in name.split(".")), None)

    claimed = {id(claims(name)) for name in names}
    others = [module for module in modules if id(module) not in claimed]
    rest = others[0] if len(others) == 1 else None
    lost = next((name for name in names if claims(name) is None), None)
    if len(others) > 1 or (rest is None and lost is not None) or (rest is not None and lost is None):
        what = f"{clean(lost)} belongs to none" if not others else f"no tensor belongs to {clean(others[-1].name)}"
        parts = dict.fromkeys(name.split(".")[0] for name in names)
        raise BadRecipe(what, where="modules", remedy=f"name them by parts of names, such as {clean(', '.join(parts))}")
    return lambda name: claims(name) or rest


def belongs_to(owner: Callable[[str], RecipeModule | None], module: RecipeModule, name: str) -> bool:
    """Say whether a tensor belongs to a module."""
    return owner(name) is module
