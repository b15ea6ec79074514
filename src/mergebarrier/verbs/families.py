"""A table of a family on trial: a tiny model of each of its classes, acted on axis by axis, and judged by the class.

    error(axis)   = max |outputs after acting on it - outputs| / max |outputs|      must stay below KEPT
    control(axis) = the same by a table with one word changed                       must come above BROKEN

The class is that of the installed transformers; a text is read and never run.
"""

import ast
import math
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from mergebarrier.arch import FAMILIES, Family, numbered
from mergebarrier.checkpoint import Checkpoint, open_checkpoint
from mergebarrier.circuits import Architecture, match
from mergebarrier.errors import ArchError, BadTable, clean
from mergebarrier.evaluate import answers, reads_tokens, save_module, tiny_module, with_weights
from mergebarrier.keys import Key
from mergebarrier.numerics import draws
from mergebarrier.symmetry import act_each, sample, wrong_table

if TYPE_CHECKING:
    from torch import nn

#: Largest relative error of what keeps the function, in float32, and smallest of what breaks it.
KEPT: Final = 2e-5
BROKEN: Final = 1e-3
_TOKENS: Final = 24
_TRIES: Final = 8
_CONDITION: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class AxisCheck:
    """What acting on one axis did to a model.

    Attributes:
      axis, space, kind: as the table says.
      error:             relative, of the outputs; None where nothing acts.
      control:           what the wrong table changed; "" where nothing acts.
      control_error:     the error that this gave.
      passed:            whether the first is small and the second is not.
    """

    axis: str
    space: str
    kind: str
    error: float | None
    control: str
    control_error: float | None
    passed: bool


@dataclass(frozen=True, kw_only=True)
class ClassCheck:
    """How a table fares with one class.

    Attributes:
      family, architecture: which.
      axes:                 in the order of the table.
      together:             error when everything acts at once.
      passed:               whether all of it is as it should be.
    """

    family: str
    architecture: str
    axes: tuple[AxisCheck, ...]
    together: float
    passed: bool


def check_tables(source: str, where: str) -> tuple[ClassCheck, ...]:
    """Try every class of every family of a text.

    Args:
      source: tables, or a Python file that holds them in strings; it is parsed, not run.
      where:  how errors call it.
    Returns: a record per class, in the order of the text.
    Raises:  BadTable, with the line, for what is not in the language or does not fit the class; UnsupportedFeature
             where the library lacks a class; MissingExtra without transformers.
    """
    texts = _strings(source, where) if where.endswith(".py") else [numbered(source, where)]
    families = FAMILIES.beside(*texts)
    if not families:
        raise BadTable("it describes no family", where=where, remedy="begin with `family NAME: CLASS`")
    return tuple(check_class(family, name) for family in list(families.values()) for name in family.architectures)


def _strings(source: str, where: str) -> list[Iterator[tuple[str, str]]]:
    """Return the lines of the strings that a Python file gives names to."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = f"{where}:{error.lineno}" if isinstance(error, SyntaxError) else where
        raise BadTable(f"this is not Python: {error}", where=at, remedy="give the table as text") from error
    values = [node.value for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return [
        numbered(value.value, where, value.lineno)
        for value in values
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]


def check_class(family: Family, name: str) -> ClassCheck:
    """Try one class of a family; errors as ``check_tables``."""
    module = tiny_module(family, name)
    with tempfile.TemporaryDirectory() as scratch:
        save_module(module, Path(scratch))
        with open_checkpoint(Path(scratch)) as checkpoint:
            trial = _Trial(family, module, checkpoint)
            axes = tuple(trial.axis(one) for one in family.axes)
            together = trial.error(trial.architecture, family.axes) or 0.0
    passed = together <= KEPT and all(one.passed for one in axes)
    return ClassCheck(family=family.name, architecture=name, axes=axes, together=together, passed=passed)


class _Trial:
    """A tiny model in a folder, what it answers, and how far its answers move when something acts."""

    def __init__(self, family: Family, module: "nn.Module", checkpoint: Checkpoint) -> None:
        self.module, self.checkpoint = module, checkpoint
        self.architecture = _matched(checkpoint, family, type(module).__name__)
        self.tensors = {name: checkpoint.read(name) for name in checkpoint.tensors}
        self.before = self.answers(self.tensors)

    def axis(self, name: str) -> AxisCheck:
        declared, error = self.architecture.axis(name), self.error(self.architecture, [name])
        control = None if error is None else wrong_table(self.architecture, name)
        wrong = None
        if control is not None:
            wrong = self.error(match(self.checkpoint, control.table), [name], control.behind)
        return AxisCheck(
            axis=name,
            space=declared.space,
            kind=declared.kind,
            error=error,
            control="" if control is None else control.what,
            control_error=wrong,
            passed=error is None or (error <= KEPT and wrong is not None and wrong >= BROKEN),
        )

    def error(self, architecture: Architecture, axes: Iterable[str], behind: str = "") -> float | None:
        """Return the relative error after acting on some axes, with one tensor left behind; None if nothing moves."""
        moved = self.acted(architecture, frozenset(axes), behind)
        if moved is None:
            return None
        pairs = [(self.before[name], value) for name, value in self.answers(moved).items()]
        errors = [float((value - before).abs().max() / before.abs().max()) for before, value in pairs]
        return max(errors) if all(map(math.isfinite, errors)) else math.inf

    def acted(self, architecture: Architecture, axes: Collection[str], behind: str) -> dict[str, Tensor] | None:
        for number in range(_TRIES):  # a draw of few entries may be the one that moves nothing
            streams = Key(bytes([number]) * 32).streams(self.checkpoint.content_digest(), "exact")
            moved = dict(self.tensors)
            for circuit in architecture.circuits:
                spaces = {circuit.axis(one).space for one in circuit.instances}
                drawn = sample(circuit, streams, only=spaces, profile="full", condition=_CONDITION)
                elements = {one: element for one, element in drawn.items() if one[0] in axes}
                stored = {name: self.tensors[name] for name in circuit.tensors}
                moved |= {name: tensor.float() for name, tensor in act_each(circuit, elements, stored)}
            watched = [behind] if behind else moved
            if any(not torch.equal(moved[name], self.tensors[name]) for name in watched):
                return moved | {name: self.tensors[name] for name in [behind] if name}
        return None

    def answers(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        module: Any = with_weights(self.module, self.checkpoint, tensors)
        vocabulary = module.config.get_text_config().vocab_size if reads_tokens(module) else 1
        ids = draws.below(("doctor", "tokens"), vocabulary, 1, _TOKENS)
        return answers(module, ids)


def _matched(checkpoint: Checkpoint, family: Family, name: str) -> Architecture:
    """Match a tiny model with its table; what does not fit is an error of the line that says otherwise."""
    kind = checkpoint.config["model_type"]
    if kind not in family.model_types:
        what = f"a {name} has the model type {clean(kind)}, the table is for {', '.join(family.model_types)}"
        raise BadTable(what, where=family.places[""], remedy=f"write `family {family.name} of {clean(kind)}`")
    try:
        return match(checkpoint, family)
    except ArchError as error:
        stored = error.where.rpartition(": ")[2].rpartition("/")[2]
        lines = (one.name for one in family.lines if one.pattern.fullmatch(family.canonical(stored)))
        at = family.places[next(lines, "")]
        what = f"{stored} of a tiny {name}: {error.what}"
        raise BadTable(what, where=at, remedy="let the table say what the class holds") from error
