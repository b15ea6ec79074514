"""A protection that changes shapes, or puts other functions in the place of activations: no stock tool merges it, the
audit says so instead of stopping, and undoes what the file shows before its coordinates.
"""

from pathlib import Path
from typing import Any

import pytest

import mergebarrier as mb
from audit_stage import SHORT, Memory, spec
from mergebarrier.audit import run_audit
from mergebarrier.audit.bench import OTHER_SHAPES
from mergebarrier.keys import Key
from mergebarrier.protect import protection_named
from mergebarrier.results import Cell, Result

#: What the chain leaves behind before the model is realigned, and the methods that are audited.
SMALL: dict[str, Any] = {"points": 3, "search_budget": 2, "smooth_evaluations": 0, "aga_settings": 1}
CASES = {"widen": ("widen", {}), "poly": ("mergebarrier", {"ffn": "poly"})}


@pytest.fixture(scope="module", params=CASES)
def found(request: pytest.FixtureRequest, stage, tmp_path_factory) -> tuple[Result, Memory]:
    name, parameters = CASES[request.param]
    method, folder = protection_named(name, parameters), tmp_path_factory.mktemp(request.param)
    key = Key(b"w" * 32) if method.keyed else None
    text = folder / "long.txt"
    text.write_text(stage.world.text.read_text() * 60)
    mb.protect(stage.world.original, folder / "protected", method=method, key=key, text=text if parameters else None)
    journal = Memory()
    asked = spec(stage, folder / "work", protected=folder / "protected", settings=SHORT, levels=(0, 1, 2), **SMALL)
    return run_audit(asked, journal), journal


def test_stock_merges_are_refused_and_counted_as_nothing(found: tuple[Result, Memory]) -> None:
    result, journal = found
    cells = [row for row in journal.used if isinstance(row, Cell) and row.state == "protected"]
    assert cells and all("refused" in cell.parameters for cell in cells)
    assert not any(cell.skill_protected.correct or cell.skill_partner.correct or cell.tokens for cell in cells)
    assert [level.ruf for level in result.levels[:2]] == [0.0, 0.0]


def test_the_protected_model_alone_is_scored_in_its_own_shapes(found: tuple[Result, Memory]) -> None:
    result, _ = found
    alone = result.standalone
    assert alone.protected.skill == alone.original.skill
    assert result.controls["identity"].passed


def test_the_second_level_undoes_the_file_and_then_the_coordinates(found: tuple[Result, Memory]) -> None:
    result, _ = found
    assert result.levels[2].ruf >= 0.9 and result.grade == "C"


def test_the_original_of_other_shapes_still_ends_the_audit(stage, tmp_path: Path) -> None:
    """What is no protection but a wrong input is refused as before."""
    wide = tmp_path / "wide"
    mb.protect(stage.world.partner, wide, method=protection_named("widen", {}), key=Key(b"w" * 32))
    with pytest.raises(OTHER_SHAPES):
        run_audit(spec(stage, tmp_path / "w", partner=wide, settings=SHORT, levels=(0,)), Memory())
