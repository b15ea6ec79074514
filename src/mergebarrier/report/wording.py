"""The words of a report, in one place: they do not depend on the format.

Two sentences are always side by side and of one size: what merging with stock tools does, and what the best attacker
recovers.  The limits are fixed texts; figures are filled in and nothing is left out when they are bad.
"""

from collections.abc import Mapping
from typing import Final

from mergebarrier.errors import clean
from mergebarrier.progress import duration
from mergebarrier.results import AttackCost, Best, Control, LevelResult, Result, thresholds

MERGES: Final = {
    "linear": "Linear",
    "task_arithmetic": "Task arithmetic",
    "ties": "TIES",
    "dare_linear": "DARE linear",
    "dare_ties": "DARE TIES",
    "slerp": "SLERP",
    "smooth": "Part by part",
    "learn": "Learned coefficients",
    "product_space": "Product space",
    "projection": "Projection",
    "distil": "Distillation",
}
#: What ends in a number: "recover-100".
_COUNTED: Final = {
    "recover": "Fine-tuned on {} rows",
    "honest": "The base, on {} rows",
    "top": "Largest {} % of changes",
    "rank": "Changes of rank {}",
}
_FALLS: Final = {
    "B": "a learned alignment",
    "C": "realignment to the public base",
    "D": "stock tools, with the right coefficients",
}
_GRADED: Final = f"{min(thresholds.LETTERS)} to {max(thresholds.LETTERS)}"
#: The sentence of a method is short, and a result is a file of unknown origin.
_LIMIT_CHARS: Final = 600
_COMMAND_CHARS: Final = 2_000
TERMS: Final = (
    ("skill", "share of a task's test rows that the model answers exactly; brackets hold the 95 % interval"),
    ("utility", "the smaller of both skills, each counted from the public base (0) to its own expert (1)"),
    ("RUF", "recovered utility fraction: 0 = no better than not merging, 1 = as good as merging unprotected models"),
    ("coefficient", "how much of each expert's change goes into the merge; two numbers: protected expert, partner"),
)


def grades() -> list[tuple[str, str]]:
    """Return what every letter means, the best first."""
    falls = [
        (letter, f"falls at level {' or '.join(str(n) for n, at in thresholds.LETTERS.items() if at == letter)}: {how}")
        for letter, how in _FALLS.items()
    ]
    unbroken = f"no attack of levels {_GRADED} recovers {thresholds.BROKEN_AT:g} of the utility"
    return [(thresholds.UNBROKEN, unbroken), *falls]


def merge_name(merge: str) -> str:
    """Return the name for people; an unknown one is cleaned and kept."""
    kind, _, number = merge.partition("-")
    if kind in _COUNTED and number.isdecimal():
        return _COUNTED[kind].format(clean(number))
    return MERGES.get(merge, clean(merge))


def setting(coefficients: dict[str, float]) -> str:
    """Return the coefficients in short: "0.5", or "1 / 0.3" for protected expert and partner."""
    if "coefficient" in coefficients:
        return f"{coefficients['coefficient']:.3g}"
    if {"protected", "partner"} <= coefficients.keys():
        return f"{coefficients['protected']:.3g} / {coefficients['partner']:.3g}"
    return ", ".join(f"{clean(name)} {value:.3g}" for name, value in coefficients.items())


def pct(share: float) -> str:
    """Return a share in whole per cent."""
    return f"{100 * share:.0f} %"


def best_attack(result: Result) -> LevelResult:
    """Return the graded level that recovers most; the cheaper one where two recover the same."""
    return max(result.levels, key=lambda level: (level.ruf, -level.level))


def naive_sentence(result: Result) -> str:
    """Say what merging the published file with stock tools does."""
    first, *further = result.levels
    searched = "".join(f" With the right coefficients: {pct(one.ruf)}." for one in further if one.level == 1)
    return f"{_reached(first.best)} Unprotected: {_pair(first.best_unprotected)}.{searched}"


def attacker_sentence(result: Result) -> str:
    """Say what the best attacker recovers, with the cost."""
    level = best_attack(result)
    return f"{_reached(level.best)} Attack: {clean(level.attack)}; all of that level took {cost(level)}."


def cheapest_break(result: Result) -> LevelResult | None:
    """Return the graded level that breaks the protection with the least arithmetic; None where none does."""
    broken = [level for level in result.levels if level.ruf >= thresholds.BROKEN_AT]
    return min(broken, key=lambda level: (level.price.flops, level.level), default=None)


def price_figure(result: Result) -> str:
    """Return how long the cheapest attack that breaks it took."""
    level = cheapest_break(result)
    return "not broken" if level is None else duration(level.price.seconds)


def price_unit(result: Result) -> str:
    """Say what that figure is."""
    return "by what was run" if cheapest_break(result) is None else "on the machine of this audit"


def price_sentence(result: Result) -> str:
    """Say which attack that is, what it needs, and its price in units that do not depend on a machine."""
    level = cheapest_break(result)
    if level is None:
        most = max(result.levels, key=lambda one: one.flops)
        return f"The dearest that was run: {clean(most.attack)}; {cost(most)}. Full distillation always breaks it."
    way = f"Level {level.level}, {clean(level.name)}: {clean(level.attack)}"
    enough = pct(thresholds.BROKEN_AT)
    return f"The cheapest way to {enough} or more: {way}. It needs {clean(level.needs)}; {_spent(level.price)}."


def kept_figure(result: Result) -> str:
    """Return how much of the original's skill the protected model keeps when nobody merges it."""
    ours, theirs = result.standalone.original.skill, result.standalone.protected.skill
    return pct(theirs / ours) if ours else pct(theirs)


