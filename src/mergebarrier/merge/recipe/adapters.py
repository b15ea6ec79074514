"""A recipe whose models are one base with adapters, as a merge of those adapters.

Every tensor of the base has a method with its own parameters in the recipe's plan; a module takes those of its weight.
The base itself may be among the models: an adapter that changes nothing.
"""

from mergebarrier.checkpoint import AdaptedCheckpoint, Adapter, Checkpoint
from mergebarrier.errors import BadRecipe
from mergebarrier.merge.adapters import AdapterPlan, plan_adapters
from mergebarrier.merge.recipe.plan import RecipePlan
from mergebarrier.merge.recipe.schema import AdapterOutput


def adapters_of(planned: RecipePlan, asked: AdapterOutput) -> AdapterPlan:
    """Return the plan of a recipe that writes an adapter.

    Raises: BadRecipe for slices, for a model that is not an adapter on the base, and for two bases; as plan_adapters.
    """
    if not planned.recipe.whole:
        raise BadRecipe("slices do not work for an adapter", where="mergebarrier.as", remedy="use models")
    for key in ("dtype", "out_dtype", "tokenizer", "chat_template"):
        if getattr(planned.recipe, key) is not None:
            raise BadRecipe(
                "has no effect when the output is an adapter",
                where=key,
                remedy="leave out this key, or mergebarrier.as",
            )
    first = next(iter(planned.tensors.values()))
    models = [item.model for item in first.target.inputs]
    bases = [model.base for model in models if isinstance(model, AdaptedCheckpoint)]
    base: Checkpoint | None = bases[0] if bases else None
    adapters: list[Adapter | None] = []
    for model in models:
        if isinstance(model, AdaptedCheckpoint) and model.base is base:
            adapters.append(model.adapter)
        elif model is base:
            adapters.append(None)
        else:
            raise BadRecipe(
                "is not an adapter on the common base of the recipe",
                where=planned.name(model),
                remedy="write base+adapter for every model, or leave mergebarrier.as out",
            )
    if first.method.uses_base:
        if adapters[0] is not None:
            raise BadRecipe(
                "the base itself has an adapter", where=planned.name(models[0]), remedy="give the base alone"
            )
        del adapters[0]
    return plan_adapters(
        adapters, lambda tensor: planned.tensors[tensor].method, rank=asked.rank, space=asked.lora_space, base=base
    )
