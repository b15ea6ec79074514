"""mergekit's YAML recipes: read strictly, applied to opened models, run by the same executor.

    parse(text) -> Recipe;   plan(recipe, opened) -> RecipePlan: sources, method and dtypes of every tensor

A recipe chooses layers (models, slices, modules), parameters that vary with depth (gradients) and with the name of a
tensor (filters), dtypes, tokenizer and chat template. Source: the configuration language of mergekit 0.1.5; where we
differ is in the module that differs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mergebarrier.checkpoint.bytes import MAX_BYTES
from mergebarrier.errors import BadRecipe
from mergebarrier.lineage import name_of
from mergebarrier.merge.recipe.adapters import adapters_of
from mergebarrier.merge.recipe.files import side_files
from mergebarrier.merge.recipe.parse import parse
from mergebarrier.merge.recipe.plan import RecipePlan, plan_recipe
from mergebarrier.merge.recipe.schema import STRICT, Allowed, ModelReference, Recipe
from mergebarrier.merge.recipe.tensor_plan import RecipeView, TensorPlan
from mergebarrier.merge.registry import DATA_MERGES, MERGES, make

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

__all__ = [
    "MAX_RECIPE_BYTES",
    "STRICT",
    "Allowed",
    "ModelReference",
    "Recipe",
    "RecipePlan",
    "RecipeView",
    "TensorPlan",
    "adapters_of",
    "parse",
    "plan",
    "small_files",
]

#: A longer file is refused before it is parsed.
MAX_RECIPE_BYTES: Final = MAX_BYTES


def plan(
    recipe: Recipe, opened: "Mapping[ModelReference, Checkpoint]", *, seed: int = 0, allowed: Allowed = STRICT
) -> RecipePlan:
    """Lay a recipe over its models and check all of it, before any arithmetic.

    Args:
      recipe: parsed.
      opened: every reference of the recipe; references to one folder give one and the same model.
      seed:   for methods that draw, unless the recipe gives one.
      allowed: deviations that must be requested explicitly.
    Raises: BadRecipe, BadMergeParameter, TensorSetMismatch, ShapeMismatch, ConfigMismatch.
    """
    if recipe.method in DATA_MERGES:
        raise BadRecipe(
            f"{recipe.method} learns from data, which a recipe does not name",
            where="merge_method",
            remedy="use the flags: MODEL MODEL --method METHOD --data FILE --data FILE",
        )
    return plan_recipe(recipe, opened, kinds=MERGES, make=make, name_of=name_of, seed=seed, allowed=allowed)


def small_files(planned: RecipePlan) -> dict[str, bytes]:
    """Return name -> bytes of configuration, tokenizer, chat template and all other side files of the donor.

    Raises: BadRecipe when the recipe names an unknown template.
    """
    return side_files(planned)
