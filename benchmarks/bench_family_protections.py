"""Every protection on a tiny model of every stock class that has a table: what is kept, and what attacks take back.

Outputs are those of the stock class, in float32.  A protection that a family does not allow is refused by name.
Finished cells are kept, so a run that was stopped goes on where it was; ``--print`` measures nothing.
"""

import json
import sys
import tempfile
from pathlib import Path

from _quiet import one_quiet_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import family_models
import mergebarrier as mb
import tiny_vision
from _keep import Rows, say
from family_verbs import KEYS, Family
from mergebarrier import __version__
from mergebarrier.cache import cache_folder
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MergebarrierError
from mergebarrier.evaluate import load_module, model_inputs, write_image_task
from mergebarrier.protect import PROTECTIONS, Protection, protection_named
from tiny_tokenizer import add_tokenizer, prose

#: What float32 may make of a protected model's outputs.
GATE = 1e-5
#: Every protection by default, its forms with general maps, the rotation of the stream, and a layer that does nothing.
FORMS: dict[str, Protection] = {
    **{name: kind() for name, kind in PROTECTIONS.items()},
    "exact full": protection_named("exact", {"profile": "full"}),
    "exact rotate": protection_named("exact", {"residual": "rotate"}),
    "params gl": protection_named("params", {"kind": "gl"}),
    "widen dead": protection_named("widen", {"dead_layers": 1}),
    "params+mergelock": protection_named("params+mergelock", {}),
}
#: What the literal form would do, as its refusal says.
LITERAL = protection_named("mergelock", {"form": "literal"})


#: What replaces activations is calibrated on a text, and judged by it: no stock class loads it.
POLY = protection_named("mergebarrier", {"ffn": "poly"})
#: Of the pictures that the tiny models read.
SIDE = 32
COLUMNS = (*FORMS, "mergebarrier poly", "literal")


def cell(family: Family, column: str) -> dict[str, str | float]:
    """Return what a column says of a family: an error, or the reason for which the protection is refused."""
    try:
        if column == "mergebarrier poly":
            out = family.root / "poly"
            said = mb.protect(add_tokenizer(family.base), out, method=POLY, **_calibration(family)).parameters
            lost = {"nats": said["kl_nats"]} if "kl_nats" in said else {"error": said["max_rel_output_error"]}
            return lost | {"share": said["polynomial_share"]}
        protection = LITERAL if column == "literal" else FORMS[column]
        out = family.protect(family.base, protection, KEYS[0] if protection.keyed else None)
    except MergebarrierError as refused:
        found = str(refused).partition("off by ")[2].split(" ")[0]
        if column == "literal":
            return {"error": float(found)} if found else {"refused": "no attention"}
        what, named = refused.what, family_models.MODELS[family.name].family
        return {"refused": what.replace(f"this {named} model", "this model").replace(f"a {named}", "such a model")}
    return {"error": 0.0 if column == "literal" else family.error(out, family.base)}


def _calibration(family: Family) -> dict[str, Path]:
    """Return a text, pictures, or both, as the model reads them."""
    with open_checkpoint(family.base) as opened:
        reads = model_inputs(load_module(opened, "float32"))
    text, images = family.root / "prose.txt", family.root / "noise.task.safetensors"
    text.write_text(prose(80), encoding="utf-8")
    if "pixel_values" not in reads:
        return {"text": text}
    (family.base / "preprocessor_config.json").write_text(tiny_vision.processor(3, SIDE))
    write_image_task(tiny_vision.task(n=80, channels=3, side=SIDE), images)
    return {"images": images} | ({"text": text} if "input_ids" in reads else {})


def shown(column: str, found: dict[str, str | float], reasons: dict[str, str]) -> str:
    """Return a cell, in bold past the gate; or the number of a reason."""
    if "refused" in found:
        if column == "literal":
            return "-"
        return reasons.setdefault(str(found["refused"]), f"no ({len(reasons) + 1})")
    if column == "mergebarrier poly":
        return f"{found['nats']:.0e}" if "nats" in found else f"{found['error']:.0e} (of answers)"
    if column == "literal":
        return f"{found['error']:.2g}"
    return f"{found['error']:.0e}" if float(found["error"]) <= GATE else f"**{found['error']:.0e}**"


def main() -> None:
    """Measure what is not there yet, and print the table and the reasons."""
    one_quiet_thread()
    kept = Rows(cache_folder() / "bench" / f"family-protections-{__version__}.jsonl")
    for name in family_models.MODELS if "--print" not in sys.argv else ():
        missing = [column for column in COLUMNS if not kept.has([name, column])]
        if missing:
            say(name)
            with tempfile.TemporaryDirectory() as scratch:
                family = Family(name, Path(scratch))
                for column in missing:
                    kept.get([name, column], lambda family=family, column=column: cell(family, column))
    reasons: dict[str, str] = {}
    print(f"| model | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name in family_models.MODELS:
        rows = [kept.rows.get(json.dumps([name, column])) for column in COLUMNS]
        cells = [shown(column, row, reasons) if row else "" for column, row in zip(COLUMNS, rows, strict=True)]
        print(f"| {' | '.join([name, *cells])} |")
    print(f"""
Largest relative error of the outputs, at most {GATE:g}; past it in bold.  mergebarrier poly: nats a token or picture,
on what was held out, of which the protection refuses more than 1e-3; or, of a model without logits, the relative error
of what it answers, refused above 0.03.  literal: error of the attention logits that MergeLock's published map would
make, for which it is refused; 0 where it is exact.
""")
    for reason, number in reasons.items():
        print(f"- {number}: {reason}")


if __name__ == "__main__":
    main()
