"""Match a checkpoint against the tables: every tensor named, every size checked, or a refusal that says which.

``describe`` needs names, shapes and config only, never a weight.  A model of an unknown family, with one tensor too
many or too few, or whose config and shapes disagree, is refused: a protection that guesses is a broken model.
"""

from dataclasses import dataclass, fields

from mergebarrier.arch.families import FAMILIES, LOGICAL, ROWWISE_KINDS, Dims, Family, Rule
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import (
    BaseMismatch,
    ConfigMismatch,
    MissingTensor,
    UnknownFamily,
    UnknownTensor,
    UnsupportedFeature,
    clean,
)


@dataclass(frozen=True)
class Circuit:
    """The smallest set of tensors that one symmetry must see together; the unit of work, memory and resuming.

    Attributes:
      name:    "layers.3.attn", "layers.3.mlp", "embed", "position", "norm", "head".
      tensors: names on disk; ``rules`` beside them.
      dims:    sizes of the whole model.
    """

    name: str
    tensors: tuple[str, ...]
    rules: tuple[Rule, ...]
    dims: Dims

    @property
    def kind(self) -> str:
        """Last word of the name: "attn", "mlp", "embed", "position", "norm" or "head"."""
        return self.name.rpartition(".")[2]

    @property
    def rowwise(self) -> bool:
        """True when any block of rows may be handled alone."""
        return self.kind in ROWWISE_KINDS

    @property
    def logical(self) -> tuple[str, ...]:
        """Logical tensors present in this circuit."""
        return tuple(part for rule in self.rules for part in rule.holds)

    def logical_shape(self, part: str) -> tuple[int, ...]:
        """Shape of a logical tensor, (out, in) or (out,)."""
        entry = LOGICAL[part]
        return (entry.rows(self.dims),) if entry.columns is None else (entry.rows(self.dims), entry.columns(self.dims))

    def n_elements(self) -> int:
        """Number of weights in the circuit."""
        total = 0
        for part in self.logical:
            count = 1
            for size in self.logical_shape(part):
                count *= size
            total += count
        return total


@dataclass(frozen=True)
class Architecture:
    """A checkpoint in the terms of its family."""

    family: str
    dims: Dims
    circuits: tuple[Circuit, ...]
    verbatim: tuple[str, ...]
    tied: bool

    def circuit(self, name: str) -> Circuit:
        """Return the circuit of that name."""
        return next(circuit for circuit in self.circuits if circuit.name == name)


def _family(checkpoint: Checkpoint) -> Family:
    model_type, architectures = checkpoint.config.get("model_type"), checkpoint.config.get("architectures") or [None]
    for family in FAMILIES.values():
        if model_type in family.model_types:
            if architectures[0] in family.architectures:
                return family
            raise UnknownFamily(
                f"{model_type} with architecture {clean(architectures[0])} is not in the table",
                where=checkpoint.path / "config.json",
                remedy="use a " + " or ".join(family.architectures),
            )
    known = sorted(name for family in FAMILIES.values() for name in family.model_types)
    raise UnknownFamily(
        f"no table describes model_type {clean(model_type)}",
        where=checkpoint.path / "config.json",
        remedy=f"known: {', '.join(known)}; `merge` works without a table",
    )


def _dims(family: Family, checkpoint: Checkpoint) -> Dims:
    config, where = checkpoint.config, checkpoint.path / "config.json"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    for key, (fine, why) in family.refused.items():
        value = config.get(key, rope.get(key) if isinstance(rope, dict) else None)
        if value not in fine:
            raise UnsupportedFeature(f"{key} = {clean(value)}: {why}", where=where, remedy="leave this model as it is")
    sizes: dict[str, int] = {"positions": 0}
    for field_name, size in family.sizes.items():
        value = config.get(size.key)
        if value is None and size.default is not None:
            value = size.default(sizes)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise ConfigMismatch(
                f"{size.key} = {clean(value)} is not a positive whole number", where=where, remedy="repair config.json"
            )
        sizes[field_name] = value
    dims = Dims(**sizes, rotary=family.rotary, gated=family.gated, centred=family.centred)
    if dims.n_layers > len(checkpoint.tensors):
        raise ConfigMismatch(
            f"config gives {dims.n_layers} layers ({family.sizes['n_layers'].key}) to {len(checkpoint.tensors)} names",
            where=where,
            remedy="use the config.json that belongs to these weights",
        )
    if dims.n_heads % dims.n_kv_heads:
        raise ConfigMismatch(
            f"{dims.n_heads} query heads cannot share {dims.n_kv_heads} key/value heads",
            where=where,
            remedy="repair num_attention_heads or num_key_value_heads",
        )
    if dims.rotary and dims.head_dim % 2:
        raise ConfigMismatch(f"head width {dims.head_dim} is odd, rotary planes need pairs", where=where,
                             remedy="repair head_dim")  # fmt: skip
    return dims


