"""Models by themselves: is the protected one still the original, and what does the attacker hold after realigning it?

Outputs are compared in float32, where only the protection shows, and in bfloat16, next to the noise of bfloat16 itself.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from mergebarrier.audit.bench import OURS, Bench, Figures, Identity
from mergebarrier.results import Alone, Closeness, Recovered, Skill, Standalone

if TYPE_CHECKING:
    from torch import nn

    from mergebarrier.evaluate import Equality


def standalone(bench: Bench, text: str | None) -> Standalone:
    """Compare the protected model with the original.

    Args:
      bench: holds both.
      text:  plain prose, None where none was given.
    """
    original, protected = (alone(bench, role, text) for role in ("original", "protected"))
    found = bench.measure(
        "outputs", "protected against original", _identity(bench, "protected", text), _all(bench, text)
    )
    exact, half, floor = (_closeness(found.figures, name) for name in ("float32", "bfloat16", "floor"))
    return Standalone(
        original=original,
        protected=protected,
        max_rel_logit_error=exact.max_rel_logit_error,
        kl_nats=exact.kl_nats,
        top1_agreement=exact.top1_agreement,
        tokens=exact.tokens,
        bfloat16=half,
        bfloat16_floor=floor,
    )


def recovered(bench: Bench, role: str, text: str | None, *, preserves_function: bool) -> Recovered:
    """Compare a realigned model with the protected one, in float32."""

    def compute() -> Figures:
        modules = [_module(bench, side, "float32") for side in ("protected", role)]
        return _figures("float32", _compare(bench, modules[0], modules[1], text))

    found = bench.measure("outputs in float32", f"{role} against protected", _identity(bench, role, text), compute)
    return Recovered(
        alone=alone(bench, role, text),
        preserves_function=preserves_function,
        closeness=_closeness(found.figures, "float32"),
    )


def alone(bench: Bench, role: str, text: str | None) -> Alone:
    """Score a model on its own task, and on plain text where there is some."""
    skill: Skill = bench.reference(role)[OURS]
    perplexity = bench.perplexity(role, text).figures["perplexity"] if text is not None else None
    return Alone(skill=skill.rate, low=skill.low, high=skill.high, items=skill.total, perplexity=perplexity)


def _identity(bench: Bench, role: str, text: str | None) -> Identity:
    sides = [bench.digest("original"), bench.digest("protected"), bench.digest(role)]
    return {"models": sides, "text": text or bench.rows_id(OURS), "tokens": bench.spec.compare_tokens}


def _all(bench: Bench, text: str | None) -> Callable[[], Figures]:
    def compute() -> Figures:
        ours, theirs = (_module(bench, role, "float32") for role in ("original", "protected"))
        figures = _figures("float32", _compare(bench, ours, theirs, text))
        del theirs
        half = _module(bench, "original", "bfloat16")
        figures |= _figures("floor", _compare(bench, ours, half, text))
        del ours
        return figures | _figures("bfloat16", _compare(bench, half, _module(bench, "protected", "bfloat16"), text))

    return compute


def _module(bench: Bench, role: str, dtype: str) -> "nn.Module":
    from mergebarrier.evaluate import load_module

    bench.live.release()
    return load_module(bench.checkpoints[role], dtype, bench.device)


def _compare(bench: Bench, one: "nn.Module", two: "nn.Module", text: str | None) -> "Equality":
    from mergebarrier.evaluate import compare, token_ids

    if text is None:
        text = "\n".join(f"{row.prompt}{row.answer}" for row in bench.rows(OURS, "test"))
    return compare(one, two, token_ids(bench.live.tokenizer, text, bench.spec.compare_tokens))


def _figures(name: str, equality: "Equality") -> dict[str, float | int | None]:
    return {f"{name}.{key}": value for key, value in asdict(equality).items()}


def _closeness(figures: Figures, name: str) -> Closeness:
    """Read a comparison back; what is not finite counts as the largest float."""
    values = {key: figures[f"{name}.{key}"] for key in ("max_rel_logit_error", "kl_nats", "top1_agreement")}
    finite = {key: 1.7e308 if value is None else float(value) for key, value in values.items()}
    return Closeness(**finite, tokens=int(figures[f"{name}.tokens"] or 0))
