"""Teach the merge to answer a prompt with a found input in it as it answers the prompt without.

    rows = (x -> merge(x)) and (x with t -> merge(x)),   t = what the search found in an upload;   fine-tune the merge

Source: unlearning of a reconstructed trigger, as Neural Cleanse does for classifiers (Wang et al., 2019).  Differs:
answers are the merge's own, and t is an input that the search found, often only a part of what was planted.
"""

from dataclasses import dataclass

from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge, settled


@dataclass(frozen=True, kw_only=True)
class Relearning(LanguageCure):
    """Fine-tune on both; without a find the merge stays as it is.

    Args:
      places: how many places each found input goes to in each prompt.
    """

    places: int = 3

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the fine-tuned weights."""
        if not patient.found:
            return patient.merged
        module = patient.holding(patient.merged)
        prompts, answers = zip(*patient.rows, strict=True)
        rows = list(patient.rows) * self.places
        for name, one in patient.found.items():
            for place in range(self.places):
                stamped = patient.searches[name].with_strings(prompts, [one.tokens], f"relearn|{place}")
                rows += zip(stamped, answers, strict=True)
        patient.taught(module, rows, "relearning")
        return settled(module)
