"""Write the generated part of docs/protections.md from the registry; a test fails while the two differ."""

import dataclasses
import inspect
from pathlib import Path

from mergebarrier.parameters import flag_of, parameters_of
from mergebarrier.protect import PROTECTIONS, Protection

BEGIN = "<!-- written by `python docs/_generate_protections.py` -->\n"
PAGE = Path(__file__).with_name("protections.md")
_BACK = {"exact": "every bit", "tolerant": "within the bound of the manifest", "none": "nothing"}


def _section(kind: type[Protection]) -> str:
    """Say of one protection what it declares of itself."""
    module = inspect.getdoc(inspect.getmodule(kind)) or ""
    needs = ", ".join(sorted(kind.needs)) or "nothing but the model"
    back = ", or ".join(_BACK[one] for one in kind.reversibility)
    lines = [
        f"## {kind.name}\n\n{module.partition(chr(10) + chr(10))[0]}\n",
        f"\n- needs {'a key' if kind().keyed else 'no key'}, and {needs}",
        f"\n- `unprotect` gives back {back}",
        f"\n- what it does not do: {kind.limit}\n",
    ]
    if PAGE.with_name(f"{kind.name}.md").exists():
        lines.append(f"- its claim, what breaks it and what it costs: [{kind.name}.md]({kind.name}.md)\n")
    rows = [_row(field.name, field.default, kind) for field in dataclasses.fields(kind)]
    return "".join([*lines, "\n| option | meaning | values | default |\n|---|---|---|---|\n" if rows else "", *rows])


def _row(name: str, default: object, kind: type[Protection]) -> str:
    """Return the row of one parameter."""
    one = parameters_of(kind)[name]
    meaning = f"{one.help} Counts {one.only}." if one.only else one.help
    values = one.allowed.replace(" | ", " or ")
    return f"| `{flag_of(name, one)}` | {meaning} | {values} | {'all' if default == one.choices else default} |\n"


def render() -> str:
    """Return the text of docs/protections.md: what is written by hand, and a section per protection."""
    by_hand = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    return by_hand + BEGIN + "\n" + "\n".join(_section(kind) for kind in PROTECTIONS.values())


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
