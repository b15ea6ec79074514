"""The form of a recipe's output beyond its weights: shards, configuration, tokenizer, chat template.

Shards are the donor's where the output holds the same tensors, else filled to the size of its largest; the
configuration is the donor's with the number of layers, dtype, vocabulary and tie of the output.  The other small files
are data, nothing is rendered:

    tokenizer absent: the donor's files | else those of the model it names, with the vocabulary of the output
    chat_template absent: the tokenizer's | "auto": the most common among the inputs, the donor's on a tie | a template

Source: mergekit 0.1.5. Differs: the donor's generation_config.json comes along, with the special tokens of the output.
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from mergebarrier.checkpoint import TEMPLATE_FOLDER, is_of_tokenizer
from mergebarrier.checkpoint.bytes import FLOAT_NAMES
from mergebarrier.errors import BadRecipe, ConfigMismatch, clean
from mergebarrier.merge.configs import chat_notes, is_float
from mergebarrier.merge.recipe.alignment import Alignment
from mergebarrier.merge.recipe.layers import FURTHER, counted, layer_counts, only_stack, owners, with_dtype
from mergebarrier.merge.recipe.schema import Allowed, ModelReference, Recipe, RecipeModule
from mergebarrier.merge.recipe.targets import origins
from mergebarrier.merge.recipe.templates import TEMPLATES
from mergebarrier.merge.recipe.vocabulary import tokens_of, vocabulary_names, with_vocabulary_size
from mergebarrier.merge.vocabulary import (
    ADDED_FILE,
    DECODER,
    SETTINGS_FILE,
    SPECIAL_FILE,
    TOKENS_FILE,
    without_lost_tokens,
)

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, OutTensor
    from mergebarrier.circuits import LayerOrigin
    from mergebarrier.merge.recipe.tensor_plan import TensorPlan


def layout_of(tensors: "Mapping[str, TensorPlan]", donor: "Checkpoint", allowed: Allowed) -> "tuple[OutTensor, ...]":
    """Fill shards of a size; without one take the donor's, or fill to its largest where the tensors are others."""
    from mergebarrier.checkpoint import OutTensor, sharded

    def out(name: str, shard: str) -> OutTensor:
        return OutTensor(name, tensors[name].stored, tensors[name].target.inputs[0].info.shape, shard)

    most = allowed.shard_bytes or allowed.shard_parameters
    if most is None and tensors.keys() == donor.tensors.keys():
        return tuple(out(name, info.shard) for name, info in donor.tensors.items())
    if most is None and len(donor.shards) == 1:
        return tuple(out(name, "model.safetensors") for name in tensors)
    limit = most or max(shard.size_bytes for shard in donor.shards)
    layout = [out(name, "") for name in tensors]
    return sharded(layout, limit, [prod(one.shape) for one in layout] if allowed.shard_parameters else None)


def config_of(
    recipe: Recipe,
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
    tensors: "Mapping[str, TensorPlan]",
    alignment: Alignment | None,
) -> tuple[Mapping[str, Any] | None, list[str]]:
    """Return the configuration of the output, None when it is the donor's, and notes about it."""
    config: Mapping[str, Any] = donor.config
    notes: list[str] = []
    owner = owners(recipe.modules, list(donor.tensors))
    for module in recipe.modules:
        if not module.whole:
            mine = [name for name in donor.tensors if owner(name) is module]
            config, more = _restacked(config, module, mine, opened, donor, tensors)
            notes = [*notes, *more]
    dtype = recipe.out_dtype or recipe.dtype or _other_dtype(tensors, donor)
    if dtype is not None:
        config = with_dtype(config, next(name for name, stored in FLOAT_NAMES.items() if stored == dtype))
    if alignment is not None:
        config = alignment.config(config)
        _generation(donor, alignment)  # here for what it notes
        notes = [*notes, *alignment.special.notes]
    elif any(item.rows for name in vocabulary_names(donor) for item in tensors[name].target.inputs):
        first = next(name for name in tensors if name in vocabulary_names(donor))
        config = with_vocabulary_size(config, tokens_of(tensors[first].target.inputs[0].info))
    models, source = dict.fromkeys(opened.values()), donor if alignment is None else alignment.source
    if recipe.chat_template is not None:
        notes += _template_notes(recipe.chat_template, list(models), source)
    else:
        notes += chat_notes(source, list(models))
    return (None if config == donor.config else config), notes


