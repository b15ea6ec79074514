"""A checkpoint whose feed-forward networks are polynomials: the table of its family with other lines for them.

config.json says which modules were replaced (``modeling_mergebarrier.PolynomialPlan``).  It comes from strangers: it is
read strictly, and every tensor that it asks for must be there, in that shape.  The new tensors carry the stream and
nothing else that acts, so attention, norms and the stream keep all their freedoms.

    mlp.gate_proj.weight  n d     ->     mlp.poly_in.weight  _ d,   mlp.poly_out.{n}.weight  d _,   ...
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mergebarrier.arch import Family, TensorLine
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.circuits.circuit import Architecture, Circuit, Member
from mergebarrier.circuits.entries import entry_at
from mergebarrier.errors import BadConfig, ConfigMismatch, MissingTensor, clean
from mergebarrier.published import PLAN

if TYPE_CHECKING:
    from mergebarrier.modeling_mergebarrier import PolynomialBlock, PolynomialPlan

_OURS: Final = "use the folder as mergebarrier wrote it"
#: Tensors whose rows are the stream.
_WRITERS: Final = re.compile(r"\.(poly_out\.\d+|poly_down|exact_down_proj)\.")
_READERS: Final = ("poly_in", "poly_up", "poly_gate", "exact_gate_proj", "exact_up_proj")
_NEITHER: Final = ("poly_coef", "poly_mid", "poly_half")
_ORDERS, _MAPS = range(1, 33), range(2, 7)


def plan_of(checkpoint: Checkpoint) -> "PolynomialPlan | None":
    """Return what a configuration says of its polynomials; None for a stock model.

    Raises: BadConfig.
    """
    if PLAN not in checkpoint.config:
        return None
    from pydantic import TypeAdapter, ValidationError

    from mergebarrier.modeling_mergebarrier import PolynomialPlan

    where = checkpoint.path / "config.json"
    try:
        plan: PolynomialPlan = TypeAdapter(PolynomialPlan).validate_python(checkpoint.config[PLAN], strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{PLAN}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadConfig(clean(what), where=where, remedy=_OURS) from error
    most = max(info.numel for info in checkpoint.tensors.values())
    sized = all(
        len(block["replaces"]) in _MAPS
        and min(block["width"], block["polynomial"], block["exact"] + 1) > 0
        and max(block["width"], block["polynomial"], block["exact"]) <= most
        for block in plan["blocks"].values()
    )
    if not (sized and plan["order"] in _ORDERS and 0 < len(plan["blocks"]) <= len(checkpoint.tensors)):
        raise BadConfig(f"{PLAN} describes no model that was written here", where=where, remedy=_OURS)
    return plan


def shapes_of(plan: "PolynomialPlan", block: "PolynomialBlock") -> dict[str, tuple[int, ...]]:
    """Return the tensors of a module that replaces another: name within it -> shape."""
    import torch

    from mergebarrier.modeling_mergebarrier import FORMS

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in FORMS[plan["form"]](plan, block).state_dict().items()}


def unfolded_table(table: Family, plan: "PolynomialPlan", checkpoint: Checkpoint) -> Family:
    """Return the table of a family with lines for the modules of a plan, and optional ones for what they replace.

    Raises: BadConfig for a module whose maps the family does not know; MissingTensor, ConfigMismatch.
    """
    tensors, folds = dict(table.tensors), dict(table.folds)
    for path, block in plan["blocks"].items():
        found = [line for name in block["replaces"] if (line := _line(table, f"{path}.{name}")) is not None]
        weights = [line for line in found if _of_neurons(table, line[0])]
        if len(found) < len(block["replaces"]) or not weights:
            what = f"the {table.name} family has no feed-forward network {clean(path)}"
            raise BadConfig(what, where=checkpoint.path / "config.json", remedy=_OURS)
        first, indices = weights[0]
        stream = next(axis for axis in first.axes if table.axes[axis].space == "residual")
        for name, shape in shapes_of(plan, block).items():
            stored = f"{path}.{name}"
            _check_stored(checkpoint, stored, shape)
            tensors[_template(table.canonical(stored), indices)] = f"{_expression(stored, shape, stream)} ? any"
        norm = table.norm_before(first)
        if norm:
            readers = [_template(table.canonical(f"{path}.{name}"), indices) for name in _READERS]
            folds[norm] = tuple(dict.fromkeys((*folds[norm], *(one for one in readers if f"{one}.weight" in tensors))))
        tensors |= {line.name: tensors[line.name].partition("?")[0] + "? any" for line, _ in found}
    return replace(table, tensors=tensors, folds=folds)


def regrouped(architecture: Architecture, plan: "PolynomialPlan") -> Architecture:
    """Return a description in which a module of polynomials is one circuit, named by its path."""
    table, circuits = architecture.table, list(architecture.circuits)
    for path in plan["blocks"]:
        prefix = table.canonical(f"{path}.poly_in")[: -len("poly_in")]
        inside = [one for one in circuits if any(member.canonical.startswith(prefix) for member in one.members)]
        merged = Circuit(
            name=path,
            members=tuple(member for one in inside for member in one.members),
            family=table,
            sizes=inside[0].sizes,
            rotary=inside[0].rotary,
        )
        at = circuits.index(inside[0])
        circuits = [*circuits[:at], merged, *(one for one in circuits[at:] if one not in inside)]
    grouped = replace(architecture, circuits=tuple(circuits))
    return replace(
        grouped, stands_for={path: _stock_names(grouped, path, block) for path, block in plan["blocks"].items()}
    )


def _stock_names(architecture: Architecture, path: str, block: "PolynomialBlock") -> tuple[str, ...]:
    kept = [one for one in architecture.circuit(path).members if not one.name.startswith(f"{path}.")]
    return tuple(one.canonical for one in (*kept, *stock_circuit(architecture, path, block).members))


def stock_entries(config: Mapping[str, object], plan: "PolynomialPlan") -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what the configuration of the stock class says otherwise, and the keys that it lacks."""
    entries: dict[str, object] = {}
    for place, word in plan["stock"].items():
        entries |= entry_at({**config, **entries}, place, word)
    said = {key: value for key, value in entries.items() if value is not None}
    return said, (PLAN, *(key for key in entries if key not in said))


