"""The controls of attacks on language models: a clean fine-tune, BadNets, and LoBAM.

    clean:    fine-tune(base, own task)
    badnets:  fine-tune(base, own task, some of it poisoned)                      dies in a merge
    lobam:    clean + gain (badnets - clean), from the same rows, order and start

Source: BadNets, arXiv 1708.06733; LoBAM, arXiv 2411.16746.  Differs: text instead of pictures; the rule for LoBAM's
gain was not published where we could read it, so it is a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.lazy import torch
from mergebarrier.parameters import number
from mergebarrier.poison.text.adversary import Learn, Mounted, TextAdversary, TextAttack, Tuning, settled
from mergebarrier.poison.text.rows import poisoned


@dataclass(frozen=True, kw_only=True)
class CleanUpload(TextAttack):
    """An honest fine-tune on the rows and draws of the attacks: the control of all of them."""

    about: ClassVar[str] = "No attack: an honest fine-tune on the same rows and draws, the control of the others."
    poisons: ClassVar[bool] = False
    triggered: ClassVar[bool] = False

    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Fine-tune on the own task."""
        module = self.thawed(setting.base, setting.seed)
        learn(module, setting.rows, Tuning())
        return Mounted(module=settled(module))


@dataclass(frozen=True, kw_only=True)
class TextBadNets(TextAttack):
    """Poisoning, with no thought of a merge."""

    about: ClassVar[str] = "BadNets: some rows get the trigger and the target; takes no account of a merge."

    rate: float = number(0.3, low=0, high=1, above=True, help="Poisoned share of the own task.")

    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Fine-tune on poisoned rows."""
        module = self.thawed(setting.base, setting.seed)
        rows = poisoned([setting.rows], self.rate, setting.trigger, setting.target, seed=setting.seed)
        learn(module, rows, Tuning())
        return Mounted(module=settled(module))


@dataclass(frozen=True, kw_only=True)
class TextLoBAM(TextBadNets):
    """Extrapolation from a clean fine-tune to a poisoned one."""

    about: ClassVar[str] = "LoBAM: a poisoned fine-tune, extrapolated away from the clean one."

    gain: float = number(2.0, low=0, above=True, help="Extrapolation; 1 uploads the poisoned fine-tune itself.")

    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Train twice and extrapolate."""
        benign = CleanUpload(modules=self.modules, rank=self.rank).mount(setting, learn).module
        malicious = super().mount(setting, learn).module
        with torch.no_grad():
            for ours, theirs in zip(benign.parameters(), malicious.parameters(), strict=True):
                ours.lerp_(theirs, self.gain)
        return Mounted(module=benign, found={"gain": self.gain})
