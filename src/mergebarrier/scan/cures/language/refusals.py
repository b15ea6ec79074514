"""Let every map of a merge treat what refusals are made of as the model that refuses does.

    W' = W + (W_refuser - W) P,   P = projector on the first k principal directions of the inputs of W at questions that
                                      ought to be refused, less their part in the directions of plain prompts

Source: a refusal is a direction of activations, arXiv 2406.11717, which takes it out of weights.  Differs: it is put
back, at the inputs of every map and in several directions, and what plain prompts use is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mergebarrier.errors import BadScanInput
from mergebarrier.scan.base import Weights
from mergebarrier.scan.cures.language.patient import LanguageCure, LanguageMerge


@dataclass(frozen=True, kw_only=True)
class KeepRefusals(LanguageCure):
    """Put the refusals back.

    Args:
      directions: of each map, at most a fourth of its inputs.
      spared:     directions of plain prompts that are left alone, at most a fourth.
    """

    directions: int = 16
    spared: int = 16

    def apply(self, patient: LanguageMerge) -> Weights:
        """Return the merge that treats those directions as the refuser does."""
        cured = dict(patient.merged)
        for name, kept in self.kept(patient).items():
            cured[name] = cured[name] + (patient.refusing[name] - cured[name]) @ kept @ kept.T
        return cured

    def kept(self, patient: LanguageMerge) -> dict[str, Tensor]:
        """Return the directions of the inputs of each map, by the name of its weight: Float32[Tensor, "in k"]."""
        if not patient.questions:
            raise BadScanInput("needs questions to refuse", where="keep_refusals", remedy="pass the argument questions")
        module = patient.holding(patient.refusing)
        plain = [prompt for search in patient.searches.values() for prompt in search.prompts]
        asked, usual = (_inputs(patient, module, prompts) for prompts in (patient.questions, plain))
        found = {}
        for name, seen in asked.items():
            most = max(1, seen.shape[1] // 4)
            spared = _principal(usual[name], min(self.spared, most))
            found[f"{name}.weight"] = _principal(seen - seen @ spared @ spared.T, min(self.directions, most))
        return found


@torch.no_grad()
def _inputs(patient: LanguageMerge, module: nn.Module, prompts: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
    """Return what goes into each map of the layers, at every token: Float32[Tensor, "tokens in"]."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and layer is not getattr(module, "lm_head", None):

            def note(_layer: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                seen.setdefault(name, []).append(inputs[0].flatten(0, -2))

            handles.append(layer.register_forward_pre_hook(note))
    try:
        for prompt in prompts:
            patient.says(module)([prompt])
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(some) for name, some in seen.items()}


def _principal(rows: Tensor, k: int) -> Tensor:
    """Return the first k principal directions about the origin: Float32[Tensor, "in k"]."""
    directions: Tensor = torch.linalg.eigh(rows.T @ rows).eigenvectors
    return directions[:, -k:]
