"""The inputs of a merge: what they say about themselves, how they relate to the base, and what became of which.

Declarations are read from cards, licence files and manifests, small and bounded; the weights are looked at only where a
base and a table of the family are there, and then at a few layers.  Inputs are hashed while they are merged; their
digests cannot be part of the plan that two runs must share.  So every unit records the digests of the tensors it read,
and a run that resumes redoes the units whose inputs are others now.  The result is that of an undisturbed run; where a
method looks at the whole model first (a cut over all tensors, a training), every unit records those of whole inputs.

    record of a unit = {"tensors": {name: [digest in every source, None where one lacks it]}, "models": [digest, ..]}
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from mergebarrier.checkpoint import LICENCE_FILES, Checkpoint, Writer
from mergebarrier.circuits import describe, require_same
from mergebarrier.errors import ArchError, LicenceRefused, RealignError
from mergebarrier.identity import matched
from mergebarrier.lineage import (
    ATTACK_TAG,
    COMPATIBLE,
    UNKNOWN,
    Conclusion,
    Declaration,
    Find,
    conclude,
    declared,
    has_words,
    inherited,
    refused,
)
from mergebarrier.realign import relation
from mergebarrier.run import Source
from mergebarrier.verbs.checks import MergeInput
from mergebarrier.verbs.folders import parts_of

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import Fate

_LICENCE_SIDE_FILES, _NOTICE, _OTHERS = (*LICENCE_FILES, "USE_POLICY.md"), "NOTICE", "THIRD_PARTY_LICENSES"
_READ_IT = "read that yourself, then mend or remove it"
_MOVED = (
    "is a protected relative of the base: its weights lie at cosine {before:.2f} to it as stored, {after:.2f} "
    "once coordinates are estimated, so this merge mixes coordinates; ask its owner, or see `mergebarrier realign`"
)
_UNRELATED = (
    "is not a fine-tune of this base: cosine {before:.2f} to it as stored, {after:.2f} at best; a merge of "
    "unrelated models answers nonsense"
)
_UNUSED: Mapping[str, str] = {
    "weight": "the recipe takes nothing from it",
    **dict.fromkeys(("buffer", "counter"), "the output has the donor's"),
    "statistic": "averaged over the experts alone",
}
_UNCLEAR = "lies far from the base: cosine {before:.2f}, and no symmetry that we know explains it"


def licence(source: Checkpoint) -> str:
    """Return the identifier of a model's licence, or "unknown", as where base and adapter have different ones."""
    found = {declared(part).licence for part in parts_of(source)}
    return found.pop() if len(found) == 1 else UNKNOWN


@dataclass(frozen=True)
class Judged:
    """What the inputs of a merge say about themselves, and what follows.

    Attributes:
      names, said:  of every input.
      conclusion:   about the licence of the merge.
      acknowledged: the wishes that are overridden, one line each.
    """

    names: tuple[str, ...]
    said: tuple[Declaration, ...]
    conclusion: Conclusion
    acknowledged: tuple[str, ...]

    def described(self) -> list[dict[str, object]]:
        """Return the part of the manifest about each input: its licence, and every other field that says something."""
        return [item.described() for item in self.said]

    def content(self) -> dict[str, object]:
        """Return the part of the manifest about the merge."""
        found = self.conclusion
        table: dict[str, object] = {"verdict": found.verdict, "licence": found.licence, "reason": found.reason}
        table["acknowledged"] = list(self.acknowledged)
        return {"licence": table, **({ATTACK_TAG: True} if any(item.attack for item in self.said) else {})}

    def warnings(self) -> list[str]:
        """Return a line for every input that says something a merger should hear."""
        lines = []
        pairs = [*zip(self.names, self.said, strict=True)]
        named = [f"{name}: {item.reason}; ask its owner" for name, item in pairs if item.name and item.reason]
        if self.conclusion.verdict != COMPATIBLE:
            reason = named[0] if named and self.conclusion.verdict == UNKNOWN else self.conclusion.reason
            lines.append(f"licence {self.conclusion.verdict}: {reason}")
        for name, item in pairs:
            if item.attack:
                lines.append(f"{name} is marked as made by an attack on merges; the output carries the mark")
            if item.protected:
                lines.append(f"{name} says that it is protected against merging; ask its owner")
        return lines


