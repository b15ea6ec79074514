"""Match a checkpoint against the tables: every tensor named, every size checked, or a refusal that says which.

``describe`` needs names, shapes and config only, never a weight.  A model of an unknown family, with one tensor too
many or too few, or whose config and shapes disagree, is refused: a protection that guesses is a broken model.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final

from mergebarrier.arch import ANY, FAMILIES, PLACEHOLDER, Family, parsed, size_of
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits.circuit import Architecture, Member, circuits_of, instances_of, lines_of, spoken
from mergebarrier.circuits.embedding import EMBEDDING, as_embedding
from mergebarrier.errors import ConfigMismatch, MissingTensor, UnknownFamily, UnknownTensor, UnsupportedFeature, clean
from mergebarrier.published import PLAN

_OTHER_CONFIG = "use the config.json that belongs to these weights"
_CLASS = re.compile(r"(ForSequenceClassification|Model)$")
_COUNT: Final = re.compile(r"\w*vocab_size")
_TOKENS: Final = re.compile(rf"{EMBEDDING.pattern}|(^|\.)text_model\.embeddings\.token_embedding\.weight$")
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Add: operator.add,
}


def family_of(checkpoint: Checkpoint) -> Family:
    """Return the table of a checkpoint: of its class, or of one with a classifier, or without a head, for its class.

    Raises: UnknownFamily when there is none.
    """
    model_type, named = checkpoint.config.get("model_type"), checkpoint.config.get("architectures")
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    same_type = FAMILIES.of_type(model_type)
    for family in same_type:
        chosen = all(evaluate(key, checkpoint.config) in values for key, values in family.selects.items())
        found = _variant(family, name) if chosen else None
        if found is not None:
            return found
    where = checkpoint.path / "config.json"
    if same_type:
        known = [name for family in same_type for name in family.architectures]
        spelled = next((one for one in known if one.lower() == name.lower()), None)
        what = f"{model_type} with architecture {clean(name)} is not in the table"
        raise UnknownFamily(
            what if name else f"it names no architecture, the class that a {model_type} is loaded as",
            where=where,
            remedy=f"write {spelled}" if spelled else f'write "architectures": [CLASS] with one of {", ".join(known)}',
        )
    kinds = ", ".join(sorted({kind for family in FAMILIES.values() for kind in family.model_types}))
    raise UnknownFamily(
        f"no table describes model_type {clean(model_type)}",
        where=where,
        remedy=f"known: {kinds}; `merge` works without a table",
    )


def _variant(family: Family, name: str) -> Family | None:
    """Return the table of a class: the family, with a classifier or without a head; None for another class.

    A model without a head gives out its stream: the stream stays, and names may lack the prefix of the body.
    """
    stem, kind = _CLASS.sub("", name), _CLASS.search(name)
    if name in family.architectures:
        return family
    if kind is None or stem not in [re.sub(r"For[A-Z]\w+$", "", one) for one in family.architectures]:
        return None
    tensors = {one: text for one, text in family.tensors.items() if one != family.head}
    if kind[0] != "Model":
        (stream, *_) = [one for one, axis in family.axes.items() if axis.is_stream]
        heads = {"score.weight": f"_ {stream} ?", "classifier.weight": f"_ {stream} ?", "classifier.bias": "_ ?"}
        return replace(family, tensors={**heads, **tensors}, head="")
    fixed = {one: replace(axis, kind="fixed") if axis.is_stream else axis for one, axis in family.axes.items()}
    prefixed = (rf"^(?!{re.escape(family.body)})", family.body)
    return replace(family, axes=fixed, tensors=tensors, head="", spellings=(*family.spellings, prefixed))


def describe(checkpoint: Checkpoint) -> Architecture:
    """Name every tensor of a checkpoint, with the table of its family; errors as ``family_of`` and ``match``."""
    table = family_of(checkpoint)
    if PLAN not in checkpoint.config:
        return match(checkpoint, table)
    from mergebarrier.circuits import unfolded

    plan = unfolded.plan_of(checkpoint)
    assert plan is not None
    return unfolded.regrouped(match(checkpoint, unfolded.unfolded_table(table, plan, checkpoint)), plan)


def match(checkpoint: Checkpoint, table: Family) -> Architecture:
    """Name every tensor of a checkpoint.

    Args:
      checkpoint: an opened model folder.
      table:      of its family.
    Returns: Architecture.
    Raises:  UnsupportedFeature, ConfigMismatch (both numbers), UnknownTensor, MissingTensor (the name).
    """
    sizes, counts, rotary = sizes_under(table, checkpoint, checkpoint.config)
    check_rows(checkpoint)
    members, verbatim = _members(table, checkpoint)
    says_tied = bool(checkpoint.config.get("tie_word_embeddings", table.tied))
    if says_tied and table.head in members and not any(map(EMBEDDING.search, members)):
        members = as_embedding(table, members)
    place = {line.name: number for number, line in enumerate(table.lines)}
    for member in sorted(members.values(), key=lambda member: place[member.line.name]):
        _check_shape(checkpoint, member, sizes, counts)
    _check_complete(table, checkpoint, members, sizes | counts)
    tied = bool(table.head) and table.head not in members
    if tied and not says_tied:
        what, where = "config.json says the head is not tied, the checkpoint has no head", f"{checkpoint.path}: "
        raise MissingTensor(what, where=where + table.head, remedy="download the model again, all shards")
    dims = {name: evaluate(expression, checkpoint.config) for name, expression in table.dims.items()}
    return Architecture(
        table=table,
        dims={name: _whole(checkpoint, name, value) for name, value in dims.items() if value is not None},
        circuits=circuits_of(table, sizes, rotary, list(members.values())),
        verbatim=verbatim,
        tied=tied or (says_tied and bool(table.head)),
    )


def check_rows(checkpoint: Checkpoint) -> None:
    """Raise ConfigMismatch where no ``vocab_size`` of the configuration is the number of rows of an embedding."""
    found, pad = dict(numbers_said(checkpoint.config, _COUNT)), checkpoint.config.get("pad_vocab_size_multiple")
    nested = any(key.startswith("text_config.") for key in found)  # what stands beside tables speaks for none of them
    said = {key: size for key, size in found.items() if "." in key or not nested}
    fine = {*said.values(), *(-(-size // pad) * pad for size in said.values() if type(pad) is int and pad > 0)}
    for name, info in checkpoint.tensors.items():
        embeds = _TOKENS.search(name) and len(info.shape) == 2 and info.dtype.startswith(("F", "BF"))
        if said and embeds and info.rows not in fine:
            raise mismatch(checkpoint, said, f"{clean(name)} has {info.rows} rows")


def numbers_said(config: Mapping[str, object], key: re.Pattern[str], prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of keys, with dots into tables."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from numbers_said(value, key, f"{prefix}{name}.")
        elif type(value) is int and key.fullmatch(name):
            yield f"{prefix}{name}", value


def mismatch(checkpoint: Checkpoint, said: Mapping[str, object], held: str) -> ConfigMismatch:
    """Return an error about what a configuration says by some keys, and what the files hold."""
    what = f"it says {', '.join(f'{clean(key)} = {clean(value)}' for key, value in said.items())}, and {held}"
    return ConfigMismatch(what, where=checkpoint.path / "config.json", remedy=_OTHER_CONFIG)


def _whole(checkpoint: Checkpoint, name: str, value: object) -> int:
    """Return a size of the configuration that no tensor checks."""
    if isinstance(value, int | float) and math.isfinite(value):
        return int(value)
    where = checkpoint.path / "config.json"
    raise ConfigMismatch(f"{clean(value)!r} is no size ({name})", where=where, remedy=_OTHER_CONFIG)


def evaluate(expression: str, config: Mapping[str, Any]) -> Any:
    """Return the value of an expression such as "head_dim or hidden_size / num_attention_heads".

    Names are keys, dotted into nested tables; ``or`` takes the first that is there and not null, None without one.
    """
    return _value(parsed(expression), config)


def _value(node: ast.expr, config: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        return next((found for one in node.values if (found := _value(one, config)) is not None), None)
    if isinstance(node, ast.BinOp):
        both = [_value(side, config) for side in (node.left, node.right)]
        numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in both)
        if not numbers or (isinstance(node.op, ast.Div) and not both[1]):
            return None
        return _OPERATORS[type(node.op)](*both)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        outer = _value(node.value, config)
        return outer.get(node.attr) if isinstance(outer, Mapping) else None
    assert isinstance(node, ast.Name)
    return config.get(node.id)


def sizes_under(
    table: Family, checkpoint: Checkpoint, config: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Return sizes of the axes under a configuration, layers per placeholder, rotated entries of the rotary axes."""
    where = checkpoint.path / "config.json"
    for expression, (fine, why) in table.refused.items():
        value = evaluate(expression, config)
        if value not in fine:
            key = expression.rpartition(" ")[2]
            raise UnsupportedFeature(f"{key} = {clean(value)}: {why}", where=where, remedy="leave this model as it is")
    expressions = {name: axis.size for name, axis in table.axes.items()} | dict(table.layers)
    found: dict[str, int] = {}
    for name, expression in expressions.items():
        value = evaluate(expression, config)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and 0 < value < math.inf and value == int(value):
            found[name] = int(value)
        elif value is not None or name not in table.axes or not table.axes[name].partial:
            what = f"{expression} = {clean(value)} is not a positive whole number"
            node = parsed(expression)
            if number and isinstance(node, ast.BinOp) and name in table.axes and table.axes[name].space == "heads":
                queries, keys = (_value(side, config) for side in (node.left, node.right))
                what = f"{queries} query heads cannot share {keys} key/value heads"
            raise ConfigMismatch(what, where=where, remedy="repair config.json")
    counts = {name: found[name] for name in table.layers}
    for name, count in counts.items():
        if count > len(checkpoint.tensors):
            what = f"config gives {count} layers ({table.layers[name]}) to {len(checkpoint.tensors)} names"
            raise ConfigMismatch(what, where=where, remedy=_OTHER_CONFIG)
    rotary = {}
    for name, axis in table.axes.items():
        if axis.kind == "planes" and name in found:
            rotary[name] = _whole(checkpoint, name, evaluate(axis.rotary, config) if axis.rotary else found[name])
            if rotary[name] % 2:
                raise ConfigMismatch(f"head width {rotary[name]} is odd, rotary planes need pairs", where=where,
                                     remedy="repair head_dim")  # fmt: skip
    return {name: found[name] for name in table.axes if name in found}, counts, rotary


