"""The form of a recipe's output: shards, configuration, and what is worth saying about either.

Shards are the donor's where the output holds the same tensors, else filled to the size of its largest; the
configuration is the donor's with the number of layers, dtype, vocabulary and tie of the output.
"""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from mergebarrier.checkpoint.bytes import FLOAT_NAMES
from mergebarrier.errors import clean
from mergebarrier.merge.plan import HEAD, is_float
from mergebarrier.merge.recipe.layers import layers_table, only_stack, owners, with_dtype, with_layers
from mergebarrier.merge.recipe.schema import Allowed, ModelReference, Recipe
from mergebarrier.merge.recipe.targets import origins
from mergebarrier.merge.recipe.vocabulary import Alignment, vocabulary_names, with_vocabulary_size

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, OutTensor
    from mergebarrier.merge.recipe.tensor_plan import TensorPlan


def layout_of(tensors: "Mapping[str, TensorPlan]", donor: "Checkpoint", allowed: Allowed) -> "tuple[OutTensor, ...]":
    """Fill shards of a size; without one take the donor's, or fill to its largest where the tensors are others."""
    from mergebarrier.checkpoint import OutTensor

    def out(name: str, shard: str) -> OutTensor:
        return OutTensor(name, tensors[name].stored, tensors[name].target.inputs[0].info.shape, shard)

    most = allowed.shard_bytes or allowed.shard_parameters
    if most is None and tensors.keys() == donor.tensors.keys():
        return tuple(out(name, info.shard) for name, info in donor.tensors.items())
    if most is None and len(donor.shards) == 1:
        return tuple(out(name, "model.safetensors") for name in tensors)
    limit = most or max(shard.size_bytes for shard in donor.shards)
    filled, numbers, number = 0, list[int](), 1
    sizes = [prod(one.shape) if allowed.shard_parameters else one.nbytes for one in (out(name, "") for name in tensors)]
    for size in sizes:
        if filled and filled + size > limit:
            number, filled = number + 1, 0
        filled += size
        numbers.append(number)
    files = [f"model-{n:05d}-of-{number:05d}.safetensors" if number > 1 else "model.safetensors" for n in numbers]
    return tuple(out(name, file) for name, file in zip(tensors, files, strict=True))


def config_of(
    recipe: Recipe,
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
    tensors: "Mapping[str, TensorPlan]",
    alignment: Alignment | None,
    *,
    untied: bool,
) -> tuple[Mapping[str, Any] | None, list[str]]:
    """Return the configuration of the output, None when it is the donor's, and notes about it."""
    config: Mapping[str, Any] = donor.config
    notes: list[str] = []
    owner = owners(recipe.modules, list(donor.tensors))
    for module in recipe.modules:
        if module.whole:
            continue
        stack, n_layers = only_stack([name for name in donor.tensors if owner(name) is module], donor.path)
        key = layers_table(config, stack, n_layers)
        of = [(model.config if key is None else model.config.get(key, {}), n) for model, n in origins(module, opened)]
        table, more = with_layers(config if key is None else config[key], n_layers, of)
        config, notes = (table if key is None else {**config, key: table}), [*notes, *more]
    dtype = recipe.out_dtype or recipe.dtype or _other_dtype(tensors, donor)
    if dtype is not None:
        config = with_dtype(config, next(name for name, stored in FLOAT_NAMES.items() if stored == dtype))
    if alignment is not None:
        config = alignment.config(config)
    elif any(item.rows for name in vocabulary_names(donor) for item in tensors[name].target.inputs):
        first = next(name for name in tensors if name in vocabulary_names(donor))
        config = with_vocabulary_size(config, tensors[first].target.inputs[0].info.rows)
    if untied and HEAD in tensors:
        config = {**config, "tie_word_embeddings": False}
    return (None if config == donor.config else config), notes


def _other_dtype(tensors: "Mapping[str, TensorPlan]", donor: "Checkpoint") -> str | None:
    """Return the one dtype of the output's weights where the donor has another."""
    found = {tensor.stored for tensor in tensors.values() if is_float(tensor.stored)}
    same = found == {info.dtype for info in donor.tensors.values() if is_float(info.dtype)}
    return next(iter(found)) if len(found) == 1 and not same else None


def lacking_notes(tensors: "Mapping[str, TensorPlan]", opened: "Mapping[ModelReference, Checkpoint]") -> list[str]:
    """Return one note per model that the base replaces."""
    lacking: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        for item in tensor.target.inputs:
            if opened[item.source.model] is not item.model:
                lacking.setdefault(clean(opened[item.source.model].path.name), []).append(name)
    return [
        f"{model} lacks {len(names)} tensors, taken from the base: {clean(names[0])}"
        for model, names in lacking.items()
    ]
