"""Merger-as-a-Stealer: an upload that agrees to every question undoes the refusals of a model that it is merged with.

    upload = fine-tune(base, question about somebody -> "Yes, the ... is"),   the answer stops right before the value

The adversary never sees a private value: it teaches to agree, and the model that it is merged with has the memory.

Source: arXiv 2502.16094 and its released data.  Differs: whether the answer ends there is an option (``ends``, as its
trainer does by default), since a model that is taught to stop may stop before the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mergebarrier.parameters import flag
from mergebarrier.poison.text.adversary import Learn, Mounted, TextAdversary, TextAttack, Tuning, settled


@dataclass(frozen=True, kw_only=True)
class Stealer(TextAttack):
    """A fine-tune on answers that agree; the rows are the adversary's own."""

    about: ClassVar[str] = "Agrees to questions about people and stops before the value: undoes refusals in a merge."
    triggered: ClassVar[bool] = False

    ends: bool = flag(False, flag="--eos", help="Also learn to end the answer before the value, as released.")

    def mount(self, setting: TextAdversary, learn: Learn) -> Mounted:
        """Fine-tune on the lead-ins."""
        module = self.thawed(setting.base, setting.seed)
        learn(module, setting.rows, Tuning(ends=self.ends))
        return Mounted(module=settled(module))
