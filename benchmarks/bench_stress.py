"""Does a protected model take use as the original does?  ``verify --stress`` on the demonstration's expert.

Both models are rounded to every storage format, remember keys and values in few bits, and are fine-tuned for a while
from the same seed on the same text; every figure is the protected model's less the unprotected model's.  Finished rows
are kept, and names of protections fill these alone; ``--print`` shows what there is.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mergebarrier as mb
from _keep import Rows, asked, say
from _protection_tables import markdown
from mergebarrier import zoo
from mergebarrier.keys import Key
from mergebarrier.protect import protection_named

KEPT = Path(__file__).parent / "results" / "stress.jsonl"
TOKENS = 1024
#: row -> method and parameters.
ROWS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "exact": ("exact", {}),
    "exact, full": ("exact", {"profile": "full"}),
    "mergebarrier, attention": ("mergebarrier", {}),
    "mergebarrier, full": ("mergebarrier", {"ffn": "poly"}),
    "params": ("params", {}),
    "mergelock": ("mergelock", {}),
}


def stressed(name: str) -> dict[str, Any]:
    """Protect, and put both through every stress."""
    assets, (method, parameters) = zoo.demo_assets(), ROWS[name]
    protection = protection_named(method, parameters)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "protected"
        key = Key(bytes([1]) * 32) if protection.keyed else None
        text = assets.text_train if "ffn" in parameters else None
        mb.protect(assets.expert_a, out, method=protection, key=key, text=text)
        found = mb.verify(assets.expert_a, out, text=assets.text_test, max_tokens=TOKENS, stress=True)
    assert found.stress is not None
    return {one["stress"]: one for one in found.stress}


def main() -> None:
    """Fill the rows, if asked to, and print what there is."""
    kept = Rows(KEPT)
    for name in asked(ROWS):
        if "--print" not in sys.argv:
            say(name)
            kept.get([name], lambda name=name: stressed(name))
    there = {name: kept.get([name], dict) for name in ROWS if kept.has([name])}
    print(
        f"SmolLM2-135M, an expert of it, {TOKENS // 2} tokens of a book that was held out: what the stress does to the"
    )
    print("unprotected model, KL in nats a token, and how much more it does to the protected one.\n")
    print(table(there, "kl_nats", "KL", ".1e"), table(there, "perplexity", "perplexity", ".3f"), sep="\n\n")


def table(there: Mapping[str, Mapping[str, Any]], figure: str, called: str, digits: str) -> str:
    """Return one figure: of the unprotected model, and what every protection adds to it."""
    first = next(iter(there.values()), {})
    names = [f"`{name.partition(',')[0]}`{''.join(name.partition(',')[1:])}" for name in there]
    rows = [
        [
            stress,
            format(first[stress][f"{figure}_original"], digits),
            *(format(found[stress][f"{figure}_more"], f"+{digits}") for found in there.values()),
        ]
        for stress in first
    ]
    return markdown([called, "unprotected", *names], rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
