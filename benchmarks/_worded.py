"""The base and the experts of ``bench_parents`` with words, and plain text of the kind that each expert is for."""

import shutil
from pathlib import Path

from _hard_null import LENGTH, tokens_of
from bench_parents import EXPERTS, experts
from mergebarrier.zoo import fetch

#: Rows of an expert's own part of the book that its owner has; what is scored stands before them.
_FIRST, _LAST = 300, 1300


def worded(folder: Path) -> Path:
    """Return the base and the experts with a tokenizer, so that they can be asked by text."""
    source, out = experts(folder), folder.parent / "fingerprint-600"
    out.mkdir(exist_ok=True)
    if not (out / "tokenizer.json").exists():
        from tokenizers import ByteLevelBPETokenizer

        made = ByteLevelBPETokenizer()
        text = (fetch("kjv") / "train.txt").read_text(encoding="utf-8")[:2_000_000]
        made.train_from_iterator(text.split("\n"), vocab_size=1024, show_progress=False)
        made.save(str(out / "tokenizer.json"))
    _write_texts(folder, out)
    for name in ("base", *(f"expert-{n}" for n in range(EXPERTS))):
        if not (out / name).exists():
            shutil.copytree(source / name, out / name)
            shutil.copy(out / "tokenizer.json", out / name / "tokenizer.json")
    return out


def _write_texts(folder: Path, out: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer, ids = Tokenizer.from_file(str(out / "tokenizer.json")), tokens_of(folder)
    rows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    for number in range(EXPERTS):
        own = rows[number * len(rows) // EXPERTS :][_FIRST:_LAST]
        (out / f"text-{number}.txt").write_text(tokenizer.decode(own.flatten().tolist()), encoding="utf-8")
