"""A protected fine-tune is told from an ordinary one and from a stranger, in every family of the tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.circuits import describe
from mergebarrier.realign import Relation, relation
from tiny_models import CONFIGS, save, save_expert

PROTECTIONS: dict[str, tuple[str, ...]] = {
    "lossless": (),
    "full": ("--profile", "full"),
    "mlp_only": ("--only", "mlp"),
    "residual_only": ("--only", "residual"),
    "attention_only": ("--only", "attention,heads"),
    "mergebarrier": ("--method", "mergebarrier"),
}


def related(model: Path, base: Path) -> Relation:
    with open_checkpoint(model) as opened, open_checkpoint(base) as anchor:
        return relation(describe(opened), opened, anchor)


@pytest.fixture(scope="module", params=CONFIGS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A base, near and far fine-tunes of it, and a stranger."""
    root = tmp_path_factory.mktemp(request.param)
    save(request.param, root / "base")
    save(request.param, root / "stranger", seed=7)
    save_expert(request.param, root / "near")
    save_expert(request.param, root / "far", step=0.3)
    return request.param, root


@pytest.mark.parametrize("name", ["base", "near", "far"])
def test_an_ordinary_fine_tune_is_not_suspected(family: tuple[str, Path], name: str) -> None:
    found = related(family[1] / name, family[1] / "base")
    assert found.kind == "ordinary" and min(found.before.values()) > 0.9 and found.after == {}


def test_a_stranger_is_unrelated_and_not_protected(family: tuple[str, Path]) -> None:
    found = related(family[1] / "stranger", family[1] / "base")
    assert found.kind == "unrelated" and max(found.after.values()) < 0.45


@pytest.mark.parametrize("how", PROTECTIONS)
def test_a_protected_fine_tune_is_seen_whatever_was_moved(
    family: tuple[str, Path], how: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    ran = run_cli("protect", family[1] / "near", "-o", tmp_path / "out", "--quiet", *PROTECTIONS[how])
    assert ran.exit_code == 0, ran.stderr
    found = related(tmp_path / "out", family[1] / "base")
    assert found.kind == "protected" and min(found.before.values()) < 0.6 and min(found.after.values()) > 0.99