def _restacked(
    config: Mapping[str, Any],
    module: RecipeModule,
    mine: Sequence[str],
    opened: "Mapping[ModelReference, Checkpoint]",
    donor: "Checkpoint",
    tensors: "Mapping[str, TensorPlan]",
) -> tuple[Mapping[str, Any], list[str]]:
    """Return a configuration that counts and describes the layers of a module in slices, and notes about it.

    Raises: ConfigMismatch where a key cannot say what layers the output has, TensorSetMismatch where a layer then
      lacks a tensor or has one too many.
    """
    from mergebarrier.circuits import with_layers
    from mergebarrier.merge.recipe.moved import check_held, check_numbers, held, kinds, lists_of, mixed

    stack, stored = only_stack(mine, donor.config, donor.path)
    key, n_before = counted(config, stack, stored) or (None, stored)
    before = config if key is None else config[key]
    if before.get("is_encoder_decoder") and "num_layers" in before:  # which counts both sides where the other is silent
        before = {"num_decoder_layers": before["num_layers"], **before}
    rows = [[_origin(model, key, stack, layer, n_before) for model, layer in row] for row in origins(module, opened)]
    of = [row[0] for row in rows]
    counts = [word for word in layer_counts(before, stack) if before[word] == n_before]
    wrong = next((word for word in layer_counts(before, stack) if not counts and type(before[word]) is int), None)
    if wrong is not None:
        what = f"{wrong} is {before[wrong]}, and {clean(stack)} has {n_before} layers"
        raise ConfigMismatch(what, where=donor.path / "config.json", remedy="correct it")
    after, notes = with_layers(before, n_before, of, stack=stack, counts=counts, where=donor.path / "config.json")
    notes += mixed(rows, stack)
    if n_before < stored:
        after = {**after, FURTHER: 0}
        notes.append(f"config.json: {FURTHER} is 0: slices hold no layers that predict further tokens")
    made = {name: tensor.target.inputs[0].info for name, tensor in tensors.items()}
    check_numbers(of, made, stack, donor.path / "config.json")
    lists = lists_of(before, n_before, after, len(of))
    was, now = kinds(before, n_before, stack, lists), kinds(after, len(of), stack, lists)
    check_held(held(donor.tensors, stack), was, held(made, stack), now, stack)
    return (after if key is None else {**config, key: after}), notes


def _origin(model: "Checkpoint", key: str | None, stack: str, layer: int, otherwise: int) -> "LayerOrigin":
    """Return a layer with the table that speaks of it, and the layers that this counts."""
    from mergebarrier.circuits import LayerOrigin

    found = model.config if key is None else model.config.get(key)
    table = found if isinstance(found, dict) else {}
    counted_ones = [table[word] for word in layer_counts(table, stack) if type(table[word]) is int]
    return LayerOrigin(config=table, n_layers=next(iter(counted_ones), otherwise), layer=layer)


def _other_dtype(tensors: "Mapping[str, TensorPlan]", donor: "Checkpoint") -> str | None:
    """Return the one dtype of the output's weights where the donor has another."""
    found = {tensor.stored for tensor in tensors.values() if is_float(tensor.stored)}
    same = found == {info.dtype for info in donor.tensors.values() if is_float(info.dtype)}
    return next(iter(found)) if len(found) == 1 and not same else None


#: What a changed tokenizer.json leaves of the files of a tokenizer; the others are made from another vocabulary.
_TEMPLATE_FILE, _OLD_TEMPLATE_FILE = "chat_template.jinja", "chat_template.json"
_BESIDE = (SETTINGS_FILE, SPECIAL_FILE, _TEMPLATE_FILE)
_GENERATION_FILE = "generation_config.json"


def small_files(
    recipe: Recipe,
    models: "Sequence[Checkpoint]",
    config: Mapping[str, object] | None,
    alignment: Alignment | None,
) -> dict[str, bytes]:
    """Return name -> bytes of all side files except card and manifest.

    Args:
      recipe:    parsed.
      models:    of the recipe, the donor first.
      config:    of the output; None when it is the donor's, byte for byte.
      alignment: the vocabulary of the output; None when the recipe does not ask for one.
    Raises: BadRecipe for an unknown template.
    """
    donor = models[0]
    files = {name: donor.read_side_file(name) for name in donor.side_files}
    if alignment is not None:
        files = {name: data for name, data in files.items() if not is_of_tokenizer(name)}
        files |= _tokenizer_files(alignment)
        files |= _generation(donor, alignment)
    if config is not None:
        files["config.json"] = _dump(config)
    template = _template(recipe.chat_template, models)
    if template is None:
        return files
    from mergebarrier.merge.chat import settings_table, template_in

    if template != template_in(files):
        files = {name: data for name, data in files.items() if not name.startswith(TEMPLATE_FOLDER)}
        files[_TEMPLATE_FILE] = template.encode()
        files.pop(_OLD_TEMPLATE_FILE, None)
        settings = settings_table(files.get(SETTINGS_FILE, b"{}"))
        if settings.pop("chat_template", None) is not None:
            files[SETTINGS_FILE] = _dump(settings)
    return files


