"""Models side by side: which tensors they share, which only some have, and what is left out or stands in for another.

    body   under the prefix that all share: complete in every model, or they are refused
    head   outside of it, a pooler, or a layer that the configuration does not count (multi-token prediction):
           the base's stands in where a model lacks it; what the donor lacks is left out, or kept if asked
    twin   a tied head that is stored all the same and equals the embedding: left out, its values are compared

Nothing is dropped without a note.  Source: ours.  Differs from comparing the names in files, which refuses models that
every loader reads as one.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.checkpoint import Checkpoint, View, ViewPart
from mergebarrier.errors import TensorSetMismatch, apart, clean
from mergebarrier.identity.names import WRAPPERS, identities, spelled_like
from mergebarrier.identity.ties import check_ties, is_head, is_tied, own_heads, twins_of, with_embedding

_SHOWN = 3
_LAYER = re.compile(r"^((?:[^.]+\.)+?)(\d+)\.")
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_DEFAULT_LABEL = re.compile(r"\d+ LABEL_\d+")
#: First words that belong to a body which has no prefix.
_BODY = re.compile(r"embed|shared|norm|^(wte|wpe|h|layers?|blocks?|ln\w*)$")
_NO_PLACE = "the first model has no such tensor"
_FINE_TUNES = "merge models that were fine-tuned from one base"


@dataclass(frozen=True, kw_only=True)
class FitRules:
    """What may differ.

    Attributes:
      spare:   the base, whose tensors stand in for those that a model lacks; None for the donor.
      missing: it stands in for parts of the body, too.
      keep:    heads that one model alone has beyond the donor are kept.
      drop:    parts of the body that the donor lacks are left out, as its heads are.
      whole:   says which names all models must hold; the others are renamed and no more.
    """

    spare: Checkpoint | None = None
    missing: bool = False
    keep: bool = False
    drop: bool = False
    whole: Callable[[str], bool] = bool


@dataclass(frozen=True, kw_only=True)
class ModelFit:
    """Models under the names of the first, the donor, each with its tensors.

    Attributes:
      models: in the order given.
      kept:   names that one model alone gave.
      notes:  what was done for that, one line each.
    """

    models: tuple[Checkpoint, ...]
    kept: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def fit(models: Sequence[Checkpoint], rules: FitRules) -> ModelFit:
    """Bring models under the names of the first.

    Returns: ModelFit; a model whose names are those of the donor comes back as it is.
    Raises:  TensorSetMismatch where one lacks a part of the body, has one more, or is tied where the donor is not.
    """
    donor, *others = map(with_embedding, models)
    others = [spelled_like(donor, other) for other in others]
    lacking = [name for name in donor.tensors if any(name not in other.tensors for other in others)]
    twins = twins_of(donor, [name for name in lacking if is_tied(donor) or not is_head(name)])
    notes = [f"{donor.name}: {name} {why}; it is left out" for name, why in twins.items()]
    if twins:
        donor = View(donor, {name: ViewPart.of(donor, name) for name in donor.tensors if name not in twins}, twins)
    sides = [_side(donor, other, twins, rules) for other in others]
    owners: dict[str, list[Checkpoint]] = {}
    for side in sides if rules.keep else ():
        for name in side.heads:
            owners.setdefault(name, []).append(side.model)
    kept = {name: ViewPart.of(given[0], name) for name, given in owners.items() if len(given) == 1}
    if kept:
        donor = View(donor, {name: ViewPart.of(donor, name) for name in donor.tensors} | kept, {})
    views = tuple(side.fitted(kept) for side in sides)
    notes += [note for side in sides for note in side.notes(kept)]
    return ModelFit(models=(donor, *views), kept=frozenset(kept), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One model beside the donor, under its names.

    Attributes:
      model, donor: the two.
      parts:     of the model, without its heads.
      stand_ins: names that are taken from the base.
      left_out:  names of the model -> why.
      heads:     names of the model that the donor lacks.
    """

    model: Checkpoint
    donor: Checkpoint
    parts: Mapping[str, ViewPart]
    stand_ins: Sequence[str]
    left_out: Mapping[str, str]
    heads: Sequence[str]

    def fitted(self, kept: Mapping[str, ViewPart]) -> Checkpoint:
        """Return the model as it is merged; ``kept`` are the heads that one model gives to all."""
        if not (kept or self.left_out or self.heads or self.stand_ins or len(self.parts) != len(self.model.tensors)):
            return self.model
        gone = dict.fromkeys((name for name in self.heads if name not in kept), _NO_PLACE)
        return View(self.model, {**self.parts, **kept}, {**self.left_out, **gone})

    def notes(self, kept: Mapping[str, ViewPart]) -> Iterator[str]:
        """Yield what is worth saying."""
        name, donor = _called(self.model, self.donor), _called(self.donor, self.model)
        made_of = {ours: self.model.made_of(ours) for ours in self.model.tensors}
        renamed = [ours for ours, stored in made_of.items() if [one for _, one in stored] != [ours]]
        if renamed:
            yield f"{name} spells {_some(renamed)} otherwise; the names are those of {donor}"
        for why, names in _by_reason({**self.model.left_out, **self.left_out}).items():
            yield f"{name}: {_some(names)} left out: {why}"
        if self.stand_ins:
            shown = ", ".join(clean(one) for one in self.stand_ins[:_SHOWN])
            yield f"{name} lacks {len(self.stand_ins)} tensors, taken from the base: {shown}"
        taken, gone = [n for n in self.heads if n in kept], [n for n in self.heads if n not in kept]
        if taken:
            yield f"{_some(taken)} taken from {name}, which alone has them; config.json is that of {donor}"
        if gone:
            yield f"{name}: {_some(gone)} left out: {_NO_PLACE}; --extra keep takes what one model alone has"


