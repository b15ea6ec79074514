"""Levels 4 to 8 in a whole audit of the tiny world: run where they are asked for, shown, and never below what is under
them."""

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from audit_stage import SHORT, Memory, spec
from mergebarrier.audit import planned, run_audit
from mergebarrier.audit.ladder import LEVELS, checked
from mergebarrier.results import Cell

SMALL: dict[str, Any] = {
    "settings": SHORT, "search_budget": 2, "smooth_evaluations": 2, "learn_steps": 1, "rebasin_steps": 2,
    "recover_samples": 100, "block_steps": 2, "distil_samples": 16, "points": 3, "aga_settings": 0, "scale": True,
    "sibling": True, "weighted": True,
}  # fmt: skip


def test_what_trains_is_run_on_request_only() -> None:
    assert checked(()) == (0, 1, 2, 3, 4)
    assert [number for number, level in LEVELS.items() if level.on_request] == [5, 6, 7, 8]


def further(base: Path, out: Path) -> Path:
    """An expert that moved hardly from the base."""
    shutil.copytree(base, out)
    tensors = {name: 1.0001 * tensor for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_an_audit_up_to_level_8_holds_them_all(stage: Any, tmp_path: Path) -> None:
    journal, public = Memory(), further(stage.world.base, tmp_path / "public")
    asked = spec(stage, tmp_path / "work", levels=tuple(range(9)), publics=(public,), **SMALL)
    result = run_audit(asked, journal)
    by_level = {level.level: level for level in result.levels}
    assert [by_level[number].attack for number in (4, 5, 6)] == [
        "gaugefix, then merging of products", "gaugefix, then a learned gauge",
        "gaugefix, then fine-tuning of the best merge",
    ]  # fmt: skip
    assert min(by_level[number].ruf for number in range(2, 7)) >= 0.9 and result.grade == "C"
    tests = [row for row in journal.used if isinstance(row, Cell) and row.split == "test"]
    found = {(cell.state, cell.merge) for cell in tests}
    assert {("gaugefix", "product_space"), ("unprotected", "product_space"), ("rebasin", "learn"),
            ("gaugefix", "recover-100"), ("base", "honest-100")} <= found  # fmt: skip
    learned = by_level[5]
    assert learned.recovered is not None and learned.recovered.closeness.max_rel_logit_error < 1e-5
    assert learned.tokens > 0 and by_level[5].flops > by_level[2].flops
    sibling, public, weighted, honest = result.extras
    assert weighted.name == "weighted gauge" and weighted.ruf >= 0.9 and weighted.recovered is not None
    assert weighted.recovered.closeness.max_rel_logit_error < 1e-5
    assert public.name == "public experts" and public.ruf >= 0.9 and public.best.merge in ("linear", "slerp")
    assert sibling.name == "sibling" and sibling.ruf >= 0.9 and sibling.best.merge in ("linear", "slerp")
    assert honest.name == "honest" and honest.best.merge == "honest-100" and honest.tokens > 0
    assert all(
        0 < level.hypervolume <= 1 for level in result.levels if 2 <= level.level < 7 and level.hypervolume is not None
    )
    assert {level.level: level.attacker for level in result.levels}[5] == "gradients"
    assert result.scale["original"].width > 0 and len(result.scale["protected"].points) == 18
    assert not any("priced, not run" in note for note in result.notes)
    assert {("blocks", "learn"), ("gaugefix", "distil")} <= found and by_level[8].ruf >= 0.9
    blocks = by_level[7].recovered
    assert blocks is not None and not blocks.preserves_function and by_level[7].tokens > 0
    counted = planned(asked)["cells on validation rows"]
    assert counted == len([row for row in journal.used if isinstance(row, Cell) and row.split == "validation"])
