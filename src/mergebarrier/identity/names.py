"""One identity for every tensor, however a checkpoint spells it: the only place that compares names of two models.

    identity(stored) = rules of transformers(spelling of the family's table(stored))
    a body prefix that one of two models has and the other lacks is found by comparing names without their numbers

Two spellings of one family, a model saved with or without the prefix of its head's class, and experts of a layer
stored one by one or as one tensor are then the same model; ``spelled_like`` shows one of them in the other's names.
Source: the renames of transformers 5.23 (``conversion_mapping``).  Differs: nothing is loaded, names are metadata.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mergebarrier.arch import FAMILIES, Family
from mergebarrier.checkpoint import Checkpoint, TensorInfo, View, ViewPart
from mergebarrier.circuits import EMBEDDING, embedding_of, family_of
from mergebarrier.errors import UnknownFamily

COMPUTED = "every loader computes it anew"

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"LayerNorm\.gamma$", "LayerNorm.weight"),
        (r"LayerNorm\.beta$", "LayerNorm.bias"),
        (r"\.weight_g$", ".parametrizations.weight.original0"),
        (r"\.weight_v$", ".parametrizations.weight.original1"),
        (r"\.block_sparse_moe\.", ".mlp."),
        (r"\.experts\.(\d+)\.w1\.", r".experts.\1.gate_proj."),
        (r"\.experts\.(\d+)\.w2\.", r".experts.\1.down_proj."),
        (r"\.experts\.(\d+)\.w3\.", r".experts.\1.up_proj."),
        (r"\.mlp\.input_linear\.weight$", ".mlp.experts.gate_up_proj"),
        (r"\.mlp\.output_linear\.weight$", ".mlp.experts.down_proj"),
        (r"\.mlp\.router\.layer\.", ".mlp.router."),
        (r"\bencoder\.layer\.", "layers."),
        (r"\b(?:attention|self)\.query\b", "q_proj"),
        (r"\b(?:attention|self)\.key\b", "k_proj"),
        (r"\b(?:attention|self)\.value\b", "v_proj"),
        (r"\bself\.relative_position_bias_table\b", "relative_position_bias.relative_position_bias_table"),
        (r"\battention\.output\.dense\b", "attention.o_proj"),
        (r"\bintermediate\.dense\b", "mlp.fc1"),
        (r"\boutput\.dense\b", "mlp.fc2"),
        (r"^model\.language_model\.|^language_model\.model\.", "language_model."),
        (r"^language_model\.lm_head\.", "lm_head."),
        (r"^model\.(vision_tower|audio_tower|multi_modal_projector|visual|image_newline)\b", r"\1"),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
    )
)
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
#: A tensor of all experts -> what it holds of each, one below the other.
_FUSED: Mapping[str, tuple[str, ...]] = {
    "gate_up_proj": ("gate_proj", "up_proj"),
    "down_proj": ("down_proj",),
    "up_proj": ("up_proj",),
}
#: Words that wrap a body and say nothing about which body it is.
WRAPPERS = frozenset({"model", "language_model", "transformer", "backbone", "base_model", "module", "pretrained_model"})
#: Shapes by name, None for any.
_Shapes: TypeAlias = Mapping[str, tuple[int, ...] | None]
#: Most prefixes that are rewritten, and most words of each.
_SHIFTS, _WORDS = 4, 2


def identities(checkpoint: Checkpoint) -> dict[str, str]:
    """Return identity -> stored name of every tensor; what two names would share, the second keeps its own."""
    return _identities(checkpoint.tensors, table_of(checkpoint))


def _identities(names: Iterable[str], family: Family | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for stored in names:
        identity = identity_of(stored, family)
        found[stored if identity in found else identity] = stored
    if family is None or any(map(EMBEDDING.search, found.values())):
        return found
    head, embedding = (identity_of(one, family) for one in (family.head, embedding_of(family)))
    return {embedding if one == head else one: stored for one, stored in found.items()}  # tied, stored as the head


def identity_of(stored: str, family: Family | None) -> str:
    """Return the identity of a name in a model of a family; None where no table knows it."""
    name = stored if family is None else family.canonical(stored)
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def spelled_like(donor: Checkpoint, other: Checkpoint) -> Checkpoint:
    """Return ``other`` under the names of ``donor``, as far as they hold the same tensors; the rest keeps its own.

    Buffers that the donor lacks are left out, and experts are grouped as the donor groups them.  Reads no weight.
    """
    if other.tensors.keys() == donor.tensors.keys():
        return other
    return _under(_Spelling.of(identities(donor)), {name: info.shape for name, info in donor.tensors.items()}, other)


def spelled_as(names: Collection[str], other: Checkpoint) -> Checkpoint:
    """Return ``other`` under some names alone, as ``spelled_like`` does; it was saved from a model of those names."""
    return _under(_Spelling.of(_identities(names, table_of(other))), dict.fromkeys(names), other)


def _under(spelling: "_Spelling", shapes: _Shapes, other: Checkpoint) -> Checkpoint:
    """Return a model under the names of a spelling, and of those that have shapes."""
    found = _shifted(spelling.templates, identities(other))
    alone = {identity: ViewPart.of(other, stored) for identity, stored in found.items()}
    parts: dict[str, ViewPart] = {}
    left_out: dict[str, str] = {}
    regrouped = _regrouped(spelling, shapes, other, alone)
    for identity, part in sorted(regrouped.items(), key=lambda one: one[0] not in spelling.names):
        first = part.pieces[0].name
        name = spelling.stored(identity) or first
        name = first if name in parts else name
        if name not in shapes and other.tensors[first].role == "buffer":
            left_out[first] = COMPUTED
        else:
            parts[name] = part
    return View(other, parts, left_out)


def finder(base: Checkpoint) -> Callable[[str], str | None]:
    """Return how a base spells a name of another spelling; None for a tensor that it lacks.

    Words that wrap a body count for nothing where what they wrap is there once: a part that was trained alone, without
    the class around it, is found in the whole.
    """
    table, names = table_of(base), identities(base)
    own = [str(base.config.get("model_type")), *([] if table is None else table.body.split("."))]
    wrappers = WRAPPERS | {word for word in own if word}
    bare: dict[str, list[str]] = {}
    for identity, stored in names.items():
        bare.setdefault(_unwrapped(identity, wrappers), []).append(stored)

    def find(name: str) -> str | None:
        identity = identity_of(name, table)
        alike = bare.get(_unwrapped(identity, wrappers), [])
        return names.get(identity, alike[0] if len(alike) == 1 else None)

    return find


def _unwrapped(identity: str, wrappers: Collection[str]) -> str:
    words = identity.split(".")
    first = next((place for place, word in enumerate(words) if word not in wrappers), 0)
    return ".".join(words[first:])


@dataclass(frozen=True)
class _Spelling:
    """How a model spells identities: those that it holds, and those like them in other layers."""

    names: Mapping[str, str]
    templates: Mapping[str, str]

    @classmethod
    def of(cls, names: Mapping[str, str]) -> "_Spelling":
        return cls(names, {_template(identity): _template(stored) for identity, stored in names.items()})

    def stored(self, identity: str) -> str | None:
        """Return the name that the model has, or would have, for an identity."""
        if identity in self.names:
            return self.names[identity]
        template, numbers = self.templates.get(_template(identity)), iter(_NUMBER.findall(identity))
        return None if template is None else re.sub("#", lambda _: next(numbers, "#"), template)


def _template(name: str) -> str:
    return _NUMBER.sub("#", name)


def table_of(checkpoint: Checkpoint) -> Family | None:
    """Return the table that spells a model: its own, or one of another class of its kind; None where none does."""
    try:
        return family_of(checkpoint)
    except UnknownFamily:
        kind = checkpoint.config.get("model_type")
        return next(iter(FAMILIES.of_type(kind)), None)


def _shifted(ours: Collection[str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Rewrite prefixes of whole bodies that the other model has and the donor lacks, or the reverse."""
    found = dict(theirs)
    for _ in range(_SHIFTS):
        templates = dict.fromkeys(map(_template, found))
        odd, free = [name for name in templates if name not in ours], [name for name in ours if name not in templates]
        votes = Counter(pair for name in odd for pair in dict.fromkeys(_pairs(name, free)))
        if not votes:
            break
        (old, new), hits = votes.most_common(1)[0]
        # Experts in another layout have no counterpart yet, whatever the prefix.
        if hits * 2 < sum(name.startswith(old) and ".experts." not in name for name in odd):
            break
        hit = {name for name in odd if name.startswith(old) and new + name.removeprefix(old) in free}
        roots = {name.partition(".")[0] for name in hit}  # what else stands beside them goes along
        moved = {name for name in odd if name.startswith(old) and name.partition(".")[0] in roots}
        found = {
            new + name.removeprefix(old) if _template(name) in moved else name: stored for name, stored in found.items()
        }
    return found


