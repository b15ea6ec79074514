"""Several protections on one model, one after the other, in one pass: ``--method params+mergelock``.

    published = (last . .. . first)(weights),     undone from the last to the first, one rounding each way

Source: the composites of arXiv 2606.30360, which found that stacking locks of one kind adds nothing against the base:
a product of gauge elements is a gauge element.  Each part draws from streams of its own; a part that changes names or
shapes may only come last.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.errors import MethodRefused, UsageError
from mergebarrier.lazy import torch
from mergebarrier.parameters import parameters_of
from mergebarrier.protect.protection import Context, Need, Prepared, Protection, Reversibility, Streams
from mergebarrier.protect.registry import PROTECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mergebarrier.circuits import Circuit
    from mergebarrier.protect.protection import Pieces, Table, Tensors, Value
    from mergebarrier.symmetry import Ways

_JOINT: Final = "+"
_STRENGTHS: Final[tuple[Reversibility, ...]] = ("exact", "tolerant", "none")


def protection_named(name: str, values: Mapping[str, object]) -> Protection:
    """Return a protection with some of its parameters, or several joined by "+", which share what they both have.

    Args:
      name:   a key of ``PROTECTIONS``, or several.
      values: parameter -> value; or "part.parameter" -> value, as a manifest holds those of several.
    Raises: UsageError for a name that is not known or said twice, or a value out of its range.
    """
    names = name.split(_JOINT)
    for one in names:
        if one not in PROTECTIONS or names.count(one) > 1:
            known = ", ".join(PROTECTIONS)
            raise UsageError(f"{one!r} is {'given twice' if one in PROTECTIONS else 'no protection'}", where="--method",
                             remedy=f"give one of {known}, or several joined by +, each once")  # fmt: skip
    parts = [PROTECTIONS[one](**_own(one, values)) for one in names]
    return parts[0] if len(parts) == 1 else joined(parts)


def _own(name: str, values: Mapping[str, object]) -> dict[str, object]:
    fields = parameters_of(PROTECTIONS[name])
    return {field: values.get(f"{name}.{field}", values.get(field)) for field in fields
            if f"{name}.{field}" in values or field in values}  # fmt: skip


def joined(parts: Sequence[Protection]) -> Protection:
    """Return two or more protections as one, the first acting first."""
    needed: frozenset[Need] = frozenset().union(*(part.needs for part in parts))

    @dataclass(frozen=True, kw_only=True)
    class Composed:
        """Several protections; what each declares, put together."""

        name: ClassVar[str] = _JOINT.join(part.name for part in parts)
        keyed: ClassVar[bool] = any(part.keyed for part in parts)
        needs: ClassVar[frozenset[Need]] = needed
        reversibility: ClassVar[tuple[Reversibility, ...]] = _STRENGTHS
        limit: ClassVar[str] = "  ".join(f"{part.name}: {part.limit}" for part in parts)

        def prepare(self, context: Context) -> Prepared:
            return _prepared(parts, self.name, context)

    return Composed()


def _prepared(parts: Sequence[Protection], name: str, context: Context) -> Prepared:
    """Let every part look at the model; refuse an order in which one would not find what it was prepared for."""
    last = parts[-1].prepare(_seen(parts[-1], context))
    if last.before is not None:  # the others were done to circuits of other shapes
        was = [one for circuit in context.architecture.circuits if (one := last.before(circuit)) is not None]
        context = replace(context, architecture=replace(context.architecture, circuits=tuple(was)))
    prepared = [*(part.prepare(_seen(part, context)) for part in parts[:-1]), last]
    odd = next((part.name for part, one in zip(parts[:-1], prepared, strict=False) if one.layout is not None), None)
    if odd is not None:
        raise MethodRefused(
            f"{odd} changes shapes, so nothing can follow it", where=f"--method {name}", remedy=f"put {odd} last"
        )
    alone = next((part.name for part, one in zip(parts, prepared, strict=True) if one.side_files), None)
    if alone is not None:
        raise MethodRefused(
            f"{alone} is calibrated on the model as it is, so it acts alone in this form",
            where=f"--method {name}", remedy=f"protect twice, with {alone} behind the other",
        )  # fmt: skip
    inverses = [
        one.invert if one is last or last.before is None else _as_it_was(one.invert, last.before)
        for one in reversed(prepared) if one.invert is not None
    ]  # fmt: skip
    return replace(
        last,
        apply=_chained([one.apply for one in prepared]),
        stages=_stages(prepared),
        invert=_chained(inverses) if len(inverses) == len(parts) else None,
        limit="  ".join(f"{part.name}: {one.limit}" for part, one in zip(parts, prepared, strict=True)),
        variant="; ".join(one.variant for one in prepared),
        parameters=dict(_told(parts, prepared)),
        reversibility=max((one.reversibility for one in prepared), key=_STRENGTHS.index),
        determinism="exact" if all(one.determinism == "exact" for one in prepared) else "profile",
        amplified=prod(one.amplified for one in prepared),
    )


def _told(parts: Sequence[Protection], prepared: Sequence[Prepared]) -> "Iterator[tuple[str, Value]]":
    """Yield what the manifest holds of every part, under its name."""
    for part, one in zip(parts, prepared, strict=True):
        declared = {field: getattr(part, field) for field in parameters_of(part)} | dict(one.parameters)
        for field, value in declared.items():
            yield f"{part.name}.{field}", list(value) if isinstance(value, tuple) else value


def _seen(part: Protection, context: Context) -> Context:
    """Return what a part may look at: with streams of its own, and its own parameters where it is undone."""
    given, prefix = context.undone, f"{part.name}."
    undone = None if given is None else {
        field.removeprefix(prefix): value for field, value in given.items() if field.startswith(prefix)
    }  # fmt: skip
    return replace(context, undone=undone, streams=_own_streams(context.streams, part.name))


def _own_streams(streams: Streams | None, name: str) -> Streams | None:
    return None if streams is None else lambda circuit, purpose: streams(circuit, f"{name}/{purpose}")


def _as_it_was(
    step: "Callable[[Circuit, Table], Pieces]", before: "Callable[[Circuit], Circuit | None]"
) -> "Callable[[Circuit, Table], Pieces]":
    """Return a step on a circuit as it was before the last part gave it other shapes."""

    def run(circuit: "Circuit", tensors: "Table") -> "Pieces":
        inside = before(circuit)
        return iter(()) if inside is None else step(inside, tensors)

    return run


def _chained(steps: "Sequence[Callable[[Circuit, Table], Pieces]]") -> "Callable[[Circuit, Table], Pieces]":
    """Return what does one step after the other on a circuit."""

    def run(circuit: "Circuit", tensors: "Table") -> "Pieces":
        for step in steps[:-1]:
            tensors = _whole(step(circuit, tensors))
        return steps[-1](circuit, tensors)

    return run


def _stages(prepared: Sequence[Prepared]) -> "Callable[[Circuit, Tensors], Sequence[Ways]] | None":
    """Return how all parts move tensors, each on what those before it made; None where one does more than that."""
    if any(one.stages is None for one in prepared):
        return None

    def stages(circuit: "Circuit", tensors: "Tensors") -> "Sequence[Ways]":
        found: list[Ways] = []
        for one in prepared:
            assert one.stages is not None
            found += one.stages(circuit, tensors)
            tensors = _whole(one.apply(circuit, dict(tensors)))
        return found

    return stages


def _whole(pieces: "Iterator[tuple[str, Tensor]]") -> "dict[str, Tensor]":
    """Put blocks of rows together."""
    rows: dict[str, list[Tensor]] = {}
    for name, block in pieces:
        rows.setdefault(name, []).append(block)
    return {name: found[0] if len(found) == 1 else torch.cat(found) for name, found in rows.items()}
