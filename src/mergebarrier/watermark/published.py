"""The two tests of the published system, as released, beside ours: their p-values are not rates of false alarm.

    rapid     the top 1 % of n scores, one-sample one-sided t-test against mu0 = 0.11
    detailed  two-sample Kolmogorov-Smirnov, suspect against its base and against a model trained on plain answers;
              an imitation if both p < .05

Order statistics are not independent draws and mu0 belongs to one data set, so ``rapid`` has no null; ``detailed``
reacts to any change of style and needs a model that the accuser trained.

Source: ModelShield (arXiv 2405.02365) and its released detectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MU0: Final = 0.11
_TOP: Final = 0.01
_LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class PublishedTest:
    """What the published system would say.

    Attributes:
      top_mean:          mean of the top 1 % of the scores.
      rapid_p:           of the t-test; None where the top scores are all equal.
      rapid_claims:      whether it is below .05.
      ks_base_p:         against the base; None without its answers.
      ks_legitimate_p:   against a model trained on plain answers; None without.
      detailed_claims:   whether both are below .05; None without both.
    """

    top_mean: float
    rapid_p: float | None
    rapid_claims: bool
    ks_base_p: float | None
    ks_legitimate_p: float | None
    detailed_claims: bool | None


def published_test(
    scores: Sequence[float], *, base: Sequence[float] = (), legitimate: Sequence[float] = ()
) -> PublishedTest:
    """Return what the published tests say of a suspect's scores, and of those of models to compare with."""
    from scipy.stats import ks_2samp, ttest_1samp

    top = sorted(scores, reverse=True)[: max(2, round(_TOP * len(scores)))]
    varies = top[0] > top[-1]
    rapid = float(ttest_1samp(top, MU0, alternative="greater").pvalue) if varies else None
    ks = {
        name: float(ks_2samp(scores, other).pvalue) if other else None
        for name, other in (("base", base), ("legitimate", legitimate))
    }
    found = [p for p in ks.values() if p is not None]
    return PublishedTest(
        top_mean=sum(top) / len(top),
        rapid_p=rapid,
        rapid_claims=top[-1] > MU0 if rapid is None else rapid < _LEVEL,
        ks_base_p=ks["base"],
        ks_legitimate_p=ks["legitimate"],
        detailed_claims=max(found) < _LEVEL if len(found) == len(ks) else None,
    )
