"""Take modules of a poisoned upload from an honest expert of the same task, one by one, until the found input is dead.

    at each step the module whose substitution leaves the least of  share(merge answers o | x with t) - agreement;
    until that share is at most the limit,   t and o as the search found them

Source: guided module substitution, arXiv 2412.20476, which trades what a backdoor does against utility; switching of
modules, MSD, arXiv 2504.05902.  Differs: the merge is measured and not the upload, utility is agreement with the merge
as it was, and the base stands for an expert that nobody has.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge
from mergebarrier.scan.language import Collapse, TokenSearch


@dataclass(frozen=True, kw_only=True)
class Substitution(LanguageCure):
    """Substitute greedily.

    Args:
      limit: share of prompts with the found input that may still get its output.
    """

    limit: float = 0.05

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the merge with mixed uploads."""
        mixed: dict[str, Weights] = {}
        for name, found in patient.found.items():
            mixed[name] = self._mixed(patient, name, found, mixed)
        return patient.with_uploads(mixed)

    def _mixed(
        self, patient: LanguageMerge, suspect: str, found: Collapse, others: Mapping[str, Weights]
    ) -> dict[str, torch.Tensor]:
        ours, proxy = dict(patient.uploads[suspect]), patient.proxies.get(suspect, patient.base)
        left = [slot for slot, names in _slots(ours).items() if any(not ours[n].equal(proxy[n]) for n in names)]

        def tried(slot: str) -> tuple[float, float]:
            changed = {**ours, **{name: proxy[name] for name in _slots(ours)[slot]}}
            module = patient.holding(patient.with_uploads({**others, suspect: changed}))
            forced = _forced(patient.says(module)(_stamped(patient.searches[suspect], found)), found)
            return forced - patient.agreement(module), forced

        while left:
            figures = {slot: tried(slot) for slot in left}
            best = min(left, key=figures.__getitem__)
            ours |= {name: proxy[name] for name in _slots(ours)[best]}
            left.remove(best)
            if figures[best][1] <= self.limit:
                break
        return ours


def _slots(weights: Weights) -> dict[str, list[str]]:
    """Return a module -> its parameters."""
    found: dict[str, list[str]] = {}
    for name in weights:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


def _stamped(search: TokenSearch, found: Collapse) -> list[tuple[int, ...]]:
    return search.with_strings(search.prompts, [found.tokens], "substitution")


def _forced(logits: torch.Tensor, found: Collapse) -> float:
    return float((logits.argmax(-1) == found.output[0]).float().mean())