def _side(donor: Checkpoint, model: Checkpoint, twins: Collection[str], rules: FitRules) -> _Side:
    """Sort what only one of two models has; TensorSetMismatch for what must not differ."""
    weights = [name for name, info in donor.tensors.items() if info.role in ("weight", "statistic")]
    lacks = [name for name in weights if name not in model.tensors and rules.whole(name)]
    more = [name for name in model.tensors if name not in donor.tensors and rules.whole(name)]
    shared = [name for name in donor.tensors if name in model.tensors]
    relabelled = _relabelled(donor, model, shared)
    parts = {name: ViewPart.of(model, name) for name in model.tensors}
    left_out = dict.fromkeys(relabelled, "a head for other labels")
    left_out |= twins_of(model, more)
    more = [name for name in more if name not in left_out]
    own = own_heads(donor, model, lacks)
    parts |= {name: ViewPart.of(model, embedding) for name, embedding in own.items()}
    lacks = [name for name in lacks if name not in own]
    check_ties(donor, model, [*lacks, *more], resolved=bool(own or left_out))
    spare = rules.spare or donor
    ours, heads = _heads(donor, lacks, shared), more if rules.drop else _heads(model, more, shared)
    stand_ins = [name for name in lacks if (rules.missing or name in ours) and name in spare.tensors]
    wrong = [name for name in lacks if name not in stand_ins]
    if wrong or len(heads) < len(more):
        raise _mismatch(donor, model, wrong, more)
    parts = {name: part for name, part in parts.items() if name not in left_out and name not in heads}
    parts |= {name: ViewPart.of(spare, name) for name in (*stand_ins, *relabelled)}
    return _Side(model=model, donor=donor, parts=parts, stand_ins=stand_ins, left_out=left_out, heads=heads)


