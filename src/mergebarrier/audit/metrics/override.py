"""Two checks that every trained protection owes: the protected model answers as before, and its training alone does not
break merges.

    override   share of the partner's prompts that P answers as the unprotected expert does, without any merge  >= 0.95
    matched    RUF of a twin trained for as many steps on the same data without the protecting term             >= 0.9

A trap can learn to answer wrongly to prompts of other domains; every merge then looks broken, and so does the model.
A protection whose twin breaks as well protects by having been trained, not by its term.  Source: ours, on toys.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mergebarrier.results import Control, thresholds

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from mergebarrier.evaluate import TaskRow

#: Share of prompts that must be answered alike.
ANSWERED_ALIKE = 0.95


def alike(protected: "nn.Module", unprotected: "nn.Module", tokenizer: "Tokenizer", rows: "Sequence[TaskRow]") -> float:
    """Return the share of answer tokens of another task that a protected model says as the unprotected expert does.

    Args:
      protected:   the protected model.
      unprotected: what it was made from.
      tokenizer:   of both.
      rows:        of the partner's task; their answers are read and not scored.
    """
    import torch

    from mergebarrier.evaluate import answer_logits

    same = total = 0
    with torch.no_grad():
        for row in rows:
            (ours,), _ = answer_logits(protected, tokenizer, [row])
            (theirs,), _ = answer_logits(unprotected, tokenizer, [row])
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            total += len(ours)
    return same / max(1, total)


def override(share: float) -> Control:
    """Judge such a share."""
    return Control(
        passed=share >= ANSWERED_ALIKE,
        figure=share,
        relation=">=",
        bound=ANSWERED_ALIKE,
        says="On prompts of the partner's task the protected model answers as the unprotected expert does, without any "
        "merge: it is not a model that was changed elsewhere.",
    )


def matched_control(reached: float) -> Control:
    """Judge the RUF of a twin: the same training without the protecting term must still merge."""
    return Control(
        passed=reached >= thresholds.BROKEN_AT,
        figure=reached,
        relation=">=",
        bound=thresholds.BROKEN_AT,
        says="A twin trained for as many steps on the same data, without the protecting term, still merges: what "
        "protects is the term.",
    )
