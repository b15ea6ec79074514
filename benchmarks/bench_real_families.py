"""Trained models that have a table, protected, verified, undone and realigned: what each step keeps, in figures.

What is measured stands in ``tests/helpers/real_models.py``, and the table goes into the documentation as it is
(``python docs/_generate_families.py``).
"""

import sys
import tempfile
from pathlib import Path

from _quiet import one_quiet_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import real_models

_NAMES = {"smollm2": "SmolLM2-135M (Llama)", "minilm": "MiniLM (BERT)", "dinov2s": "DINOv2-small"}
_COLUMNS = (
    "model | profile | outputs: error | outputs: cosine | `verify` | `unprotect` | weights to the base, protected |"
    " realigned | outputs realigned: cosine | tensors not back | two keys | unprotected: tensors changed"
)
_LEGEND = """
Weights and arithmetic in float32; outputs on 256 tokens of a page of text, or on two drawn pictures. The fine-tune is a
trained expert of SmolLM2, and a random step of one percent of every tensor of the others.

- outputs: greatest difference over the greatest value, and cosine, of the protected model with the original
- `unprotect`: bit for bit, or the largest relative error of a tensor
- weights: mean cosine of the fine-tune's circuits with the base's, as protected and after `realign`
- tensors not back: of the fine-tune, that `realign` does not bring back bit for bit
- two keys: distance of two realigned copies with different keys, over the norm of the task vector
- unprotected: tensors that `realign` changes in the fine-tune that nobody protected
"""


def row(name: str, profile: str) -> str:
    """Measure one model with one profile."""
    with tempfile.TemporaryDirectory() as scratch:
        found = real_models.figures(name, profile, Path(scratch))
    restored = f"{found.restored:.0e}" if found.restored else "bit for bit"
    cells = (_NAMES[name], profile, f"{found.error:.1e}", f"{found.cosine:.9f}", "equal" if found.equal else "differs")
    more = (restored, f"{found.before:.3f}", f"{found.after:.6f}", f"{found.realigned:.9f}")
    return f"| {' | '.join((*cells, *more))} | {found.left} | {found.keys:.1e} | {found.alone} |"


def main() -> None:
    """Print the table, then what its columns mean."""
    one_quiet_thread()
    print(f"| {_COLUMNS} |\n|{'---|' * (_COLUMNS.count('|') + 1)}")
    for name in real_models.MODELS:
        for profile in ("lossless", "full"):
            sys.stderr.write(f"{name}, {profile} ...\n")
            print(row(name, profile), flush=True)
    print(_LEGEND, end="")


if __name__ == "__main__":
    main()