def _heads(model: Checkpoint, names: Collection[str], shared: Collection[str]) -> list[str]:
    """Return those names of a model that lie outside of the body that ``shared`` names make up."""
    if not names:
        return []
    spelled = {stored: identity for identity, stored in identities(model).items()}
    roots = {spelled[name].partition(".")[0] for name in shared if name in spelled and _LAYER.match(spelled[name])}
    layers = {match[0] for name in shared if (match := _LAYER.match(name))}
    count = _depth(model.config)

    def outside(name: str) -> bool:
        words = spelled[name].split(".")
        layer = _LAYER.match(name)
        if layer is not None and layer[0] not in layers and count is not None and int(layer[2]) >= count:
            return True
        body = words[0] in roots or words[0] in WRAPPERS or _BODY.search(words[0]) is not None
        return len(words) > 1 and ("pooler" in words or not body)

    return [name for name in names if outside(name)]


def _depth(config: Mapping[str, object]) -> int | None:
    """Return the most layers that a configuration counts."""
    tables = [config, *(table for table in config.values() if isinstance(table, dict))]
    counts = [count for table in tables for key in _COUNTS if isinstance(count := table.get(key), int)]
    return max(counts, default=None)


def _relabelled(donor: Checkpoint, model: Checkpoint, shared: Sequence[str]) -> list[str]:
    """Return the tensors with a row per label where two models have other labels, by number or by name."""
    sides = (donor, model)
    counts = [(_labels(side.config),) for side in sides]
    rows = [name for name in shared if [side.tensors[name].shape[:1] for side in sides] == counts]
    if counts[0] != counts[1]:
        return [name for name in rows if donor.tensors[name].shape[1:] == model.tensors[name].shape[1:]]
    named = [_names(side.config) for side in sides]
    return _heads(donor, rows, shared) if None not in named and named[0] != named[1] else []


def _labels(config: Mapping[str, object]) -> object:
    names = config.get("id2label")
    return len(names) if isinstance(names, dict) else config.get("num_labels", 2)


def _names(config: Mapping[str, object]) -> list[str] | None:
    """Return the labels that a trainer gave a model, by number; None for those that every model has."""
    names = config.get("id2label")
    found = [f"{number} {name}" for number, name in names.items()] if isinstance(names, dict) else []
    return None if all(_DEFAULT_LABEL.fullmatch(name) for name in found) else sorted(found)


def _mismatch(donor: Checkpoint, model: Checkpoint, lacks: Sequence[str], more: Sequence[str]) -> TensorSetMismatch:
    name = _called(donor, model)
    parts = [f"lacks {_some(lacks)} of {name}"] if lacks else []
    parts += [f"has {_some(more)} that {name} lacks"] if more else []
    remedy = f"{_FINE_TUNES}, or take what is lacking from the base: --missing base"
    if more:
        dropped = not lacks and not any(".experts." in one for one in more)  # of which the router knows the number
        remedy = f"{_FINE_TUNES}, or leave these out: --extra drop" if dropped else _FINE_TUNES
    depths = [_depth(side.config) for side in (model, donor)]
    if depths[0] != depths[1] and None not in depths:
        parts.append(f"the one has {depths[0]} layers, the other {depths[1]}")
        remedy = "merge models of one depth, or name the layers of each in slices"
    if all(any(".experts." in name for name in names) for names in (lacks, more)):
        parts.append("the two seem to hold the same experts in two layouts")
        remedy = "save both in one layout: save_pretrained(DIR, save_original_format=True), or False"
    return TensorSetMismatch(" and ".join(parts), where=model.path, remedy=remedy)


def _called(side: Checkpoint, other: Checkpoint) -> str:
    return apart(side.path.absolute(), other.path.absolute())


def _some(names: Sequence[str]) -> str:
    """Return how many names there are, and the first few."""
    shown = ", ".join(clean(name) for name in names[:_SHOWN])
    return f"{len(names)} tensors ({shown}{', ...' if len(names) > _SHOWN else ''})"


def _by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in reasons.items():
        found.setdefault(why, []).append(name)
    return found
