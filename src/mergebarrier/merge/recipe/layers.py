"""Layer and module that a tensor belongs to, read from its name; and a configuration for another number of layers.

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
_PER_LAYER = re.compile(r"layer|block|pattern|attention|attn")
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


def only_stack(names: Iterable[str], where: object) -> tuple[str, int]:
    """Return the one stack of a model and its layers; BadRecipe when there is none or more."""
    found = stacks(names)
    if len(found) != 1:
        listed = ", ".join(f"{clean(name)} ({n})" for name, n in found.items()) or "none"
        raise BadRecipe(
            f"slices need a model with one stack of layers, found {listed}", where=where, remedy="use models instead"
        )
    return next(iter(found.items()))


def with_layers(
    config: Mapping[str, object], n_before: int, origins: Sequence[tuple[Mapping[str, object], int]]
) -> tuple[dict[str, object], list[str]]:
    """Rewrite a configuration for other layers.

    Args:
      config:   of the donor.
      n_before: its layers.
      origins:  per layer of the output, (configuration it comes from, its layer there).
    Returns: (configuration, notes about keys that may name layers and were left as they are).
    """
    changed, notes = dict(config), []
    counts = [key for key in _COUNTS if changed.get(key) == n_before]
    for key in counts:
        changed[key] = len(origins)
    for key, value in config.items():
        if key in counts or not _PER_LAYER.search(key):
            continue
        if isinstance(value, list) and len(value) == n_before:
            lists = [(origin.get(key), layer) for origin, layer in origins]
            changed[key] = [
                theirs[layer] if isinstance(theirs, list) and layer < len(theirs) else value[min(layer, n_before - 1)]
                for theirs, layer in lists
            ]
        elif isinstance(value, list | dict) and value and len(origins) != n_before:
            notes.append(f"config.json: {clean(key)} may name layers and was left as it is")
    if not counts and len(origins) != n_before:
        notes.append("config.json holds no number of layers that could be rewritten")
    return changed, notes


def layers_table(config: Mapping[str, object], stack: str, n_layers: int) -> str | None:
    """Return the key of the table inside a configuration that counts the layers of a stack; None for itself.

    Of several, the one whose key begins with a word of the stack's name, such as ``vision``; else one for text.
    """
    if any(config.get(key) == n_layers for key in _COUNTS):
        return None
    inner = {key: value for key, value in config.items() if isinstance(value, dict)}
    tables = [key for key, table in inner.items() if any(table.get(count) == n_layers for count in _COUNTS)]
    named = [key for key in tables if key.split("_")[0] in re.split(r"[._]", stack)]
    text = [key for key in tables if key.startswith("text")]
    return next(iter([*named, *text, *tables]), None)


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
