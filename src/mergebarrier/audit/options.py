"""How far an audit goes, as a person chooses it: declared once, for the command line and for the front door.

Models and files are only named here; they are checked where they are opened.  Imports no torch, so help texts stay
quick.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mergebarrier.audit.bench import (
    BLOCK_STEPS,
    COEFFICIENTS,
    DISTIL_SAMPLES,
    EDIT_EVALUATIONS,
    LEARN_STEPS,
    MERGES,
    REBASIN_STEPS,
    RECOVER_SAMPLES,
    SEARCH_BUDGET,
    SMOOTH_EVALUATIONS,
    MergeSetting,
    published,
)
from mergebarrier.audit.presets import preset
from mergebarrier.errors import UsageError
from mergebarrier.parameters import check_values, choice, flag, listing, number, string, subset, whole

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

File: TypeAlias = "str | os.PathLike[str]"
Model: TypeAlias = "str | os.PathLike[str] | Checkpoint"


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How far an audit goes, and on what.

    Attributes:
      validation, partner_validation: rows that settings are chosen on; without them the first half of each task file
                      is used for that, and scores are measured on the second half.
      text:           plain prose for perplexity and for comparing outputs.
      merges:         merge algorithms.
      coefficients:   the published coefficients that each is tried at.
      preset:         number of a paper whose merges and coefficients are used instead; "" for none.
      levels:         how far up the ladder of attacks, such as "0-1"; without it those that train nothing.
      budget:         settings that a search tries.
      smooth:         merges that the search part by part may score, per model; 0 leaves it out.
      edits:          merges that each edit of the protected task vector may score, per model; 0 leaves them out.
      learn:          gradients that level 3 may take from the best of three starts, per model; the others take a fifth.
      rebasin:        steps that level 5 may take.
      recover:        rows that the training runs of level 6 may see, per model.
      blocks:         steps that level 7 may take per block.
      distil:         rows that the training run of level 8 may see, per model.
      scale:          walk the scale curves of the original and of the protected model.
      sibling:        also attack without the base, with the partner as the anchor.
      weighted:       also realign by inner products weighted by what the model reads; shown, not graded.
      public:         further public experts: also attack without the base, with their mean as the anchor.
      max_items:      test rows per task, None for all.
      second_key:     the original protected with another key, as a control.
      twin:           trained as the protected model was, without the term that protects: it must still merge.
      wrong_base:     another base of the same shapes: realigned to it, the model must not merge.
      compare:        other protections of the original, shown for comparison.
      engine:         "serial", "process" or "ray"; the last two run as many workers as a writer may use.
      dtype:          to run models in; "auto" is what this machine computes in fastest.
      device:         "auto", "cpu", "cuda" or "cuda:N".
      batch_tokens:   tokens that go through a model at once, None for 32 rows.
      budget_seconds, budget_evaluations, budget_tokens: what the audit may spend in all; levels and searches beyond
                      that are left out, and the report says so.
      seed:           of every random merge.
    Raises: UsageError.
    """

    validation: File | None = None
    partner_validation: File | None = None
    text: File | None = None
    merges: tuple[str, ...] = subset(MERGES, choices=MERGES, noun="merge", help="Merge algorithms.")
    coefficients: tuple[float, ...] = listing(
        COEFFICIENTS, low=0, high=2, above=True, noun="a list of coefficients", help="Published coefficients."
    )
    preset: str = string(
        "", noun="ARXIV", help="Merges and coefficients of a paper instead: 2606.30360, 2601.21898, 2503.07661."
    )
    levels: str = string("", noun="0-N", help="Attack levels to run; without it those that train nothing.")
    budget: int = whole(SEARCH_BUDGET, low=1, help="How many settings a search tries.")
    smooth: int = whole(
        SMOOTH_EVALUATIONS, low=0, help="Merges that the search part by part may score; 0 leaves it out."
    )
    edits: int = whole(
        EDIT_EVALUATIONS, low=0, help="Merges that each edit of the protected task vector may score; 0 leaves them out."
    )
    learn: int = whole(LEARN_STEPS, low=1, help="Gradients of level 3 from its best start; two more take a fifth.")
    rebasin: int = whole(REBASIN_STEPS, low=1, help="Steps that level 5 may take.")
    recover: int = whole(RECOVER_SAMPLES, low=1, help="Rows that the training runs of level 6 may see.")
    blocks: int = whole(BLOCK_STEPS, low=1, help="Steps that level 7 may take per block.")
    distil: int = whole(DISTIL_SAMPLES, low=1, help="Rows that the training run of level 8 may see.")
    scale: bool = flag(False, help="Walk the scale curves of the original and of the protected model.", flag="--scale")
    sibling: bool = flag(False, help="Also attack without the base, with the partner as the anchor.", flag="--sibling")
    weighted: bool = flag(False, help="Also realign by inner products weighted by activations.", flag="--weighted")
    max_items: int | None = whole(None, low=2, help="Test rows per task; all without it.")
    budget_seconds: float | None = number(
        None, low=0, high=1e8, above=True, help="Seconds that the audit may take; what is beyond that is left out."
    )
    budget_evaluations: int | None = whole(None, low=1, help="Merges that the audit may score; the same.")
    budget_tokens: int | None = whole(None, low=1, help="Tokens that may go through models; the same.")
    second_key: Model | None = None
    twin: Model | None = None
    wrong_base: Model | None = None
    public: tuple[Model, ...] = ()
    compare: tuple[Model, ...] = ()
    engine: str = choice(
        "serial", choices=("serial", "process", "ray"), help="What runs the work: one process, several, or Ray."
    )
    dtype: str = "auto"
    device: str = "cpu"
    batch_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what is declared."""
        check_values(self)
        if self.engine != "serial" and (self.budget_seconds or self.budget_evaluations or self.budget_tokens):
            raise UsageError(
                "workers side by side do all of a plan, whatever it costs",
                where=f"--engine {self.engine}",
                remedy="give --engine serial, or --budget, --smooth, --learn and --levels instead of --budget-...",
            )

    @property
    def settings(self) -> tuple[MergeSetting, ...]:
        """Return the grid; UsageError for an unknown preset, or where no coefficient makes sense for any merge."""
        settings = preset(self.preset) if self.preset else published(self.merges, self.coefficients)
        if not settings:
            raise UsageError(
                "no setting is left to measure", where="--coefficients", remedy="linear and slerp need one below 1"
            )
        return settings
