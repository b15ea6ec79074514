"""Which stored tensor is which parameter of a live module, however a version of transformers spells either.

A name, the same without the prefix of the body, and both as the table of the family spells them are one name.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mergebarrier.arch import FAMILIES

if TYPE_CHECKING:
    from torch import nn


class ParameterNames:
    """The parameters of a module by the names that checkpoints on disk give them.

    A parameter that stands in two places, as a tied head does, goes by its other name.
    """

    def __init__(self, module: "nn.Module") -> None:
        """Spell every parameter."""
        self._families = FAMILIES.of_type(getattr(getattr(module, "config", None), "model_type", None))
        self._prefix = f"{getattr(module, 'base_model_prefix', '')}."
        self.heads = {family.head for family in self._families} - {""}
        first, places = dict[int, str](), dict[str, list[str]]()
        for name, parameter in module.named_parameters(remove_duplicate=False):
            places.setdefault(first.setdefault(id(parameter), name), []).append(name)
        self._names, self._heads = dict[str, str](), dict[str, str]()
        for own, names in places.items():
            spelled = [self._spelled(name) for name in names]
            self._heads |= {name: own for one in spelled if self.heads & set(one) for name in one}
            for one in [one for one in spelled if not self.heads & set(one)] or spelled:
                self._names |= {name: own for name in one if name not in self._names}

    def of(self, stored: str) -> str | None:
        """Return the parameter that a stored tensor is; None where it is none."""
        return next((self._names[name] for name in self._spelled(stored) if name in self._names), None)

    def of_head(self, stored: str) -> str | None:
        """Return the parameter that a head stands for which is stored in place of the embedding that it is tied to."""
        return next((self._heads[name] for name in self._spelled(stored) if name in self._heads), None)

    def _spelled(self, name: str) -> list[str]:
        both = [name, name.removeprefix(self._prefix)]
        return both + [family.canonical(one) for family in self._families for one in both]


def parameter_names(module: "nn.Module", stored: Iterable[str]) -> dict[str, str]:
    """Return stored name -> name of the parameter, for those of some stored tensors that are parameters of a module."""
    names = ParameterNames(module)
    found = {name: names.of(name) for name in stored}
    given = {own for own in found.values() if own is not None}
    found |= {name: own for name in found if found[name] is None and (own := names.of_head(name)) not in given}
    return {name: own for name, own in found.items() if own is not None}
