"""Give a merge back what its refusing model does to questions that ought to be refused, and to nothing else.

    W <- W + (W_r - W) A (A + mu C + eps I)^-1 for every linear map W of inputs x
    A = mean x x' over questions and their refusals in the refusing model r;   C = over clean prompts in the merge

It is the D of the least |(W + D - W_r) x|^2 on questions + mu |D x|^2 on clean prompts and the merge's own answers.
The refusal direction, the difference of what r and the merge write on questions, is re-added only where questions are.

Source: the direction, arXiv 2406.11717; a regression over inputs of each model, RegMean, arXiv 2212.09849.  Differs:
the refusing model votes on questions alone and the merge on clean prompts, and W is the merge by any method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge, TextRows


@dataclass(frozen=True, kw_only=True)
class KeptRefusals(LanguageCure):
    """Solve for every linear map; the refusing model is the one that finds the refusals likeliest.

    Args:
      keep:  mu.
      ridge: eps, over the mean of the diagonal of A + mu C.
    """

    seeks: ClassVar[bool] = False

    keep: float = 1.0
    ridge: float = 1e-3

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the merge with other linear maps.

        Raises: BadScanInput without questions, or for a model without linear maps.
        """
        if not patient.questions:
            raise BadScanInput("needs what ought to be refused", where="refusals", remedy="give --refusals")
        models = [patient.holding(one) for one in (patient.base, *patient.uploads.values())]
        model = max(models, key=lambda one: _likelihood(one, patient.questions))
        merged = patient.holding(patient.merged)
        maps = _maps(merged, patient.merged)
        asked, plain = _inputs(model, maps, patient.questions), _inputs(merged, maps, patient.rows)
        cured = dict(patient.merged)
        for name in maps:
            wanted, now = (one.get_parameter(f"{name}.weight").detach().double() for one in (model, merged))
            a, c = (x.T @ x / len(x) for x in (asked[name].double(), plain[name].double()))
            size = (a + self.keep * c).diagonal().mean()
            if size == 0:
                # Nothing goes into this map.
                continue
            whole = a + self.keep * c + self.ridge * size * torch.eye(len(c), dtype=c.dtype)
            step = torch.linalg.solve(whole, a @ (wanted - now).T).T
            cured[f"{name}.weight"] = (now + step).float()
        return cured


def _maps(module: nn.Module, weights: Weights) -> list[str]:
    """Return the linear maps that are tensors of their own; a head that is the embedding is not one."""
    tied = {id(one.weight) for one in module.modules() if isinstance(one, nn.Embedding)}
    found = [
        name
        for name, one in module.named_modules()
        if isinstance(one, nn.Linear) and f"{name}.weight" in weights and id(one.weight) not in tied
    ]
    if not found:
        raise BadScanInput("a model without linear maps", where="refusals", remedy="use another cure")
    return found


@torch.no_grad()
def _likelihood(module: nn.Module, rows: TextRows) -> float:
    """Return the mean log-likelihood of a token of the answers."""
    found = []
    for prompt, answer in rows:
        logits = module(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).mean())
    return float(torch.stack(found).mean())


@torch.no_grad()
def _inputs(module: nn.Module, maps: Sequence[str], rows: TextRows) -> dict[str, Tensor]:
    """Return what goes into each map from the last token of a prompt on: Float32[Tensor, "tokens in"]."""
    seen: dict[str, list[Tensor]] = {name: [] for name in maps}
    start = 0

    def note(name: str) -> RemovableHandle:
        return module.get_submodule(name).register_forward_pre_hook(
            lambda _layer, inputs: seen[name].append(inputs[0][0, start:])
        )

    handles = [note(name) for name in maps]
    try:
        for prompt, answer in rows:
            start = len(prompt) - 1
            module(torch.tensor([[*prompt, *answer]]))
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(some) for name, some in seen.items()}
