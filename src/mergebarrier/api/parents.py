"""``provenance_parents``: what was merged into a suspect, with which shares, and by which recipe.

report = mb.provenance_parents("suspect", base="base", candidates=["ours", "theirs"], nulls=["unrelated"])
report.candidates[0].share, report.same_frac, report.recipe_yaml
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier import verbs
from mergebarrier.api.base import (
    EvidenceFinding,
    Model,
    ProvenanceEvidence,
    ProvenanceInput,
    Row,
    Said,
    command_line,
    p_value,
    resolve,
    shown,
)
from mergebarrier.checkpoint import Checkpoint
from mergebarrier.errors import UsageError
from mergebarrier.numerics import LEAST_TAIL, stated
from mergebarrier.progress import Progress
from mergebarrier.provenance import (
    RESOLUTION,
    CandidateShare,
    MergeAnatomy,
    ParentsOptions,
    ReplayedRecipe,
    Unexplained,
)

_CLAIM: Final = "the suspect's change from the base holds a share of a candidate's change, as a merge of it would"
_ASSUMED: Final = (
    "the base is the one that the suspect and all candidates were made from",
    "an unknown parent is no more like an absent candidate than candidates and references are like each other",
    "errors are normal, with a deviation of half the interval over 1.96",
)
_NOT_PROVED: Final = (
    "who merged, when, and whether it was allowed",
    "that a candidate was used rather than a model made from it, one that it was made from, or a merge of the same",
    "anything about what is unexplained: its norm is known and no share of it",
    "that shares are exact where the recipe is not settled: intervals then rest on how little is unexplained",
)


#: What a p rests on, and where it ends.
_RESOLUTION: Final = (
    f"it is the tail of a normal distribution as wide as the interval, above what an absent candidate could inherit; "
    f"nothing is counted so far out, which makes the tail an assumption, so no p below {LEAST_TAIL:g} is stated"
)


_SHOWN: Final = {True: "shown", False: "not shown"}


@dataclass(frozen=True, kw_only=True)
class ParentsReport(ProvenanceEvidence):
    """What a suspect is made of.

    Attributes:
      declared:    names of the candidates that are declared parents at the level; none where ``spoilt``.
      level:       of that.
      candidates:  shares with intervals of 95 %, p-values, and what an absent candidate could show; references too.
      recipe:      whose replay comes nearest; ``settled`` when it leaves next to nothing.
      settled:     whether method and shares are as good as known.
      same_frac:   share of sampled entries that the replay gives bit for bit; of random masks, that some mask gives.
      by_chance_frac: of the same, what the base gives, or shuffled changes.
      left:        |replay - suspect|^2 over |suspect - base|^2.
      unexplained: norm of what is left once rounding is taken off.
      by_depth:    shares in each third of the tensors.
      dtype:       that the suspect is stored in.
      recipe_yaml: as mergekit reads it.
      tensors, entries: looked at.
      realigned:   models that were written in other coordinates.
    """

    kind: ClassVar[str] = "parents"

    declared: tuple[str, ...]
    level: float
    candidates: tuple[CandidateShare, ...]
    recipe: ReplayedRecipe
    settled: bool
    same_frac: float
    by_chance_frac: float
    left: float
    unexplained: Unexplained
    by_depth: tuple[tuple[float, ...], ...]
    dtype: str
    recipe_yaml: str
    tensors: int
    entries: int
    realigned: tuple[str, ...]

    @property
    def spoilt(self) -> str:
        """Return a model that is known to be no parent and shows as much as one, which speaks against all; or ""."""
        return _spoilt(self.candidates, self.level)

    def rows(self) -> Sequence[Row]:
        """Return one row per candidate."""
        return [vars(one) for one in self.candidates]

    def said(self) -> Said:
        """Return what the statement says."""
        suspect = self.inputs[1].name
        settled = "settled" if self.settled else "the nearest, not settled"
        common = (
            ("recipe", f"{self.recipe.method}, density {self.recipe.density:g}: {settled}"),
            ("entries that its replay gives", f"{self.same_frac:.2%}, {self.by_chance_frac:.2%} by chance"),
            ("not explained", f"{self.unexplained.share:.1%} of the change in norm"),
            *(
                (f"{one.name}, known to be none", f"share {one.share:.3f}, {p_value(one.p, tail=True)} alone")
                for one in self.candidates
                if one.reference
            ),
        )  # fmt: skip
        why = f": {self.spoilt}, known to be none, shows as much" if self.spoilt else ""
        findings = tuple(
            EvidenceFinding(
                about=one.name,
                says=f"a share of {one.name}'s change is {_SHOWN[one.name in self.declared]} in {suspect}{why}",
                holds=one.name in self.declared,
                p=one.adjusted,
                tail=True,
                figures=(
                    ("share", f"{one.share:.3f}, 95 % interval {one.low:.3f} to {one.high:.3f}"),
                    ("an absent candidate could show", f"{one.inherited:.3f}"),
                    ("standard errors above that", f"{one.z:.1f}"),
                    ("p alone", p_value(one.p, tail=True)),
                    *common,
                ),
            )
            for one in self.candidates
            if not one.reference
        )
        null = (
            "the chance that a candidate with no part in the merge shows such a share, given what it could inherit "
            "from a parent that is not among the candidates; adjusted for all candidates by Holm"
        )
        return Said(title="Parents of a merge", null=null, level=self.level, findings=findings)


def provenance_parents(
    suspect: Model,
    *,
    base: Model,
    candidates: Iterable[Model],
    nulls: Iterable[Model] = (),
    options: ParentsOptions | None = None,
    workers: int = 1,
    download: bool = False,
    progress: Progress | None = None,
) -> ParentsReport:
    """Find what was merged into a model.

    Args:
      suspect:    as ``resolve`` reads it.
      base:       of the suspect and of all candidates.
      candidates: models that may be parents; an adapter folder is put on the base as a merger would.
      nulls:      models of the same base that are known to be no parents; they show what such a model inherits.
      options:    level and seed.
      workers:    threads of a realignment.
      download:   fetch models that the local cache lacks.
      progress:   called with (tensors done, tensors in all).
    Raises: UsageError without a candidate; NotIdentified, BaseMismatch, CheckpointError.
    """
    options, given, known = options or ParentsOptions(), tuple(candidates), tuple(nulls)
    if not given:
        raise UsageError("parents are looked for among candidates", where="--candidate", remedy="give at least one")
    with ExitStack() as stack, shown(progress, "reading") as step:
        folders = verbs.Models(stack)
        anchor = folders.model(resolve(base, download=download))
        ours, *others = (folders.model_on(resolve(one, download=download), anchor) for one in (suspect, *given, *known))
        roles = ["suspect", *["candidate"] * len(given), *["null"] * len(known)]
        names = _names(others)
        found = verbs.parents(
            ours,
            anchor,
            list(zip(names[: len(given)], others, strict=False)),
            list(zip(names[len(given) :], others[len(given) :], strict=True)),
            options,
            workers=workers,
            progress=step,
        )
        models = [("base", anchor), *zip(roles, (ours, *others), strict=True)]
        inputs = tuple(
            ProvenanceInput(role=role, name=one.name, content_digest=one.content_digest()) for role, one in models
        )
    anatomy = found.anatomy
    flags = {"--base": base, "--candidate": given, "--null": known}
    return ParentsReport(
        declared=()
        if _spoilt(anatomy.candidates, options.level)
        else tuple(one.name for one in anatomy.candidates if not one.reference and one.adjusted <= options.level),
        level=options.level,
        recipe_yaml=_yaml(anatomy, anchor.name),
        realigned=found.realigned,
        claim=_CLAIM,
        assumed=_ASSUMED,
        not_proved=_NOT_PROVED,
        resolution=_resolution(anatomy.candidates),
        command=command_line("provenance parents", suspect, flags, options),
        inputs=inputs,
        **{
            **vars(anatomy),
            "candidates": tuple(
                replace(one, p=stated(one.p), adjusted=stated(one.adjusted)) for one in anatomy.candidates
            ),
        },
    )  # fmt: skip


def _resolution(candidates: Sequence[CandidateShare]) -> str:
    """Return how small a p can be, and what was counted: models that are known to be none."""
    known = sum(one.reference for one in candidates)
    if not known:
        return f"{_RESOLUTION}; no model that is known to be none was given, so nothing was counted"
    models = "model is" if known == 1 else "models are"
    return f"{_RESOLUTION}; {known} {models} known to be none: by count alone p is not below {1 / (known + 1):.2g}"


def _spoilt(candidates: Sequence[CandidateShare], level: float) -> str:
    return next((one.name for one in candidates if one.reference and one.p <= level), "")


def _names(models: Sequence[Checkpoint]) -> list[str]:
    """Name models, two of one name by their folders too."""
    names = [model.name for model in models]
    return [
        name if names.count(name) == 1 else "/".join(Path(model.path).parts[-2:])
        for name, model in zip(names, models, strict=True)
    ]


def _yaml(anatomy: MergeAnatomy, base: str) -> str:
    """Return the recipe as mergekit reads it; random masks come without their seed."""
    import yaml

    recipe = anatomy.recipe
    density = {"density": recipe.density} if recipe.density < 1 else {}
    used = [one for one in anatomy.candidates if abs(one.share) >= RESOLUTION]
    document = {
        "merge_method": recipe.method,
        "base_model": base,
        "models": [
            {"model": one.name, "parameters": {"weight": round(one.share, 3), **density}} for one in used
        ],
        "parameters": {"normalize": recipe.mean},
        "dtype": anatomy.dtype if recipe.stepwise else "float32",
        "out_dtype": anatomy.dtype,
    }  # fmt: skip
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text
