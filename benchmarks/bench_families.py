"""Every verb that needs a table of a family, on a tiny model of every stock class that has one.

The figures, and what each has to stay below, are those of ``tests/helpers/family_verbs.py``; the table goes into the
documentation as it is (``python docs/_generate_families.py``).
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from _quiet import one_quiet_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import family_models
import family_verbs
from family_verbs import GATES, Figure


def row(name: str, figures: Mapping[str, Figure]) -> str:
    """Return one line of the table; what misses its gate is set in bold."""
    cells = [_cell(column, figures[column], figures["float32"]) for column in GATES]
    return f"| {name} | {' | '.join(cells)} |"


def _cell(column: str, figure: Figure, own: Figure) -> str:
    if isinstance(figure, str):
        return f"{'-' if column == 'float32' else 'no'}: {figure}"
    if column in family_verbs.COUNTS:
        text = "all" if figure == 0 else f"{figure:.0f} not"
    else:
        text = f"{figure:.1f}" if column in family_verbs.RATIOS else f"{figure:.0e}" if figure else "0"
    return text if family_verbs.passes(column, figure, own) else f"**{text}**"


def main() -> None:
    """Print what every column means, then the table."""
    one_quiet_thread()
    print(f"| model | {' | '.join(GATES)} |\n|{'---|' * (len(GATES) + 1)}")
    missed = 0
    for name in family_models.MODELS:
        sys.stderr.write(f"{name} ...\n")
        with tempfile.TemporaryDirectory() as scratch:
            line = row(name, family_verbs.figures(name, Path(scratch)))
        missed += line.count("**") // 2
        print(line, flush=True)
    print(f"\n{len(family_models.MODELS)} models, {missed} figures past their gate (in bold). The columns:\n")
    for column, (what, limit) in GATES.items():
        print(f"- {column}: {what}; at most {limit:g}")


if __name__ == "__main__":
    main()
