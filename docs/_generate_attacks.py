"""Write the table of attacks in docs/backdoors.md from what they declare; a test fails while the two differ."""

import re
from pathlib import Path

from mergebarrier.parameters import parameters_of
from mergebarrier.poison import ATTACKS, described

PAGE = Path(__file__).with_name("backdoors.md")
_BETWEEN = re.compile(r"(<!-- attacks:[^\n]*-->\n).*?(<!-- end of attacks -->)", re.DOTALL)
_HEAD = (
    "| `mergebarrier attack ...` | trigger | what it does | its own options and their defaults |\n|---|---|---|---|\n"
)


def table() -> str:
    """Return the table: a row for each attack, in the order of the registry."""
    rows = []
    for name, attack in ATTACKS.items():
        options = [
            f"`{declared.flag or '--' + field.replace('_', '-')}` {_value(getattr(attack, field))}"
            for field, declared in parameters_of(attack).items()
        ]
        rows.append(f"| `{name}` | {attack.trigger} | {described(name)} | {', '.join(options)} |\n")
    return _HEAD + "".join(rows)


def render(page: str) -> str:
    """Return the page with the table as it is now."""
    return _BETWEEN.sub(lambda marks: f"{marks[1]}\n{table()}\n{marks[2]}", page)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
