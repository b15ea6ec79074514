"""Widening: more neurons, key heads and layers that together compute what was computed, so no tool finds equal shapes.

    share      (g, u, d) -> (g, u, d/c), c times                       u-split  (g, u + v, d/2), (g, u - v, d/2)
    decoys     (g', u', d'), (g', u', -d')                             act(t) = t + act(-t), which alone changes gates:
    sign       (g, u, d) -> (-g, u, d), (2 g, u, d/2), (-2 g, u, -d/2)
    key heads  a group of r query heads -> k groups of r/k with keys and values of their own, in another basis each
    layers     x -> x + 0 at places drawn from the key, see ``dead_layers``

Every layer gets the same width, a multiple of 256, and all neurons end in an order and under signs drawn from the key.
Where there is no gate only shares, decoys and signs are possible; a width that no key of the configuration holds stays.

Source: ours, the structural relative of the published locks; v is another neuron's row, so norms tell nothing.  It
stops tools by shape and nobody who looks: neurons of one gate are found and added up again (``realign fold_width``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier import circuits, symmetry
from mergebarrier.arch import Concat, Product
from mergebarrier.errors import MethodRefused
from mergebarrier.parameters import check_values, number, whole
from mergebarrier.protect.dead_layers import beside
from mergebarrier.protect.neurons import Grown, Resize, WideNeurons
from mergebarrier.protect.protection import Context, Need, Prepared, Reversibility

if TYPE_CHECKING:
    from mergebarrier.circuits import Circuit, Member, Resized
    from mergebarrier.protect.protection import Pieces, Table, Tensors

_MULTIPLE: Final = 256
#: Activations with act(t) - act(-t) = t.
_ODD_PART: Final = frozenset(
    {"silu", "swish", "relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "quick_gelu"}
)


@dataclass(frozen=True, kw_only=True)
class Widen:
    """Hyper-parameters of ``widen``.

    Raises: UsageError.
    """

    name: ClassVar[str] = "widen"
    keyed: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset()
    reversibility: ClassVar[tuple[Reversibility, ...]] = ("tolerant",)
    limit: ClassVar[str] = (
        "This stops tools that ask for equal shapes, at the price of more parameters. Anyone can fold it from the file "
        "alone with `mergebarrier realign --method fold_width`."
    )

    share: float = number(
        0.5, low=0.0, high=4.0, above=True, help="Neurons to add at least, as a share; ends at a multiple of 256."
    )
    key_heads: int = whole(1, low=1, high=16, help="Key heads to make of each; the cache of keys grows as much.")

    dead_layers: int = whole(0, low=0, high=64, help="Layers to put between others that add nothing.")

    def __post_init__(self) -> None:
        """Validate."""
        check_values(self)

    def prepare(self, context: Context) -> Prepared:
        """Refuse a model whose configuration cannot say another width, or another number of layers."""
        return beside(context, self.dead_layers, self._wider) if self.dead_layers else self._wider(context)

    def _wider(self, context: Context) -> Prepared:
        here, there = _configs(self, context)
        narrow, wide = (there, here) if context.undone is not None else (here, there)
        spaces = {"neurons"} | (symmetry.HEADS if self.key_heads > 1 else set())
        signs = _has_odd_part(context.checkpoint.config)

        def drawn(circuit: "Circuit") -> "tuple[dict[str, WideNeurons], symmetry.Elements]":
            assert context.streams is not None
            plans = {
                axis: WideNeurons.drawn(
                    context.streams(circuit.name, f"widen {axis}"), narrow.sizes[axis], wide.sizes[axis],
                    gated=circuit.axis((axis, ())).kind == "glu",
                    signs=signs and not (_in_experts(circuit, axis) and circuit.axis((axis, ())).kind == "order"),
                )
                for axis in symmetry.neuron_axes(circuit) if narrow.sizes[axis] != wide.sizes[axis]
            }  # fmt: skip
            elements = symmetry.sample(
                replace(circuit, sizes=wide.sizes), context.streams, only=spaces, profile="lossless", condition=1.0
            )
            return plans, elements

        def apply(circuit: "Circuit", tensors: "Table") -> "Pieces":
            plans, elements = drawn(circuit)
            if plans or self.key_heads > 1:
                grow = Resize(circuit=circuit, plans=plans, sizes=narrow.sizes, key_heads=self.key_heads, grows=True)
                for member in circuit.members:
                    tensors[member.name] = grow(member, tensors[member.name])
            return symmetry.act_rows(replace(circuit, sizes=wide.sizes), elements, tensors)

        def stages(circuit: "Circuit", tensors: "Tensors") -> "Sequence[symmetry.Ways]":
            plans, elements = drawn(circuit)
            grow = Resize(circuit=circuit, plans=plans, sizes=narrow.sizes, key_heads=self.key_heads, grows=True)
            grown = {one.name: Grown(resize=grow, member=one) for one in circuit.members if one.line.nodes is not None}
            return grown, symmetry.ways(replace(circuit, sizes=wide.sizes), elements)

        def invert(circuit: "Circuit", tensors: "Table") -> "Pieces":
            plans, elements = drawn(circuit)
            back = symmetry.act_inverse(replace(circuit, sizes=wide.sizes), elements, dict(tensors))
            shrink = Resize(circuit=circuit, plans=plans, sizes=wide.sizes, key_heads=self.key_heads, grows=False)
            for member in circuit.members:
                yield member.name, shrink(member, back[member.name])

        changed = [f"{key}={narrow.values[key]}" for key in wide.values]
        defaults = _defaults(context, wide)
        return Prepared(
            layout=wide.layout(context.checkpoint, context.architecture),
            config=wide.config,
            apply=apply,
            stages=stages,
            invert=invert,
            limit=self.limit,
            variant=", ".join(f"{key} {value}" for key, value in wide.values.items()),
            parameters={
                "widths": changed,
                "defaults": [f"{key}={how}" for key, how in defaults.items()],
                "spaces": sorted(spaces & context.architecture.spaces),
            },
            reversibility="tolerant",
            determinism="profile",
            amplified=2.0,
            restored=circuits.left_unsaid(
                narrow.folder(context.checkpoint, context.architecture), context.checkpoint.config, defaults
            ),
            before=None if context.undone is None else lambda circuit: replace(circuit, sizes=narrow.sizes),
        )


def _configs(options: Widen, context: Context) -> "tuple[Resized, Resized]":
    """Return the model that is there, and the one that is written."""
    architecture, checkpoint, undone = context.architecture, context.checkpoint, context.undone
    sizes = architecture.circuits[0].sizes
    neurons = [one for circuit in architecture.circuits for one in symmetry.neuron_axes(circuit)]
    keys = {circuits.key_of(architecture, axis): axis for axis in dict.fromkeys(neurons)}
    # An unnamed axis of that size, in a tensor that nothing acts on, would have to grow too.
    unnamed = {size for circuit in architecture.circuits for member in circuit.members if not member.line.axes
               for size in checkpoint.tensors[member.name].shape}  # fmt: skip
    here = {key: sizes[axis] for key, axis in keys.items() if key and sizes[axis] not in unnamed}
    there = {key: -(-int(size * (1 + options.share)) // _MULTIPLE) * _MULTIPLE for key, size in here.items()}
    if options.key_heads > 1:
        groups = symmetry.groups_of(architecture.circuits[0])
        key = "" if groups is None else circuits.key_of(architecture, groups[0])
        nested = (_nested(member) for circuit in architecture.circuits for member in circuit.members)
        if groups is None or not key or any(nested):
            raise MethodRefused(
                f"key heads of a {architecture.family} cannot be told apart from its query heads",
                where="--key-heads", remedy="leave --key-heads out",
            )  # fmt: skip
        share = sizes[groups[1]]
        if undone is None and share % options.key_heads:
            what = f"{share} query heads share a key head, which {options.key_heads} cannot take over"
            what = what if share > 1 else "every query head has a key head of its own, so none can be multiplied"
            remedy = f"give a divisor of {share}" if share > 1 else "leave --key-heads out"
            raise MethodRefused(what, where="--key-heads", remedy=remedy)
        here, there = here | {key: sizes[groups[0]]}, there | {key: sizes[groups[0]] * options.key_heads}
    if undone is not None:
        widths = undone["widths"]
        assert isinstance(widths, list)
        there = {key: int(size) for key, _, size in (str(one).partition("=") for one in widths)}
    if not here and architecture.stands_for:
        raise MethodRefused("its feed-forward networks are polynomials", where=context.checkpoint.path,
                            remedy="protect the model without --ffn poly, and widen that")  # fmt: skip
    if not here and not options.dead_layers:
        raise MethodRefused(
            f"no key of the configuration says how wide the MLPs of a {architecture.family} are",
            where=context.checkpoint.path / "config.json",
            remedy="use --method exact",
        )
    return circuits.Resized.of(checkpoint, architecture, here), circuits.Resized.of(checkpoint, architecture, there)


def _defaults(context: Context, wide: "Resized") -> dict[str, str]:
    """Return the sizes that the model, or the one that was protected, leaves to defaults, as ``circuits.unsaid``."""
    if context.undone is None:
        said = circuits.unsaid(context.checkpoint.config, context.architecture)
        return {key: said[key] for key in wide.values if key in said}
    defaults = context.undone.get("defaults", [])  # older manifests have none
    assert isinstance(defaults, list)
    return {key: how for key, _, how in (str(one).partition("=") for one in defaults)}


def _in_experts(circuit: "Circuit", axis: str) -> bool:
    """Whether neurons belong to experts, whose activation without a gate is one of its own."""
    return any(circuit.axis((one, ())).space == "experts" for one in circuit.family.axes[axis].scope
               if one in circuit.family.axes)  # fmt: skip


def _nested(member: "Member") -> bool:
    """Whether blocks lie inside heads."""
    return any(isinstance(node, Product) and any(isinstance(one, Concat) for one in node.factors)
               for node in member.nodes)  # fmt: skip


def _has_odd_part(config: Mapping[str, object]) -> bool:
    """Whether every activation that a configuration names is one of which the sign identity holds."""
    tables = [config, *(inner for inner in config.values() if isinstance(inner, Mapping))]
    named = [value for table in tables for key, value in table.items() if "act" in key and isinstance(value, str)]
    return bool(named) and set(named) <= _ODD_PART
