"""mergekit's YAML recipes: read strictly, applied to opened models, run by the same executor."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.merge.recipe import recipe
    from mergebarrier.merge.recipe.recipe import STRICT, Allowed, ModelReference, Recipe, RecipePlan, RecipeView, plan
    from mergebarrier.merge.recipe.schema import AdapterOutput, output_of
    from mergebarrier.merge.recipe.vocabulary import vocabulary_size

__all__ = [
    "STRICT",
    "AdapterOutput",
    "Allowed",
    "ModelReference",
    "Recipe",
    "RecipePlan",
    "RecipeView",
    "output_of",
    "plan",
    "recipe",
    "vocabulary_size",
]

lazy.open_door(__name__)
