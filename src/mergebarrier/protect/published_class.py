"""What a folder says and ships so that its class is found: ours where code may run, and no other in its place.

config.json   the plan; auto_map, which loaders follow that are told to trust the folder; and, where it named the
              activation, a word that no library knows: a stock class refuses it instead of drawing what it lacks
a file        the class, byte for byte as in this package, listed in the manifest with its digest
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier import circuits
from mergebarrier.checkpoint import modeling_code
from mergebarrier.numerics import polynomials
from mergebarrier.published import MODELING, PLAN

if TYPE_CHECKING:
    from torch import nn

    from mergebarrier.modeling_mergebarrier import Activation, PolynomialPlan

_NO_ACTIVATION: Final = "mergebarrier"


def activations_named(config: object, used: "set[Activation]") -> dict[str, str]:
    """Return where a configuration names the activations that are replaced: place -> word."""
    from transformers.activations import ACT2FN

    found = {}
    inner = [(f"{name}.", getattr(config, name, None)) for name in getattr(config, "sub_configs", {})]
    for prefix, table in [("", config), *inner]:
        for key, word in vars(table).items() if table is not None else ():
            if isinstance(word, str) and "act" in key and word in ACT2FN:
                if polynomials.activation_of(ACT2FN[word]) in used:
                    found[f"{prefix}{key}"] = word
    return found


def class_entries(
    config: Mapping[str, object], module: "nn.Module", plan: "PolynomialPlan"
) -> tuple[dict[str, object], dict[str, bytes]]:
    """Return the entries of config.json, and the files, of a folder whose class is ours.

    Args:
      config: of the model.
      module: of the stock class.
      plan:   of the polynomials.
    """
    auto = {name: f"{MODELING.removesuffix('.py')}.{type(module).__name__}" for name in _auto_classes(module)}
    entries: dict[str, object] = {PLAN: plan, "auto_map": auto}
    for place in plan["stock"]:
        entries |= circuits.entry_at({**config, **entries}, place, _NO_ACTIVATION)
    return entries, {MODELING: modeling_code()}


def _auto_classes(module: "nn.Module") -> Iterator[str]:
    """Yield the classes of the library that find a module's class by its configuration."""
    from transformers.models.auto import modeling_auto

    for name, kind in vars(modeling_auto).items():
        mapping = getattr(kind, "_model_mapping", None)
        if name.startswith("AutoModel") and mapping is not None:
            if mapping.get(type(module.config), None) is type(module):
                yield name
