"""What every trained protection reports about itself, before anybody attacks it.

    cost        loss, share of right answers, loss on text:  plain expert, protected, matched control
    override    share of tokens that the plain expert would also say, on text and on prompts nobody trained on  >= .95
    displaced   |W - W0| / |W0| of the tensors that were trained
    rounded     the loss after rounding to int8 and int4, in groups of 32
    scales      the loss at W0 + s tau
    work        steps, tokens and FLOPs of the protector: 2 N a token that is read, 6 N a token that is learned from

The matched control is the same run with strength 0: what it breaks as well is not broken by the protecting term.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from torch import Tensor

from mergebarrier.training import (
    ChosenRows,
    Point,
    ProtectiveOutcome,
    ProtectiveState,
    RoundedWeights,
    Standing,
)

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import Cost, TrainedFigures

SCALES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5)
BITS: Final = (8, 4)
#: Share of tokens that must be answered alike.
ANSWERED_ALIKE: Final = 0.95
_ROWS: Final = 32

Vector = Mapping[str, Tensor]


def figures(
    state: ProtectiveState,
    vectors: Mapping[str, Vector],
    outcome: ProtectiveOutcome,
    forms: Mapping[str, Vector],
    n_weights: int,
) -> "TrainedFigures":
    """Measure.

    Args:
      state:     the learner; nothing is trained.
      vectors:   "plain", "protected" and "control" -> task vector.
      outcome:   of the protecting run.
      forms:     name -> further vectors whose cost is reported.
      n_weights: of the model.
    Returns: JSON data, rounded to four digits.
    """
    work = {"steps": state.steps, "tokens_read": state.tokens_read, "tokens_learned": state.tokens_learned}
    work["flops"] = 2 * n_weights * state.tokens_read + 6 * n_weights * state.tokens_learned
    held = ChosenRows("validation", tuple(range(min(_ROWS, state.learner.sizes["validation"]))))
    return {
        "cost": {
            name: _standing(state.standing_of_expert() if name == "plain" else state.standing(tau))
            for name, tau in vectors.items()
        },
        "override": {
            part: _alike(state, vectors["protected"], part)
            for part in ("text", "novel")
            if state.learner.sizes.get(part, 0)
        },
        "displaced": {name: _displaced(state, tau) for name, tau in vectors.items()},
        "rounded": {
            f"int{bits}": {
                name: _rounded(state.loss_of(tau, Point(noise=RoundedWeights(bits=bits)), held))
                for name, tau in vectors.items()
            }
            for bits in BITS
        },
        "scales": {
            "s": list(SCALES),
            **{
                name: [_rounded(state.loss_of(tau, Point(scale=s), held)) for s in SCALES]
                for name, tau in vectors.items()
            },
        },
        "forms": {name: _standing(state.standing(tau)) for name, tau in forms.items()},
        "work": work,
        "strength": _rounded(outcome.strength),
        "good_step": outcome.good_step,
        "looks": [{name: _rounded(value) for name, value in look.items()} for look in outcome.history],
    }


def _alike(state: ProtectiveState, tau: Vector, part: str) -> float:
    rows = ChosenRows(part, tuple(range(state.learner.sizes[part])))
    ours, theirs = (state.said_by(one, rows).argmax(-1) for one in (tau, state.expert))
    return _rounded(float((ours == theirs).float().mean()))


def _displaced(state: ProtectiveState, tau: Vector) -> dict[str, float]:
    shares = [
        float(value.norm() / state.base[name].float().norm().clamp_min(1e-12))
        for name, value in tau.items()
        if value.dim() > 1
    ]
    return {
        "least": _rounded(min(shares, default=0.0)),
        "mean": _rounded(sum(shares) / max(1, len(shares))),
        "most": _rounded(max(shares, default=0.0)),
    }


def _standing(now: Standing) -> "Cost":
    found: Cost = {"loss": _rounded(now.loss), "right": _rounded(now.right)}
    if now.text is not None:
        found["text"] = _rounded(now.text)
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