def judge(inputs: Sequence[MergeInput], *, acknowledged: bool, find: Find) -> Judged:
    """Read what the inputs of a merge say about themselves, and their parents that ``find`` has.

    Raises: LicenceRefused when a licence or an owner forbids the merge and the user has not ``acknowledged`` it.
    """
    names = tuple(item.name for item in inputs)
    sources = [item.checkpoint for item in inputs]
    given = [inherited(declared(one), one, find) if has_words(one.root) else (declared(one), []) for one in sources]
    said = tuple(item for item, _ in given)
    wishes = [(name, item.stops) for name, item in zip(names, said, strict=True) if item.stops]
    if wishes and not acknowledged:
        name, why = wishes[0]
        first = _READ_IT if why in [item.unread for item in said] else "leave it out or ask its owner"
        raise LicenceRefused(why, where=name, remedy=f"{first}; --acknowledge-licence merges all the same")
    barred = next((one for one in zip(names, said, strict=True) if one[1].no_derivatives), None)
    licences = [(name, item.licence) for name, item in zip(names, said, strict=True)]
    conclusion = conclude(licences + [parent for _, parents in given for parent in parents])
    if barred is not None and not conclusion.stops:
        conclusion = refused(barred[0], barred[1].no_derivatives)
    return Judged(names, said, conclusion, tuple(f"{name}: {why}" for name, why in wishes))


def licence_files(side_files: Mapping[str, bytes], inputs: Sequence[MergeInput], judged: Judged) -> dict[str, bytes]:
    """Return the side files of an output with the licence text that is its own, and texts and notices of all inputs.

    Its own comes from the first input under the licence that the merge takes; a merge without one gets none.  Every
    other text, which most licences ask to be passed on, stands once in a file beside it, under the names of its inputs.
    """
    kept = {name: data for name, data in side_files.items() if name not in (*_LICENCE_SIDE_FILES, _NOTICE, _OTHERS)}
    pairs = [(item.checkpoint, said.licence) for item, said in zip(inputs, judged.said, strict=True)]
    giver = next((source for source, found in pairs if found == judged.conclusion.licence and _texts(source)), None)
    if giver is not None:
        kept |= {name: giver.read_side_file(name) for name in _texts(giver)}
    others: dict[bytes, list[str]] = {}
    own = {data.strip() for data in kept.values()}
    for given, name in ((item, name) for item in inputs for name in _texts(item.checkpoint, _OTHERS)):
        if (text := given.checkpoint.read_side_file(name).strip()) not in own:
            others.setdefault(text, []).append(f"{given.name}: {name}")
    if others:
        kept[_OTHERS] = b"\n\n".join(", ".join(of).encode() + b"\n\n" + text for text, of in others.items()) + b"\n"
    notices = [source.read_side_file(_NOTICE) for source, _ in pairs if _NOTICE in source.side_files]
    if notices:
        kept[_NOTICE] = b"\n".join(dict.fromkeys(notices))
    return kept


def _texts(source: Checkpoint, *more: str) -> list[str]:
    return [name for name in (*_LICENCE_SIDE_FILES, *more) if name in source.side_files]


@dataclass(frozen=True)
class Relative:
    """How one expert of a merge relates to the base.

    Attributes:
      name:   of the expert.
      kind:   as ``realign.relation`` has it.
      before: kind of tensor -> cosine to the base as stored.
      after:  the same once coordinates are estimated.
      remark: what a merger should hear, without the name; None for an ordinary fine-tune.
    """

    name: str
    kind: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    remark: str | None

    def figures(self) -> dict[str, object]:
        """Return the part of the manifest about this expert."""
        return {"kind": self.kind, "before": dict(self.before), "after": dict(self.after)}


def relatives(inputs: Sequence[MergeInput], anchor: Checkpoint | None) -> list[Relative]:
    """Compare the experts of a merge with their base, or with ``anchor`` where that is not among the inputs.

    Nothing is said without a base, and where no table knows the family.
    """
    base = next((item.checkpoint for item in inputs if item.role == "base"), anchor)
    found, of_base = [], None
    for item in inputs if base is not None else ():
        expert = item.checkpoint
        if base is None or expert is base or item.role != "expert":
            continue
        try:
            same = expert.tensors.keys() == base.tensors.keys()
            architecture, anchored = describe(expert), base if same else matched(expert, base)
            of_base = of_base if same and of_base is not None else describe(anchored)
            require_same(architecture, of_base, where=base.path)
            of_base = of_base if same else None
            related = relation(architecture, expert, anchored)
        except (ArchError, RealignError):
            continue  # merging needs no table, this warning does
        before, after = (min(side.values(), default=0.0) for side in (related.before, related.after))
        text = {"protected": _MOVED, "unrelated": _UNRELATED, "unclear": _UNCLEAR}.get(related.kind)
        remark = None if text is None else text.format(before=before, after=after)
        found.append(Relative(item.name, related.kind, _rounded(related.before), _rounded(related.after), remark))
    return found