def _tokenizer_files(alignment: Alignment) -> dict[str, bytes]:
    """Return the files of the output's tokenizer; those that would disagree with a changed one are left out."""
    source, vocabulary = alignment.source, alignment.vocabulary
    files = {name: source.read_side_file(name) for name in source.side_files if is_of_tokenizer(name)}
    if not alignment.changed:
        return files
    from mergebarrier.merge.chat import settings_table

    settings, special = (settings_table(files.get(name, b"{}")) for name in (SETTINGS_FILE, SPECIAL_FILE))
    rows = {str(row["id"]): {key: row[key] for key in row if key != "id"} for row in vocabulary.rows_added()}
    if vocabulary.document is not None:
        files = {name: data for name, data in files.items() if name in _BESIDE or name.startswith(TEMPLATE_FOLDER)}
        files[TOKENS_FILE] = _dump(vocabulary.document)
    else:  # added tokens stand in the settings alone, and hide the table of special tokens
        files.pop(ADDED_FILE, None)
        settings = {**({} if DECODER in settings else _typed(special)), **settings, DECODER: {}}
    if isinstance(settings.get(DECODER), dict):
        settings[DECODER] = rows
    for name, table in ((SETTINGS_FILE, settings), (SPECIAL_FILE, special)):
        if (kept := without_lost_tokens(table, vocabulary.ids)) != settings_table(files.get(name, b"{}")):
            files[name] = _dump(kept)
    return files


def _typed(table: dict[str, object]) -> dict[str, object]:
    """Return special tokens as the settings hold them: there, and there alone, a token in full has a type."""

    def typed(value: object) -> object:
        if isinstance(value, list):
            return [typed(one) for one in value]
        return {"__type": "AddedToken", **value} if isinstance(value, dict) and "content" in value else value

    return {key: typed(value) for key, value in table.items()}


def _generation(donor: "Checkpoint", alignment: Alignment) -> dict[str, bytes]:
    """Return generation_config.json: the donor's, if any, with the special tokens of the output."""
    found = {
        id(model): model.read_side_file(_GENERATION_FILE)
        for model in (donor, alignment.source)
        if _GENERATION_FILE in model.side_files
    }
    from mergebarrier.merge.chat import settings_table

    ours, theirs = (settings_table(found.get(id(model), b"{}")) for model in (donor, alignment.source))
    changed = alignment.special.table(ours, theirs)
    if changed == ours:
        return {_GENERATION_FILE: found[id(donor)]} if id(donor) in found else {}
    return {_GENERATION_FILE: _dump(changed)}


def _template(asked: str | None, models: "Sequence[Checkpoint]") -> str | None:
    if asked is None:
        return None
    if asked == "auto":
        from mergebarrier.merge.chat import template_of

        found = [template for template in map(template_of, models) if template]
        return max(found, key=found.count) if found else None  # the first, the donor's, wins a tie
    if asked in TEMPLATES:
        return TEMPLATES[asked]
    if "{" not in asked:
        raise BadRecipe(
            f"there is no built-in template named {clean(asked)!r}",
            where="chat_template",
            remedy=f"give {', '.join(TEMPLATES)}, auto, or the template itself",
        )
    return asked


def _template_notes(asked: str, models: "Sequence[Checkpoint]", source: "Checkpoint") -> list[str]:
    """Say which further templates of a tokenizer are left out, since they do not go with the one that is asked for."""
    from mergebarrier.merge.chat import named_templates, template_in

    files = {name: source.read_side_file(name) for name in source.side_files if is_of_tokenizer(name)}
    template = _template(asked, models)
    further = [
        name.removeprefix(TEMPLATE_FOLDER).removesuffix(".jinja") for name in files if name.startswith(TEMPLATE_FOLDER)
    ]
    further += [name for name in named_templates(files) if name != "default"]
    if template is None or template == template_in(files) or not further:
        return []
    return [f"{source.name}: the chat templates {clean(', '.join(further))} are left out, the asked one replaces them"]


def _dump(table: Mapping[str, object]) -> bytes:
    return json.dumps(table, indent=2, ensure_ascii=False).encode() + b"\n"
