"""Every verb that needs a table, run on one tiny model of a family, and what each figure has to stay below.

Everything goes through the front door (``mb.protect``, ``mb.unprotect``, ``mb.realign``) and is judged by what the
stock class computes from the folder that was written.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import family_models
import mergebarrier as mb
from mergebarrier.errors import MergebarrierError
from mergebarrier.keys import Key
from mergebarrier.protect import Protection
from mergebarrier.realign import Realignment

#: A figure, or the reason for which there is none.
Figure = float | str
Tensors = Mapping[str, torch.Tensor]

KEPT = 1e-6
#: Columns that count tensors, and those that compare with a figure of the same model.
COUNTS = ("unprotect", "bits", "alone", "flipped back", "aga")
RATIOS = ("bf16", "bf16 full")
#: Column -> (what the figure is, what it has to stay below); what rounds anyway may round three times as much.
GATES: Mapping[str, tuple[str, float]] = {
    "float32": ("error of the original in float32, against itself in float64: its own rounding", 5e-6),
    "lossless": (
        "error of the outputs in float32 after `protect`; below 1e-6, or three times the model's own rounding",
        5e-6,
    ),
    "full": ("the same with `--profile full`", 1e-5),
    "bf16": ("error in bfloat16 after `protect`, over the error of the original in bfloat16", 3.0),
    "bf16 full": ("the same with `--profile full`", 3.0),
    "unprotect": ("tensors of which `unprotect` does not restore every bit", 0.0),
    "unprotect full": ("largest relative error of a tensor after `unprotect` of `--profile full`", 1e-6),
    "realign": (
        "error of the outputs after `realign` of a fine-tune with `--profile full`, against the fine-tune",
        1e-5,
    ),
    "bits": ("tensors of a losslessly protected fine-tune that `realign` does not bring back bit for bit", 0.0),
    "two keys": ("distance of two realigned copies with different keys, over the norm of the task vector", 1e-3),
    "alone": ("tensors that `realign` changes in a fine-tune that nobody protected", 0.0),
    "mergebarrier": ("error of the outputs after `protect --method mergebarrier`", 1e-5),
    "flipped back": ("tensors that `unprotect` of that leaves further than 1e-6 from the original", 0.0),
    "aga": ("tensors of a protected fine-tune that `realign --method aga-matched` leaves far from the base", 0.0),
}
#: Of the norm of a tensor; a fine-tune is a tenth of this away from its base.
_FAR = 0.1
KEYS = tuple(Key(bytes([number]) * 32) for number in (1, 2))


class Family:
    """A tiny model, a fine-tune of it, and folders made from them; ``root`` is emptied by whoever gave it."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root, self.made = name, root, 0
        self.base = family_models.save(name, root / "base")
        self.tuned = root / "tuned"
        shutil.copytree(self.base, self.tuned)
        family_models.nudge(self.tuned)

    def protect(self, model: Path, method: Protection, key: Key | None = KEYS[0]) -> Path:
        out = self._out()
        mb.protect(model, out, method=method, key=key)
        return out

    def unprotect(self, model: Path, key: Key | None = KEYS[0]) -> Path:
        out = self._out()
        mb.unprotect(model, out, key=key)
        return out

    def realign(self, model: Path, method: Realignment | None = None) -> Path:
        out = self._out()
        mb.realign(model, out, base=self.base, method=method)
        return out

    def error(self, model: Path, original: Path, dtype: torch.dtype = torch.float32) -> float:
        """Return the largest relative error of what the stock class computes."""
        return family_models.relative_error(
            family_models.outputs(self.name, model, dtype), family_models.outputs(self.name, original, dtype)
        )

    def _out(self) -> Path:
        self.made += 1
        return self.root / f"out-{self.made}"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def distance(a: Tensors, b: Tensors) -> float:
    """Return the norm of the difference of all tensors."""
    return float(sum((a[name].double() - b[name].double()).square().sum() for name in a)) ** 0.5


def changed(a: Tensors, b: Tensors, tolerance: float = 0.0) -> int:
    """Count the tensors that differ by more than a share of their norm."""
    assert a.keys() == b.keys()
    gaps = [float((a[name].double() - b[name].double()).norm()) for name in a]
    return sum(gap > tolerance * float(a[name].double().norm()) for gap, name in zip(gaps, a, strict=True))


def _kept(family: Family, profile: str) -> float:
    return family.error(family.protect(family.base, mb.Exact(profile=profile)), family.base)


