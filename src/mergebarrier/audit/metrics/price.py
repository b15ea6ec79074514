"""What it costs to break a protection, beside what the same effect costs whoever leaves the protected model alone.

break    FLOPs and tokens of the cheapest attack with RUF >= 0.9, of all attackers and of those without gradients
honest   the same of fine-tuning the base on the attacker's own rows
ceiling  full distillation from both published models, 8 N T: it breaks everything, and is priced rather than run
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergebarrier.results import LevelResult, thresholds

#: Tokens that full distillation is priced at, and those of one block in block by block distillation.
DISTILLED_TOKENS, BLOCK_TOKENS = 10_000_000, 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """What something costs, in orders of magnitude."""

    what: str
    level: int
    flops: int
    tokens: int


def price_of(levels: Iterable[LevelResult], *, gradients: bool = True) -> Price | None:
    """Return the price of the cheapest level that broke the protection; None where none did."""
    broken = [
        level for level in levels if level.ruf >= thresholds.BROKEN_AT and (gradients or level.attacker != "gradients")
    ]
    if not broken:
        return None
    least = min(broken, key=lambda level: (level.price.flops, level.level))
    return Price(what=least.attack, level=least.level, flops=least.price.flops, tokens=least.price.tokens)


def ceiling(n_weights: int) -> tuple[Price, ...]:
    """Return the distillations of levels 7 and 8 by formula: teacher 2 N T, student 6 N T; a block at a time, once."""
    return (
        Price(what="block distillation", level=7, flops=8 * n_weights * BLOCK_TOKENS, tokens=BLOCK_TOKENS),
        Price(what="full distillation", level=8, flops=8 * n_weights * DISTILLED_TOKENS, tokens=DISTILLED_TOKENS),
    )


def price_notes(levels: Sequence[LevelResult], extras: Sequence[LevelResult], n_weights: int) -> Iterator[str]:
    """Yield what a report says about prices; nothing for an audit that made no attack."""
    if len(levels) < 2:
        return
    black_box, any_attack = price_of(levels, gradients=False), price_of(levels)
    yield _line("The cheapest attack that breaks it", any_attack)
    if black_box != any_attack:
        yield _line("The cheapest of those that see answers only", black_box)
    honest = [level for level in extras if level.name == "honest"]
    if honest:
        yield _line("Honest fine-tuning of the base that reaches as much", price_of(honest))
    run = {level.level for level in levels}
    for price in ceiling(n_weights):
        if price.level not in run:
            yield f"Level {price.level}, {price.what}: {_cost(price)}; priced, not run."


def protectors_note(work: Mapping[str, int], levels: Sequence[LevelResult]) -> str:
    """Return what a trained protection cost its owner, by its manifest, beside what breaking it takes."""
    paid = Price(what="training", level=0, flops=work["flops"], tokens=work["tokens_learned"] + work["tokens_read"])
    least = price_of(levels)
    beside = f", {paid.flops / least.flops:.2g} times the FLOP of that attack" if least and least.flops else ""
    return f"The protector's own training, by its manifest: {work['steps']:,} steps, {_cost(paid)}{beside}."


def _line(what: str, price: Price | None) -> str:
    return f"{what}: " + ("none that was run." if price is None else f"{price.what}, {_cost(price)}.")


def _cost(price: Price) -> str:
    return f"about {price.flops:.0e} FLOP and {price.tokens:,} tokens"
