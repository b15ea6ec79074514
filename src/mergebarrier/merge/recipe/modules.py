"""Which module of a recipe a tensor belongs to, read from its name.

    modules: {vision_tower: .., text_decoder: ..}      vision_tower.encoder.layers.0.mlp.weight -> vision_tower
                                                       every other tensor                       -> text_decoder

A module is named by a part of the dotted names of its tensors; one module may be named otherwise and gets the rest.
Source: ours. Differs from mergekit, whose names of modules come from a table of architectures.
"""

from collections.abc import Callable, Sequence

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.recipe.schema import RecipeModule


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
