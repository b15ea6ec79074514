"""Wrong tables, for every kind of axis: one word is changed, or one tensor stays where it was.

    order      a tensor is left behind
    signed     a gain takes the signs (d for d!)            centred   signed for centred
    glu        a gate is scaled too (n^ for n)              basis     both on one side (w for w')
    planes     basis for planes; behind a norm, the gain is left behind

Whoever acts by one of them breaks the model.  That these fail is what makes it worth something that the table passes.
Source: ours.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from mergebarrier.arch import Family, Kind
from mergebarrier.circuits import Architecture

__all__ = ["WrongTable", "wrong_table"]

#: Kind -> the kind that is too much for it.
_TOO_MUCH: Final[dict[Kind, Kind]] = {"centred": "signed", "planes": "basis"}
#: Kind -> (how an axis stands in a line, how it stands there in the wrong table).
_WORDS: Final[dict[Kind, tuple[str, str]]] = {
    "signed": (r"\b{}!", "{}"),
    "glu": (r"\b{}\b(?![!^\'])", "{}^"),
    "basis": (r"\b{}\'", "{}"),
}


@dataclass(frozen=True, kw_only=True)
class WrongTable:
    """A wrong way to act on one axis.

    Attributes:
      what:   in words: the word that is changed, or the tensor that stays.
      table:  to act by.
      behind: the name of a tensor that keeps its values; "" for none.
    """

    what: str
    table: Family
    behind: str = ""


def wrong_table(architecture: Architecture, axis: str) -> WrongTable:
    """Return the control for an axis of a model, on which something acts.

    Args:
      architecture: from ``describe``.
      axis:         name in its table.
    """
    table, declared = architecture.table, architecture.axis(axis)
    found = [[one for one in circuit.members if axis in one.line.axes] for circuit in architecture.circuits]
    first = next(members for members in found if members)
    if declared.kind in _TOO_MUCH and not declared.normed:
        wrong = _TOO_MUCH[declared.kind]
        changed = replace(table, axes={**table.axes, axis: replace(declared, kind=wrong)})
        return WrongTable(what=f"{wrong} for {declared.kind}", table=changed)
    if declared.kind in _WORDS:
        pattern, word = (text.format(axis) for text in _WORDS[declared.kind])
        for name in (member.line.name for members in found for member in members):
            stands = re.search(pattern, table.tensors[name])
            if stands is not None:
                text = re.sub(pattern, word, table.tensors[name], count=1)
                what = f"{word} for {stands[0]} in {name}"
                return WrongTable(what=what, table=replace(table, tensors={**table.tensors, name: text}))
    gains = [member for member in first if declared.normed and len(member.nodes) == 1]
    matrices = [member for member in first if len(member.nodes) > 1]
    behind = (gains or matrices or first)[-1]
    return WrongTable(what=f"{behind.canonical} left behind", table=table, behind=behind.name)
