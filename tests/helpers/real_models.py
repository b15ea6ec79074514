"""The trained models of the zoo that have a table, protected, verified, undone and realigned, and figures of each.

Weights are compared as float32 copies; what the language model was trained to (a real expert) or a random step of one
percent of every tensor stands for the fine-tune.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

import family_models
import mergebarrier as mb
from family_verbs import KEYS, changed, distance, weights
from mergebarrier import zoo
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.evaluate import CHECK_TEXT, load_module, load_tokenizer

#: asset -> the asset that was fine-tuned from it; "" where none is to be had.
MODELS = {"smollm2": "expert-tickets", "minilm": "", "dinov2s": ""}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of one profile.

    Attributes:
      cosine, error: of the outputs of the protected model with the original's, in float32.
      equal:         what `verify` says.
      restored:      largest relative error of a tensor after `unprotect`; 0: every bit came back.
      before, after: mean cosine of the protected fine-tune's weights to the base, before and after `realign`.
      realigned:     cosine of the outputs of the realigned fine-tune with its own before protection.
      left:          tensors of the fine-tune that did not come back bit for bit.
      keys:          distance of two realigned copies with different keys, over the norm of the task vector.
      alone:         tensors that `realign` changes in the unprotected fine-tune.
    """

    cosine: float
    error: float
    equal: bool
    restored: float
    before: float
    after: float
    realigned: float
    left: int
    keys: float
    alone: int


def figures(name: str, profile: str, root: Path) -> Figures:
    """Measure one model of ``MODELS``; folders go to ``root``."""
    base = _float32(zoo.fetch(name), root / "base")
    expert = MODELS[name]
    tuned = _float32(zoo.fetch(expert), root / "tuned") if expert else _float32(base, root / "tuned")
    if not expert:
        family_models.nudge(tuned)
    method = mb.Exact(profile=profile)
    mb.protect(base, root / "protected", method=method, key=KEYS[0])
    mb.protect(tuned, root / "secret", method=method, key=KEYS[1])
    mb.unprotect(root / "protected", root / "restored", key=KEYS[0])
    fit = mb.realign(root / "secret", root / "back", base=base).diagnostics
    mb.protect(tuned, root / "other", method=method, key=KEYS[0])
    mb.realign(root / "other", root / "back too", base=base)
    mb.realign(tuned, root / "alone", base=base)
    found_again = weights(root / "back")
    original, moved, ours, back = (outputs(root / one) for one in ("base", "protected", "tuned", "back"))
    there, restored = weights(base), weights(root / "restored")
    told = {key: one for key, one in there.items() if one.is_floating_point() and one.any()}
    gaps = [float((restored[key] - one).norm() / one.norm()) for key, one in told.items()]
    found = Figures(
        cosine=_cosine(moved, original),
        error=family_models.relative_error([moved], [original]),
        equal=mb.verify(base, root / "protected").equal,
        restored=max(gaps),
        before=float(str(fit["mean_cosine_before"])),
        after=float(str(fit["mean_cosine_after"])),
        realigned=_cosine(back, ours),
        left=changed(weights(tuned), found_again),
        keys=distance(found_again, weights(root / "back too")) / distance(weights(tuned), there),
        alone=changed(weights(tuned), weights(root / "alone")),
    )
    for folder in root.iterdir():
        shutil.rmtree(folder)
    return found


@torch.no_grad()
def outputs(folder: Path) -> torch.Tensor:
    """Return what a model computes in float32 on a page of text, or on two made-up pictures."""
    with open_checkpoint(folder) as checkpoint:
        module = load_module(checkpoint, "float32")
        if "tokenizer.json" not in checkpoint.side_files:
            pictures = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
            return module(pixel_values=pictures).last_hidden_state
        ids = torch.tensor([load_tokenizer(checkpoint).encode(CHECK_TEXT).ids[:256]])
    found = module(input_ids=ids)
    return found.logits if "logits" in found else found.last_hidden_state


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() * b.double()).sum() / (a.double().norm() * b.double().norm()))


def _float32(source: Path, out: Path) -> Path:
    """Copy a folder, weights in float32, without a manifest, which speaks of other bytes."""
    out.mkdir()
    for file in source.iterdir():
        if file.name in ("config.json", "tokenizer.json"):
            shutil.copyfile(file, out / file.name)
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights(source).items()}
    save_file(wide, out / "model.safetensors", {"format": "pt"})
    return out
