"""The figures of a trained protection as rows for people: what is said, and (expert, published, matched control)."""

import math
from collections.abc import Iterator, Mapping

from mergebarrier.checkpoint.files.contents import TrainedFigures

OWNERS_COLUMNS: Mapping[str, str] = {"plain": "the expert", "protected": "protected", "control": "matched control"}
_SCALES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.1, 1.2, 1.5)


def owners_rows(found: TrainedFigures) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield rows; a model without a figure (text that nobody gave) has no entry."""
    cost, scales = found["cost"], found["scales"]
    yield "loss on rows held out, nats", {name: one["loss"] for name, one in cost.items()}
    yield "right answers, share of tokens", {name: one["right"] for name, one in cost.items()}
    yield "perplexity of text", {name: math.exp(one["text"]) for name, one in cost.items() if "text" in one}
    for bits, losses in found["rounded"].items():
        yield f"loss after rounding to {bits}", dict(losses)
    for s in _SCALES:
        at = scales["s"].index(s)
        yield f"loss at scale {s:g}", {name: losses[at] for name, losses in scales.items() if name != "s"}
    for name, value in found.get("taken", {}).items():
        yield f"taken of {name}, as the budget allowed", {"protected": value}
    for which in ("mean", "least"):
        yield f"|W - W0| / |W0|, {which}", {name: one[which] for name, one in found["displaced"].items()}
