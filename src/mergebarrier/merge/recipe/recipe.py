"""mergekit's YAML recipes: read strictly, applied to opened models, run by the same executor.

    parse(text) -> Recipe;   plan(recipe, opened) -> RecipePlan: sources, method and dtypes of every tensor

A recipe chooses layers (models, slices, modules), parameters that vary with depth (gradients) and with the name of a
tensor (filters), dtypes, tokenizer and chat template. Source: the configuration language of mergekit 0.1.5; where we
differ is in the module that differs.
"""

from typing import Final

from mergebarrier.checkpoint.bytes import MAX_BYTES
from mergebarrier.merge.recipe.adapters import adapters_of
from mergebarrier.merge.recipe.parse import parse
from mergebarrier.merge.recipe.plan import RecipePlan, plan
from mergebarrier.merge.recipe.schema import STRICT, Allowed, ModelReference, Recipe
from mergebarrier.merge.recipe.tensor_plan import RecipeView, TensorPlan

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
]

#: A longer file is refused before it is parsed.
MAX_RECIPE_BYTES: Final = MAX_BYTES