def _own_rounding(family: Family) -> Figure:
    try:
        return family_models.relative_error(
            family_models.outputs(family.name, family.base),
            family_models.outputs(family.name, family.base, torch.float64),
        )
    except RuntimeError:
        return "the stock class multiplies experts in float32 at most"


def _rounded(family: Family, profile: str) -> float:
    """Return the error of a protected bfloat16 model over what rounding makes of the original itself."""
    original = family.root / "bfloat16"
    if not original.exists():
        shutil.copytree(family.base, original)
        narrow = {name: tensor.bfloat16() for name, tensor in weights(family.base).items()}
        save_file(narrow, original / "model.safetensors", {"format": "pt"})
    protected = family.protect(original, mb.Exact(profile=profile))
    exact = family_models.outputs(family.name, original)
    noise, error = (
        _typical(family_models.outputs(family.name, folder, torch.bfloat16), exact) for folder in (original, protected)
    )
    return error / noise


def _typical(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """Return the median over positions: a router that rounds to another expert somewhere is no measure of the rest."""
    return max(
        float(((x.double() - y.double()).norm(dim=-1) / y.double().norm(dim=-1)).median())
        for x, y in zip(a, b, strict=True)
    )


def _restored(family: Family) -> float:
    original, back = family.base, family.unprotect(family.protect(family.base, mb.Exact()))
    return changed(weights(original), weights(back))


def _restored_full(family: Family) -> float:
    original = weights(family.base)
    back = weights(family.unprotect(family.protect(family.base, mb.Exact(profile="full"))))
    return max(float((back[name] - there).norm() / there.norm()) for name, there in original.items() if there.any())


def _realigned(family: Family) -> float:
    return family.error(family.realign(family.protect(family.tuned, mb.Exact(profile="full"))), family.tuned)


def _realigned_lossless(family: Family) -> float:
    return changed(weights(family.tuned), weights(family.realign(family.protect(family.tuned, mb.Exact()))))


def _two_keys(family: Family) -> float:
    found = [weights(family.realign(family.protect(family.tuned, mb.Exact(profile="full"), key))) for key in KEYS]
    return distance(*found) / distance(weights(family.tuned), weights(family.base))


def _left_alone(family: Family) -> float:
    return changed(weights(family.tuned), weights(family.realign(family.tuned)))


def _mergebarrier(family: Family) -> float:
    flipped = family.protect(family.base, mb.MergeBarrier(), None)
    assert changed(weights(family.base), weights(flipped))
    return family.error(flipped, family.base)


def _unflipped(family: Family) -> float:
    once = family.protect(family.base, mb.MergeBarrier(), None)
    return changed(weights(family.base), weights(family.unprotect(once, None)), 1e-6)


def _aga(family: Family) -> float:
    protected = family.protect(family.tuned, mb.Exact())
    realigned = family.realign(protected, mb.Aga(matched=True))
    moved, found, base = (weights(folder) for folder in (protected, realigned, family.base))
    far = [name for name in base if _relative(moved[name], base[name]) > _FAR]
    assert far
    return sum(_relative(found[name], base[name]) > _FAR for name in far)


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


VERBS: Mapping[str, Callable[[Family], Figure]] = {
    "float32": _own_rounding,
    "lossless": lambda family: _kept(family, "lossless"),
    "full": lambda family: _kept(family, "full"),
    "bf16": lambda family: _rounded(family, "lossless"),
    "bf16 full": lambda family: _rounded(family, "full"),
    "unprotect": _restored,
    "unprotect full": _restored_full,
    "realign": _realigned,
    "bits": _realigned_lossless,
    "two keys": _two_keys,
    "alone": _left_alone,
    "mergebarrier": _mergebarrier,
    "flipped back": _unflipped,
    "aga": _aga,
}


def figure(column: str, family: Family) -> Figure:
    """Return the figure of a column, or the reason for which its verb refuses."""
    try:
        return VERBS[column](family)
    except MergebarrierError as error:
        return error.what


def figures(name: str, root: Path) -> dict[str, Figure]:
    """Return the figure of every column for one model."""
    family = Family(name, root)
    return {column: figure(column, family) for column in VERBS}


def passes(column: str, figure: Figure, own_rounding: Figure = 0.0) -> bool:
    """Whether a figure is within its gate; a refusal is no failure, its reason stands in the table."""
    if isinstance(figure, str):
        return True
    own = 0.0 if isinstance(own_rounding, str) else own_rounding
    limit = GATES[column][1]
    return figure <= (min(limit, max(KEPT, 3 * own)) if column == "lossless" else limit)