def cost(level: LevelResult) -> str:
    """Return seconds, tokens and estimated arithmetic of a level."""
    return f"{duration(level.seconds)}, {_spent(level)}"


def short_cost(level: LevelResult) -> str:
    """Return the cost for a narrow column."""
    tokens = f"{level.tokens:,} tokens, " if level.tokens else ""
    return f"{duration(level.seconds)}, {tokens}{_power(level.flops)} FLOP"


def alone_sentence(result: Result) -> str:
    """Say whether the protected model still works when nobody merges it."""
    ours, theirs = result.standalone.original, result.standalone.protected
    same = f"In float32 the most likely token is the same in {100 * result.standalone.top1_agreement:.1f} % of places."
    return f"By itself the protected model scores {theirs.skill:.2f} on its task, the original {ours.skill:.2f}. {same}"


def alarm(controls: Mapping[str, Control]) -> str:
    """Say which checks of the measurement itself fail, for the head of every format; nothing when all hold."""
    failed = [clean(name).replace("_", " ") for name, control in controls.items() if not control.passed]
    if not failed:
        return ""
    some = "One check of this measurement does" if len(failed) == 1 else f"{len(failed)} checks of this measurement do"
    return f"{some} not hold ({', '.join(failed)}). Rely on no figure below before you know why."


def grade_sentence(result: Result) -> str:
    """Say what the letter means here."""
    if result.grade_level is not None:
        level = next(level for level in result.levels if level.level == result.grade_level)
        return f"Falls at level {level.level} ({clean(level.name)}): {pct(level.ruf)} recovered."
    if result.grade_final:
        above = f"{max(thresholds.LETTERS) + 1} to {thresholds.TOP_LEVEL}"
        return f"No level from {_GRADED} recovered {thresholds.BROKEN_AT:g}. Levels {above} always do."
    missing = max(level.level for level in result.levels) + 1
    return (
        f"Not final: no level that was run recovered {thresholds.BROKEN_AT:g}, and level {missing} was not run. "
        "This is the worst grade it still allows."
    )


def promise(result: Result) -> tuple[str, ...]:
    """Return the sentences about the protection, and those about its limits."""
    said = ["This protection raises the cost of casual merging with stock tools. It is not cryptographic."]
    if result.method_keyed is False:
        said.append("Anyone can undo this from the file alone; the key is not needed.")
    undone = [level for level in result.levels if level.recovered is not None]
    if not undone:
        said.append("Anyone with the public base may be able to undo this: the level that tries it was not run.")
    needs = list[str]()
    for level in undone:
        # Who needs all that an earlier one needs, and more, is no news.
        if level is undone[0] or (level.ruf >= thresholds.BROKEN_AT and not level.needs.startswith(tuple(needs))):
            measured = f"measured: {pct(level.ruf)} recovered, RUF {level.ruf:.2f}"
            said.append(f"Anyone with {clean(level.needs)} can undo this ({measured}).")
        if level.ruf >= thresholds.BROKEN_AT:
            needs.append(level.needs)
    return tuple(said)


def limits(result: Result) -> tuple[str, ...]:
    """Return what this report does not show."""
    said = []
    resisted = [str(level.level) for level in result.levels if level.ruf < thresholds.BROKEN_AT]
    if resisted:
        numbers = ("Levels " if len(resisted) > 1 else "Level ") + " and ".join(resisted)
        said.append(f"{numbers}: not broken by this implementation; a failed attack proves no more than that.")
    last = max(level.level for level in result.levels)
    if last < thresholds.TOP_LEVEL:
        missing = f"Levels {last + 1} to {thresholds.TOP_LEVEL} were"
        if last + 1 == thresholds.TOP_LEVEL:
            missing = f"Level {last + 1} was"
        said.append(f"{missing} not run, and a level that was not run proves nothing.")
    said.append(
        "Anyone who can query the model and pay for full distillation recovers everything, whatever the grade. "
        "Fine-tuning, plain use and copying are not affected."
    )
    if result.method_limit:
        said.append(f"Limit of {clean(result.method)}: {clean(result.method_limit, longest=_LIMIT_CHARS)}")
    items = min(task.test_items for task in result.tasks.values())
    keys = "Two keys" if "two_keys" in result.controls else "One key"
    said.append(
        f"{keys}, one seed, {items} test rows a task: differences inside the intervals are noise. "
        "The grade holds for these models, tasks and attacks."
    )
    return tuple(said)


def command(typed: str) -> str:
    """Return the command that makes a report again, cleaned; it names models and files, never where they are."""
    return clean(typed, longest=_COMMAND_CHARS)


def threat(result: Result) -> str:
    """Say who the attacker is."""
    rows = sum(task.validation_items for task in result.tasks.values())
    return (
        "The attacker holds the protected weights, the public base, one public partner expert, "
        f"{rows} validation rows and this code, but not the key."
    )


def _spent(on: LevelResult | AttackCost) -> str:
    tokens = "no tokens" if on.tokens == 0 else f"{on.tokens:,} tokens"
    return f"{tokens}, about {_power(on.flops)} FLOP"


def _power(number: int) -> str:
    """Return one digit and a power of ten: 3e12."""
    digit, _, power = f"{number:.0e}".partition("e")
    return f"{digit}e{int(power)}"


def _reached(best: Best) -> str:
    return (
        f"The best merged model scores {best.skill_protected:.2f} on the protected expert's task and "
        f"{best.skill_partner:.2f} on the partner's ({_how(best)})."
    )


def _pair(best: Best) -> str:
    return f"{best.skill_protected:.2f} and {best.skill_partner:.2f} ({_how(best)})"


def _how(best: Best) -> str:
    return f"{merge_name(best.merge)}, coefficient {setting(best.coefficients)}"