def _check_shape(checkpoint: Checkpoint, name: str, rule: Rule, dims: Dims) -> None:
    entries = [LOGICAL[part] for part in rule.holds]
    shape: tuple[int, ...] = (sum(entry.rows(dims) for entry in entries),)
    if entries[0].columns is not None:
        shape = (*shape, entries[0].columns(dims))
    if rule.transposed:
        shape = shape[::-1]
    found = checkpoint.tensors[name]
    if tuple(found.shape) != shape:
        raise ConfigMismatch(
            f"config and tensor disagree: config gives shape {shape}, the file has {tuple(found.shape)}",
            where=f"{found.shard}: {name}",
            remedy="use the config.json that belongs to these weights",
        )


def describe(checkpoint: Checkpoint) -> Architecture:
    """Name every tensor of a checkpoint.

    Args:
      checkpoint: an opened model folder.
    Returns: Architecture with circuits in the order embed, layers, norm, head.
    Raises:  UnknownFamily, UnsupportedFeature, ConfigMismatch (both numbers), UnknownTensor, MissingTensor (the name).
    """
    family = _family(checkpoint)
    dims = _dims(family, checkpoint)
    prefix = next((p for p in family.prefixes if p + family.rules[0].name in checkpoint.tensors), family.prefixes[0])
    unseen = dict.fromkeys(checkpoint.tensors)
    members: dict[str, list[tuple[str, Rule]]] = {}
    layers = range(dims.n_layers)
    indexed = [(i, rule) for rule in family.rules for i in (layers if "{i}" in rule.name else (0,))]
    for i, rule in indexed:
        # A head carries no prefix in any spelling of the files.
        name = rule.name if rule.circuit == "head" else prefix + rule.name.replace("{i}", str(i))
        if name in unseen:
            del unseen[name]
            _check_shape(checkpoint, name, rule, dims)
            members.setdefault(rule.circuit.replace("{i}", str(i)), []).append((name, rule))
        elif not rule.optional:
            raise MissingTensor(
                "the family table lists this tensor, the checkpoint lacks it",
                where=f"{checkpoint.path}: {name}",
                remedy="download the model again, all shards",
            )
    tied = "head" not in members
    if tied and checkpoint.config.get("tie_word_embeddings") is False:
        raise MissingTensor(
            "config.json says the head is not tied, the checkpoint has no head",
            where=f"{checkpoint.path}: lm_head.weight",
            remedy="download the model again, all shards",
        )
    verbatim = tuple(
        name for name in unseen if name in {prefix + v.replace("{i}", str(i)) for v in family.verbatim for i in layers}
    )
    unknown = next((name for name in unseen if name not in verbatim), None)
    if unknown is not None:
        raise UnknownTensor(
            f"this tensor is not in the table of {family.name}",
            where=f"{checkpoint.tensors[unknown].shard}: {unknown}",
            remedy="only models of the stock architecture can be protected or realigned",
        )
    circuits = [
        Circuit(name, tuple(tensor for tensor, _ in pairs), tuple(rule for _, rule in pairs), dims)
        for name, pairs in members.items()
    ]
    return Architecture(family.name, dims, tuple(sorted(circuits, key=_depth)), verbatim, tied)


def _depth(circuit: Circuit) -> tuple[int, ...]:
    if circuit.kind in ("attn", "mlp"):
        return 1, int(circuit.name.split(".")[1]), ("attn", "mlp").index(circuit.kind)
    return {"embed": (0, 0), "position": (0, 1), "norm": (2, 0), "head": (2, 1)}[circuit.kind]


def require_same(model: Architecture, base: Architecture, *, where: object) -> None:
    """Raise BaseMismatch unless two models have one family, the same sizes and the same tensors."""
    if model.family != base.family:
        raise BaseMismatch(f"the model is a {model.family}, the base a {base.family}", where=where,
                           remedy="give the base that the model was fine-tuned from")  # fmt: skip
    for field in fields(Dims):
        ours, theirs = getattr(model.dims, field.name), getattr(base.dims, field.name)
        if ours != theirs:
            raise BaseMismatch(f"{field.name} is {ours} in the model and {theirs} in the base", where=where,
                               remedy="give the base that the model was fine-tuned from")  # fmt: skip
    ours_names = {name for circuit in model.circuits for name in circuit.tensors}
    theirs_names = {name for circuit in base.circuits for name in circuit.tensors}
    if ours_names != theirs_names:
        odd = min(ours_names ^ theirs_names)
        raise BaseMismatch(f"only the {'model' if odd in ours_names else 'base'} holds {odd}", where=where,
                           remedy="give the base that the model was fine-tuned from")  # fmt: skip