def _pairs(name: str, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (prefix of a name, prefix of another) where the rest, two words or more, is the same."""
    for other in others:
        one, two = name.split("."), other.split(".")
        same = 0
        while same < min(len(one), len(two)) and one[-1 - same] == two[-1 - same]:
            same += 1
        old, new = one[: len(one) - same], two[: len(two) - same]
        wrapped = not (old and new) or {*old, *new} <= WRAPPERS
        if same > 1 and wrapped and len(old) <= _WORDS and len(new) <= _WORDS and "#" not in (*old, *new):
            yield "".join(f"{word}." for word in old), "".join(f"{word}." for word in new)


def _regrouped(
    spelling: _Spelling, shapes: _Shapes, other: Checkpoint, alone: Mapping[str, ViewPart]
) -> dict[str, ViewPart]:
    """Group the experts of every layer as the donor does; those of other shapes stay as they are."""
    found = dict(alone)
    split: dict[str, dict[int, dict[str, str]]] = {}
    for identity in alone:
        match = _EXPERT.fullmatch(identity)
        if match and _template(identity) not in spelling.templates:
            split.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = identity
        stem, _, kind = identity.rpartition(".")
        if kind in _FUSED and stem.endswith(".experts") and _template(identity) not in spelling.templates:
            parts = _taken_apart(alone[identity], other.tensors[alone[identity].pieces[0].name], stem, _FUSED[kind])
            if _fit(spelling, shapes, parts):
                del found[identity]
                found |= parts
    for stem, experts in split.items():
        for kind, words in _FUSED.items():
            names = [experts[e].get(word, "") for e in sorted(experts) for word in words]
            if _template(f"{stem}.{kind}") not in spelling.templates or not all(name in found for name in names):
                continue
            joined = {f"{stem}.{kind}": _joined([alone[name] for name in names], len(experts))}
            if _fit(spelling, shapes, joined):
                found = {name: part for name, part in found.items() if name not in names} | joined
    return found


def fused(checkpoint: Checkpoint) -> Checkpoint:
    """Return a model whose experts of a layer are one tensor each, as modules hold them."""
    experts: dict[str, dict[int, dict[str, str]]] = {}
    for identity, stored in identities(checkpoint).items():
        match = _EXPERT.fullmatch(identity)
        if match:
            stem = stored[: stored.index(".experts.")]
            experts.setdefault(f"{stem}.experts", {}).setdefault(int(match[2]), {})[match[3]] = stored
    parts = {name: ViewPart.of(checkpoint, name) for name in checkpoint.tensors}
    for stem, found in experts.items():
        for kind in ("gate_up_proj", "down_proj"):
            names = [found[e].get(word, "") for e in sorted(found) for word in _FUSED[kind]]
            if all(name in parts for name in names):
                parts[f"{stem}.{kind}"] = _joined([parts.pop(name) for name in names], len(found))
    named = {name.replace(".block_sparse_moe.", ".mlp."): part for name, part in parts.items()}
    return View(checkpoint, named, {}) if experts else checkpoint


def split(checkpoint: Checkpoint) -> Checkpoint:
    """Return a model whose experts of a layer are matrices of their own, as older classes held them."""
    parts: dict[str, ViewPart] = {}
    for name, info in checkpoint.tensors.items():
        stem, _, kind = name.rpartition(".")
        whole = ViewPart.of(checkpoint, name)
        apart = _taken_apart(whole, info, stem, _FUSED[kind]) if kind in _FUSED and stem.endswith(".experts") else {}
        parts |= apart or {name: whole}
    return checkpoint if parts.keys() == checkpoint.tensors.keys() else View(checkpoint, parts, {})


def _taken_apart(part: ViewPart, info: TensorInfo, stem: str, words: Sequence[str]) -> dict[str, ViewPart]:
    """Return the matrices of all experts that one tensor holds; none where it cannot be cut so."""
    if len(info.shape) != 3 or info.shape[1] % len(words):
        return {}
    (source,) = part.pieces
    n_experts, height = info.shape[0], info.shape[1] // len(words)
    places = [(e, word) for e in range(n_experts) for word in words]
    return {
        f"{stem}.{e}.{word}.weight": ViewPart(
            (height, info.shape[2]), (replace(source, start=n * height, stop=(n + 1) * height),)
        )
        for n, (e, word) in enumerate(places)
    }


def _joined(parts: Sequence[ViewPart], n_experts: int) -> ViewPart:
    """Return the tensor of all experts that matrices make up, those of one expert below each other."""
    height = sum(part.shape[0] for part in parts) // n_experts
    pieces = tuple(replace(part.pieces[0], start=0, stop=part.shape[0]) for part in parts)
    return ViewPart((n_experts, height, *parts[0].shape[1:]), pieces)


def _fit(spelling: _Spelling, shapes: _Shapes, parts: Mapping[str, ViewPart]) -> bool:
    """Whether regrouped experts have names and shapes of the donor's."""
    named = [(spelling.stored(identity), part) for identity, part in parts.items()]
    return bool(named) and all(name is not None and shapes.get(name) in (None, part.shape) for name, part in named)
