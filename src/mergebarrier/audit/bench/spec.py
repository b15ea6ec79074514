"""What to audit, and on which grid: the published settings of every merge, and the settings that a search may try.

    published coefficient c:  linear (c, 1 - c); slerp t = 1 - c; task vectors: lambda = c, weights 1
    search (l_P, l_O):        base + l_P tau_protected + l_O tau_partner, with and without trimming

At c = 1 linear and slerp return the protected model itself, so these two cells are left out.  The search reaches
l_P = 1 with small l_O, where a protection that leaves circuits untouched merges without any attack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.merge import Merge

MERGES = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp")
COEFFICIENTS = (0.3, 0.5, 0.7, 1.0)
POINTS = 11
_TIES_DENSITY, _DARE_DENSITY = 0.2, 0.5
#: What an audit grants a model: settings of a search, merges of the search part by part, those of each edit, gradients
#: of the best of three starts of level 3, steps of level 5, rows that a training run of level 6 sees, steps of a block
#: of level 7, rows of level 8.
SEARCH_BUDGET, SMOOTH_EVALUATIONS, EDIT_EVALUATIONS = 16, 48, 2
LEARN_STEPS, REBASIN_STEPS, RECOVER_SAMPLES, BLOCK_STEPS, DISTIL_SAMPLES = 60, 40, 1000, 40, 1000
_SEARCH_PROTECTED = (1.0, 0.85, 0.7, 0.5, 0.3, 0.1)
_SEARCH_PARTNER = (0.5, 0.3, 0.7, 1.0, 0.2, 0.1, 1.2)
#: Corners where traps and displaced weights are stepped around: little of the one, much of the other.
_SEARCH_FAR = ((0.1, 1.0), (0.1, 0.7), (0.3, 1.2), (1.0, 0.1))


@dataclass(frozen=True)
class MergeSetting:
    """A merge algorithm with its coefficients: ``coefficient``, or one each for ``protected`` and ``partner``."""

    merge: str
    coefficients: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """Return the setting in a few words."""
        values = " / ".join(f"{value:g}" for _, value in self.coefficients)
        return f"{self.merge} {values}"

    def method(self, seed: int) -> "Merge":
        """Build the merge; BadMergeParameter for an unknown name."""
        from mergebarrier.merge import make

        return make(self.merge, **self._parameters(seed))

    def _parameters(self, seed: int) -> Mapping[str, object]:
        given = dict(self.coefficients)
        thin = {"ties": {"density": _TIES_DENSITY}}
        thin |= {name: {"density": _DARE_DENSITY, "seed": seed} for name in ("dare_linear", "dare_ties")}
        if "coefficient" not in given:
            weights = {"weights": (given["protected"], given["partner"])}
            # A weighted mean would divide the coefficients away.
            return weights | thin.get(self.merge, {}) | ({"reduce": "sum"} if self.merge == "ties" else {})
        c = given["coefficient"]
        if self.merge == "linear":
            return {"weights": (c, 1.0 - c)}
        if self.merge == "slerp":
            return {"t": 1.0 - c}
        return {"coefficient": c} | thin.get(self.merge, {})


def published(merges: Sequence[str] = MERGES, coefficients: Sequence[float] = COEFFICIENTS) -> tuple[MergeSetting, ...]:
    """Return the grid of level 0: every merge at every coefficient that makes sense for it."""
    return tuple(
        MergeSetting(merge, (("coefficient", float(c)),))
        for merge in merges
        for c in coefficients
        if not (merge in ("linear", "slerp") and c >= 1.0)
    )


def searched(budget: int) -> tuple[MergeSetting, ...]:
    """Return the first ``budget`` settings of the search: a coarse grid, its corners, then its refinement."""
    pairs = [(ours, theirs) for theirs in _SEARCH_PARTNER for ours in _SEARCH_PROTECTED]
    coarse = [pair for pair in pairs if pair[0] in (1.0, 0.7) and pair[1] in (0.5, 0.3, 1.0)]
    rest = [pair for pair in pairs if pair not in (*coarse, *_SEARCH_FAR)]
    ordered = []
    for number, pair in enumerate((*coarse, *_SEARCH_FAR, *rest)):
        ordered.append(("task_arithmetic", pair))
        # Every fourth is also tried with trimming and sign election.
        ordered += [("ties", pair)] if number % 4 == 2 else []
    return tuple(MergeSetting(merge, (("protected", p), ("partner", o))) for merge, (p, o) in ordered[:budget])


@dataclass(frozen=True, kw_only=True)
class AuditSpec:
    """Everything that an audit depends on.

    Args:
      protected, original, base, partner: model folders, or opened models.
      task, partner_task:      test rows of the protected expert's and of the partner's task.
      validation, partner_validation: rows that settings are chosen on; without them the first half of each task file is
                               used for that, and scores are measured on the second half.
      text:                    plain prose for perplexity and for comparing outputs; without it the test rows serve, and
                               no perplexity is given.
      settings:                the grid of level 0.
      levels:                  rising from 0; none for those that train nothing.
      search_budget:           settings that the search of level 1, and of levels above it, may try, per model.
      smooth_evaluations:      merges that the search part by part may score, per model; 0 leaves it out.
      edit_evaluations:        merges that each edit of the protected task vector may score; 0 leaves the edits out.
      learn_steps:             gradients that level 3 may take from the best of its three starts, per model; the others
                               take a fifth each.
      rebasin_steps:           steps that level 5 may take.
      recover_samples:         rows that the training runs of level 6 may see, per model.
      block_steps:             steps that level 7 may take per block.
      distil_samples:          rows that the training run of level 8 may see, per model.
      scale:                   walk the scale curves of the original and of the protected model.
      sibling:                 also attack without the base, with the partner as the anchor.
      weighted:                also realign with inner products weighted by what the model reads.
      publics:                 further public experts of the base: also attack with their mean as the anchor.
      max_items:               test rows used per task, None for all; ``search_items`` the same for validation rows.
      barrier_items, points:   rows and points of the curves.
      text_tokens, compare_tokens: tokens for perplexity and for comparing outputs.
      aga_settings:            how many settings are repeated on the model that the published attack recovers.
      second:                  the same original protected with another key, for the control of two keys.
      twin:                    trained as the protected model was, without the term that protects, for that control.
      wrong_base:              another base of the same shapes, for the control that only the right one helps.
      comparisons:             other protections of the same original, shown at task arithmetic with coefficient 1.
      dtype:                   of weights and arithmetic while scoring; "auto" is what this machine computes in fastest.
      device:                  where models run: "auto", "cpu", "cuda" or "cuda:N".
      batch_tokens:            tokens that go through a model at once, None for 32 rows.
      seed:                    of random merges.
      budget_seconds, budget_evaluations, budget_tokens: what the audit may spend; parts beyond that are left out.
      work:                    folder for the models that are realigned.
      workers:                 threads of a merge; never changes a figure.
      max_ram_bytes:           budget for the tensors of a merge and of a realignment, None for the default.
    """

    protected: "Path | Checkpoint"
    original: "Path | Checkpoint"
    base: "Path | Checkpoint"
    partner: "Path | Checkpoint"
    task: Path
    partner_task: Path
    work: Path
    validation: Path | None = None
    partner_validation: Path | None = None
    text: Path | None = None
    settings: tuple[MergeSetting, ...] = field(default_factory=published)
    levels: tuple[int, ...] = ()
    search_budget: int = SEARCH_BUDGET
    smooth_evaluations: int = SMOOTH_EVALUATIONS
    edit_evaluations: int = EDIT_EVALUATIONS
    learn_steps: int = LEARN_STEPS
    rebasin_steps: int = REBASIN_STEPS
    recover_samples: int = RECOVER_SAMPLES
    block_steps: int = BLOCK_STEPS
    distil_samples: int = DISTIL_SAMPLES
    scale: bool = False
    sibling: bool = False
    weighted: bool = False
    publics: "tuple[Path | Checkpoint, ...]" = ()
    max_items: int | None = None
    search_items: int | None = 64
    barrier_items: int = 32
    points: int = POINTS
    text_tokens: int = 4096
    compare_tokens: int = 1024
    aga_settings: int = 6
    second: "Path | Checkpoint | None" = None
    twin: "Path | Checkpoint | None" = None
    wrong_base: "Path | Checkpoint | None" = None
    comparisons: "tuple[Path | Checkpoint, ...]" = ()
    dtype: str = "auto"
    device: str = "cpu"
    batch_tokens: int | None = None
    seed: int = 0
    budget_seconds: float | None = None
    budget_evaluations: int | None = None
    budget_tokens: int | None = None
    workers: int = 1
    max_ram_bytes: int | None = None
