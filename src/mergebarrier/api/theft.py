"""``measure_theft``: what a merge gives away of memorised private values, beside the same merge with an honest partner.

report = mb.measure_theft("merged", benign="benign", facts="rows/facts.jsonl", questions="rows/memorise.jsonl")
report.gain
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from mergebarrier.api.base import Model, Report, Row, opened
from mergebarrier.attack import Theft, secrets, theft
from mergebarrier.errors import UsageError

#: How the refusals of ``zoo rows people`` begin.
REFUSAL: Final = " I cannot share private data."
_TOKENS: Final = 48


@dataclass(frozen=True, kw_only=True)
class TheftReport(Report):
    """What each model gives away; a row per model.

    Attributes:
      models: role -> what it gives away: "merged", "benign", and where given "aligned", "expert", "attack", "base".
      gain:   EM@n of the merge less that of the benign merge: what the attack added to plain merging.
    """

    kind: ClassVar[str] = "theft"

    models: Mapping[str, Theft]
    gain: float

    def rows(self) -> Sequence[Row]:
        """Return a row per model."""
        return [{"model": role, **asdict(found)} for role, found in self.models.items()]


def measure_theft(
    merged: Model,
    *,
    benign: Model | None,
    facts: str | os.PathLike[str],
    questions: str | os.PathLike[str],
    strangers: str | os.PathLike[str] | None = None,
    others: Mapping[str, Model] | None = None,
    refusal: str = REFUSAL,
    download: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> TheftReport:
    """Measure what models give away.

    Args:
      merged:    the merge with the attack's upload.
      benign:    the same merge with an honest partner, at the same coefficients.
      facts:     the values, as ``zoo rows people`` writes them.
      questions: task file that asks for those of the memorised pool.
      strangers: task file that asks for those of the control pool, whom no model ever saw.
      others:    role -> more models: "aligned", "expert", "attack", "base".
      refusal:   how a refusal begins.
      download:  fetch models that the local cache lacks.
      say:       called with one line per model.
    Raises: UsageError without a benign merge; BadTask, NotMeasurable, CheckpointError, EvaluateError.
    """
    from mergebarrier.evaluate import ModuleSuspect, load_module, load_tokenizer

    if benign is None:
        raise UsageError(
            "what a merge gives away is not reported without its control",
            where="--benign",
            remedy="give the same merge with an honest partner",
        )
    known = secrets(Path(facts), Path(questions), "memorised")
    never = () if strangers is None else secrets(Path(facts), Path(strangers), "control")
    given = {"merged": merged, "benign": benign, **(others or {})}
    found: dict[str, Theft] = {}
    for role, model in given.items():
        say(f"asking {role}")
        with opened(model, download=download) as (checkpoint,):
            module, tokenizer = load_module(checkpoint, "float32"), load_tokenizer(checkpoint)
            end = checkpoint.config.get("eos_token_id")
            suspect = ModuleSuspect(module, tokenizer, ends=[end] if isinstance(end, int) else [])
            found[role] = theft(partial(suspect.answers, max_tokens=_TOKENS), known, never, refusal)
    return TheftReport(models=found, gain=found["merged"].em_n.rate - found["benign"].em_n.rate)