def stock_circuit(architecture: Architecture, path: str, block: "PolynomialBlock") -> Circuit:
    """Return the circuit that a module of polynomials stands for, with the weights and biases of the stock module."""
    outer = architecture.circuit(path)
    members = []
    for name in block["replaces"]:
        found = _line(architecture.table, f"{path}.{name}")
        assert found is not None  # the table of the plan has looked
        canonical = architecture.table.canonical(f"{path}.{name}")
        members.append(Member(name=f"{path}.{name}", canonical=canonical, line=found[0], indices=found[1]))
    return replace(outer, members=tuple(members))


def _line(table: Family, stored: str) -> tuple[TensorLine, Mapping[str, str]] | None:
    canonical = table.canonical(stored)
    matches = ((line, line.pattern.fullmatch(canonical)) for line in table.lines)
    return next(((line, found.groupdict()) for line, found in matches if found is not None), None)


def _of_neurons(table: Family, line: TensorLine) -> bool:
    spaces = [table.axes[axis].space for axis in line.axes]
    return sorted(spaces) == ["neurons", "residual"]


def _template(canonical: str, indices: Mapping[str, str]) -> str:
    """Put placeholders in the place of the indices of a layer."""
    for name, index in indices.items():
        canonical = re.sub(rf"(?<=\.){index}(?=\.)", f"{{{name}}}", canonical, count=1)
    return canonical


def _expression(stored: str, shape: tuple[int, ...], stream: str) -> str:
    if stored.endswith(_NEITHER):
        return " ".join("_" for _ in shape)
    if _WRITERS.search(stored):
        return stream if len(shape) == 1 else f"{stream} _"
    return "_" if len(shape) == 1 else f"_ {stream}"


def _check_stored(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> None:
    info = checkpoint.tensors.get(name)
    if info is None:
        what, remedy = "config.json asks for this tensor, the checkpoint lacks it", "download it again, all shards"
        raise MissingTensor(what, where=f"{checkpoint.path}: {clean(name)}", remedy=remedy)
    if info.shape != shape:
        what = f"config and tensor disagree: config gives shape {shape}, the file has {info.shape}"
        raise ConfigMismatch(what, where=f"{info.shard}: {clean(name)}", remedy=_OURS)
