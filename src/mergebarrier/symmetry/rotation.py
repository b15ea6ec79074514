"""Whether the residual stream of a model may be rotated, and what must be folded for that: every gain that reads it.

RMSNorm without a gain commutes with every orthogonal map; with one it does not, so W <- W diag(gain), gain <- 1 for all
readers of a norm, the head included.  A tied head reads the embedding, which has no gain to take up; LayerNorm takes a
mean; a norm behind a block acts on a writer and has no reader to give its gain to.

Source: QuaRot (arXiv 2404.00456) and SpinQuant (arXiv 2405.16406) rotate for quantisers; the conditions are ours.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergebarrier.arch import PLACEHOLDER, leaves

if TYPE_CHECKING:
    from mergebarrier.circuits import Architecture, Member


@dataclass(frozen=True, kw_only=True)
class Rotatable:
    """A stream that may be rotated: its axis, the norm in front of the head, and the head."""

    axis: str
    last: "Member"
    head: "Member"


def rotatable(architecture: "Architecture") -> "Rotatable | str":
    """Return what a rotation of the residual stream needs to know, or why there may be none."""
    table = architecture.table
    streams = [name for name, axis in table.axes.items() if axis.is_stream]
    if len(streams) != 1 or table.axes[streams[0]].kind != "signed":
        return "its norms take a mean, or it has several streams, and neither commutes with a rotation"
    if architecture.tied:
        return "its head is the embedding, which has no place for the gain of the last norm"
    if any(axis.space == "experts" for axis in table.axes.values()):
        return "the readers of its norms are experts, whose gains are not folded here"
    members = [member for circuit in architecture.circuits for member in circuit.members]
    gains = [member for member in members if any(leaf.axis == streams[0] and not leaf.signed
                                                 for node in member.nodes for leaf in leaves(node))]  # fmt: skip
    unread = [member for member in gains if member.stem not in _read_norms(architecture)]
    head = next((member for member in members if member.canonical == table.head), None)
    if head is None or len(unread) != 1 or PLACEHOLDER.search(unread[0].line.name):
        return "it has norms whose gain no matrix behind them can take up"
    return Rotatable(axis=streams[0], last=unread[0], head=head)


def _read_norms(architecture: "Architecture") -> set[str]:
    """Return the norms that some tensor reads the stream through."""
    return {norm.stem for circuit in architecture.circuits for member in circuit.members
            if (norm := circuit.norm_of(member)) is not None}  # fmt: skip
