"""Where the neurons of an MLP stand: which axes are neurons with one activation, and what each of their blocks does.

    down(act(gate x) * up x)      down(act(gate x))

Source: the tables; a block is told by its marks, or without a gate by its place: the last matrix leads back.
"""

from typing import TYPE_CHECKING, Literal

from mergebarrier.arch import leaves

if TYPE_CHECKING:
    from mergebarrier.arch import Factor
    from mergebarrier.circuits import Circuit, Member

Role = Literal["gate", "up", "down"]


def neuron_axes(circuit: "Circuit") -> list[str]:
    """Return the axes of neurons that stand in three blocks (gate, up, down), or in two, and nowhere else."""
    axes = dict.fromkeys(one[0] for one in circuit.instances if circuit.axis(one).space == "neurons")
    return [
        axis for axis in axes if len(meeting(circuit, axis)) == (3 if circuit.axis((axis, ())).kind == "glu" else 2)
    ]


def meeting(circuit: "Circuit", axis: str) -> list[str]:
    """Return the lines of the table in whose matrices neurons meet a stream, once per block, the first matrix first."""
    streams = {name for name, one in circuit.family.axes.items() if one.space == "residual" and not one.scope}
    found: dict[str, list[str]] = {}
    for member in circuit.members:
        if streams & set(member.line.axes):
            held = [leaf for node in member.nodes for leaf in leaves(node) if leaf.axis == axis]
            found[member.line.name] = [member.line.name] * len(held)
    return [line for lines in found.values() for line in lines]


def role_of(circuit: "Circuit", member: "Member", factor: "Factor") -> Role:
    """Return what a factor of neurons is; without a gate all but the last matrix are gates."""
    if circuit.axis((factor.axis, ())).kind == "glu":
        return "down" if factor.dual else "up" if factor.scaled else "gate"
    return "down" if member.line.name == meeting(circuit, factor.axis)[-1] else "gate"


def groups_of(circuit: "Circuit") -> tuple[str, str] | None:
    """Return the axes of key heads and of the query heads that share one, if a family has both."""
    axes = circuit.family.axes
    inside = next((one for one, axis in axes.items() if axis.space == "heads" and axis.scope[1:]), None)
    return None if inside is None else (axes[inside].scope[1], inside)
