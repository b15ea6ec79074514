"""The options of ``merge CONFIG.yaml`` alone: what may differ between models, shard sizes, and mergekit's own flags.

A flag of mergekit either means what it means there, or is refused by its name with the reason; none is dropped.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import click

from mergebarrier.cli._options import SIZE
from mergebarrier.errors import UsageError

__all__ = ["RecipeOptions", "recipe_options"]

_Verb = Callable[..., Any]
#: mergekit's flag -> why it is refused, and what to do instead.
_REFUSED: Final = {
    "--allow-crimes": ("models of two architectures are never merged", "merge models of one family"),
    "--lora-merge-cache": ("no merged copy of a model is ever written", "leave it out"),
    "--no-copy-tokenizer": ("tokenizer files always come along", "delete them from the output"),
    "--multi-gpu": ("merging is done by the processor, at the speed of the disk", "leave it out"),
    "--async-write": ("every worker writes while the others read already", "leave it out, see --workers"),
}
_WITH_A_VALUE: Final = ("--lora-merge-cache",)


@dataclass(frozen=True)
class RecipeOptions:
    """Options that go with a recipe.

    Args:
      unsafe_truncate_embeddings: cut embeddings of unequal rows to the fewest.
      untie:           write the heads of tied models.
      missing:         "base": take a tensor that a model lacks from the base.
      max_shard_bytes: payload of a shard at most, None for the donor's shards.
      random_seed:     mergekit's name of ``--seed``.
    """

    unsafe_truncate_embeddings: bool
    untie: bool
    missing: str | None
    max_shard_bytes: int | None
    random_seed: int | None

    def refuse_any(self) -> None:
        """Raise UsageError when one was given without a recipe."""
        for field in fields(self):
            if getattr(self, field.name) not in (None, False):
                option = {"max_shard_bytes": "--max-shard-size"}.get(field.name, "--" + field.name.replace("_", "-"))
                raise UsageError("works only with a recipe", where=option, remedy="give a recipe, CONFIG.yaml")


def recipe_options(function: _Verb) -> _Verb:
    """Add the options; the verb gets ``recipe: RecipeOptions``."""

    @click.option(
        "--missing", type=click.Choice(["base"]), help="Recipes: take a tensor that a model lacks from the base."
    )
    @click.option("--untie", is_flag=True, help="Recipes: store the head of tied models as a copy of their embedding.")
    @click.option(
        "--unsafe-truncate-embeddings", is_flag=True, help="Recipes: cut unequal vocabularies to the smallest."
    )
    @click.option(
        "--max-shard-size", "--out-shard-size", "max_shard_bytes", type=SIZE, metavar="SIZE",
        help="Recipes: largest shard, such as 4G.  [default: as in the base or first model]",
    )  # fmt: skip
    @click.option("--random-seed", type=click.IntRange(0, 2**63 - 1), hidden=True)
    @click.option("--copy-tokenizer", is_flag=True, hidden=True, expose_value=False)
    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> Any:
        given = {field.name: kwargs.pop(field.name) for field in fields(RecipeOptions)}
        return function(*args, recipe=RecipeOptions(**given), **kwargs)

    for flag in _REFUSED:
        value = {"type": str} if flag in _WITH_A_VALUE else {"is_flag": True}
        verb = click.option(flag, hidden=True, expose_value=False, callback=_refuse, **value)(verb)
    return verb


def _refuse(context: click.Context, option: click.Parameter, value: Any) -> None:
    del context
    if value:
        flag = option.opts[0]
        what, remedy = _REFUSED[flag]
        raise UsageError(f"is an option of mergekit that has no meaning here: {what}", where=flag, remedy=remedy)