def _members(table: Family, checkpoint: Checkpoint) -> tuple[dict[str, Member], tuple[str, ...]]:
    """Return canonical name -> member, and the names that are copied as they are."""
    members: dict[str, Member] = {}
    verbatim = []
    for stored, found in lines_of(table, checkpoint.tensors):
        info = checkpoint.tensors[stored]
        if (found is None and info.role == "buffer") or (found is not None and found[0].nodes is None):
            verbatim.append(stored)
            continue
        canonical = "" if found is None else found[1].string
        if found is None or canonical in members:
            raise UnknownTensor(
                f"this tensor is not in the table of {table.name}",
                where=f"{info.shard}: {stored}",
                remedy="only models of the stock architecture can be protected or realigned",
            )
        members[canonical] = Member(name=stored, canonical=canonical, line=found[0], indices=found[1].groupdict())
    return members, tuple(verbatim)


def _check_shape(checkpoint: Checkpoint, member: Member, sizes: Mapping[str, int], counts: Mapping[str, int]) -> None:
    found = checkpoint.tensors[member.name]
    limits = {**sizes, **counts}
    for name, index in member.indices.items():
        if name in limits and int(index) >= limits[name]:
            raise UnknownTensor(
                f"the configuration has {limits[name]} of them only",
                where=f"{found.shard}: {member.name}",
                remedy=_OTHER_CONFIG,
            )
    shape = tuple(size_of(node, sizes) for node in member.nodes)
    if len(shape) != len(found.shape) or any(a not in (0, b) for a, b in zip(shape, found.shape, strict=True)):
        raise ConfigMismatch(
            f"config and tensor disagree: config gives shape {spoken(shape)}, the file has {tuple(found.shape)}",
            where=f"{found.shard}: {member.name}",
            remedy=_OTHER_CONFIG,
        )


def _check_complete(
    table: Family, checkpoint: Checkpoint, members: Mapping[str, Member], limits: Mapping[str, int]
) -> None:
    """Refuse a tensor that is missing: of a line that all layers have, or of an element that other tensors carry."""
    carried = {one for member in members.values() for one in instances_of(table, member)}
    for line in table.lines:
        if line.nodes is None or line.name == table.head or line.key == ANY:
            continue
        names = PLACEHOLDER.findall(line.name)
        expected = []
        for values in product(*(range(limits.get(name, 0)) for name in names)):
            indices = {name: str(value) for name, value in zip(names, values, strict=True)}
            one = Member(name="", canonical=line.name.format_map(indices), line=line, indices=indices)
            partial = [element for element in instances_of(table, one) if table.axes[element[0]].partial]
            if all(element in carried for element in partial):
                expected.append(one.canonical)
        wanted = bool(checkpoint.config.get(line.key)) if line.key else False
        if line.optional and not wanted and not any(name in members for name in expected):
            continue
        absent = next((name for name in expected if name not in members), None)
        if absent is not None:
            raise MissingTensor(
                "the family table lists this tensor, the checkpoint lacks it",
                where=f"{checkpoint.path}: {absent}",
                remedy="download the model again, all shards",
            )
