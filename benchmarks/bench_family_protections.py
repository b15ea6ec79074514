"""Every protection on a tiny model of every stock class that has a table: what is kept, and what attacks take back.

Outputs are those of the stock class, in float32.  A protection that a family does not allow is refused by name.
"""

import sys
import tempfile
from pathlib import Path

from _quiet import one_quiet_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import family_models
from family_verbs import KEYS, Family
from mergebarrier.errors import MethodRefused
from mergebarrier.protect import PROTECTIONS, Protection, protection_named

#: What float32 may make of a protected model's outputs.
GATE = 1e-5
#: Every protection by default, and its forms with general maps.
FORMS: dict[str, Protection] = {
    **{name: kind() for name, kind in PROTECTIONS.items()},
    "exact full": protection_named("exact", {"profile": "full"}),
    "params gl": protection_named("params", {"kind": "gl"}),
    "params+mergelock": protection_named("params+mergelock", {}),
}
#: What the literal form would do, as its refusal says.
LITERAL = protection_named("mergelock", {"form": "literal"})


def cell(family: Family, protection: Protection, reasons: dict[str, str]) -> str:
    """Return the error of the outputs after `protect`, in bold past the gate; or the number of a reason."""
    try:
        out = family.protect(family.base, protection, KEYS[0] if protection.keyed else None)
    except MethodRefused as refused:
        return reasons.setdefault(str(refused).partition(": ")[2] or str(refused), f"no ({len(reasons) + 1})")
    error = family.error(out, family.base)
    return f"{error:.0e}" if error <= GATE else f"**{error:.0e}**"


def literal(family: Family) -> str:
    """Return the error of attention logits that the published map would make; 0 where it is exact."""
    try:
        family.protect(family.base, LITERAL, KEYS[0])
    except MethodRefused as refused:
        found = str(refused).partition("off by ")[2].split(" ")[0]
        return found or "-"
    return "0"


def main() -> None:
    """Print the table and the reasons."""
    one_quiet_thread()
    reasons: dict[str, str] = {}
    heads = ["model", *FORMS, "literal"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in family_models.MODELS:
        sys.stderr.write(f"{name} ...\n")
        with tempfile.TemporaryDirectory() as scratch:
            family = Family(name, Path(scratch))
            cells = [name, *(cell(family, form, reasons) for form in FORMS.values()), literal(family)]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(
        f"\nLargest relative error of the outputs, at most {GATE:g}; past it in bold.  literal: error of the attention"
    )
    print("logits that MergeLock's published map would make, for which it is refused; 0 where it is exact.\n")
    for reason, number in reasons.items():
        print(f"- {number}: {reason}")


if __name__ == "__main__":
    main()