def fates(
    models: Sequence[Checkpoint], uses: Mapping[str, Sequence[tuple[Checkpoint, str]]], copied: Collection[str]
) -> "list[Fate]":
    """Say what became of every stored tensor of the models of a merge.

    Args:
      models: as they are merged, under the names of the output.
      uses:   tensor of the output -> the (model, name there) that it is made of, the donor first.
      copied: tensors of the output that are the donor's as they are.
    """
    used: dict[tuple[int, str], list[str]] = {}
    own: dict[str, tuple[int, int]] = {}
    for name, given in uses.items():
        parts = [(model.as_stored(), model.made_of(theirs)) for model, theirs in given[: 1 if name in copied else None]]
        own[name] = sum(all(source is model for source, _ in made_of) for model, made_of in parts), len(parts)
        for source, stored in dict.fromkeys(one for _, made_of in parts for one in made_of):
            used.setdefault((id(source), stored), []).append(name)
    return [_fate(model, used, own, copied) for model in models]


def _fate(
    model: Checkpoint,
    used: Mapping[tuple[int, str], list[str]],
    own: Mapping[str, tuple[int, int]],
    copied: Collection[str],
) -> "Fate":
    found: Fate = {"merged": 0, "averaged": {}, "renamed": {}, "copied": [], "left_out": {}}
    stored = model.as_stored()
    for name, info in stored.tensors.items():
        names = used.get((id(stored), name), [])
        some = next((own[one] for one in names if own[one][0] < own[one][1]), None)
        if not names:
            found["left_out"].setdefault(model.left_out.get(name) or _UNUSED[info.role], []).append(name)
        elif any(one in copied for one in names):
            found["copied"].append(name)
        elif some is not None:
            found["averaged"][name] = some
        elif name not in names:
            found["renamed"][name] = names
        else:
            found["merged"] += 1
    return found


def _rounded(cosines: Mapping[str, float]) -> dict[str, float]:
    return {kind: round(value, 3) + 0.0 for kind, value in cosines.items()}


@runtime_checkable
class _Hashed(Protocol):
    def digest(self, name: str, hashing: str, /) -> str | None: ...


class InputRecordingSink:
    """The writer of a merge, as the executor's sink; what an unhashed source made is never taken over."""

    def __init__(self, writer: Writer, sources: Sequence[Source], models: Sequence[str]) -> None:
        """Watch what is written from these sources; ``models`` are digests that every unit depends on."""
        self._writer, self._sources, self._models = writer, sources, [*models]

    def done(self, unit_name: str) -> bool:
        """True when the unit is finished and its inputs are still the same."""
        if self._writer.finished:
            return True
        made_of = self._writer.made_of(unit_name)
        return made_of is not None and made_of == self._made_of([*made_of["tensors"]])

    def put(self, name: str, tensor: Tensor) -> None:
        """Take a whole tensor."""
        self._writer.put(name, tensor)

    def put_rows(self, name: str, start_row: int, tensor: Tensor) -> None:
        """Take rows of a tensor."""
        self._writer.put_rows(name, start_row, tensor)

    def finish(self, unit_name: str, names: Sequence[str]) -> None:
        """Record the unit with the digests of what it read."""
        self._writer.finish(unit_name, names, self._made_of(names))

    def _made_of(self, names: Sequence[str]) -> dict[str, object] | None:
        """Return the record of a unit; None where what a source gives has no digest."""
        found: dict[str, list[str | None]] = {name: [] for name in names}
        for source in self._sources:
            if not isinstance(source, _Hashed):
                return None
            for name in names:
                present = name in source.tensors
                digest = source.digest(name, self._writer.hashing) if present else None
                if present and digest is None:
                    return None
                found[name].append(digest)
        return {"tensors": found, "models": self._models}
