"""Edits of the protected task vector: what each keeps, and that noise which no input excites is projected away."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from audit_stage import Memory, spec
from mergebarrier.audit.bench import Bench, Blend, spread
from mergebarrier.audit.ladder.edits import EDITS, PROJECTION


@pytest.fixture
def opened(stage: Any, tmp_path: Path) -> Any:
    with ExitStack() as stack:
        bench = Bench(spec(stage, tmp_path / "work", dtype="float32"), Memory(), lambda _: None, stack, states=())
        yield bench, bench.live.blend(*(bench.checkpoints[role] for role in ("base", "original", "partner")))


def taus(bench: Bench, blend: Blend, search: Any) -> dict[str, torch.Tensor]:
    """What an edit at coefficients (1, 0) leaves of every task vector."""
    blend.write(spread((0.0, 0.0), blend.names))
    base = {name: value.detach().clone() for name, value in bench.live.module.named_parameters()}
    search(blend, bench, (1.0, 0.0), 1)
    return {name: value.detach() - base[name] for name, value in bench.live.module.named_parameters()}


def test_an_edit_keeps_so_many_entries_or_such_a_rank(opened: Any) -> None:
    bench, blend = opened
    kept = {tuner.name: taus(bench, blend, tuner.search) for tuner in EDITS}
    for name, value in kept["rank-4"].items():
        if value.dim() == 2:
            assert int((value.count_nonzero() / value.numel() * 100).round()) > 50 and (
                torch.linalg.svdvals(value)[4:].max() < 1e-4 * torch.linalg.svdvals(value)[0]
            ), name
            assert abs(float(kept["top-20"][name].count_nonzero()) / value.numel() - 0.2) < 0.02, name


def test_what_no_input_excites_is_projected_away(opened: Any) -> None:
    bench, blend = opened
    name = "model.layers.0.mlp.down_proj.weight"
    before = taus(bench, blend, lambda mix, bench, start, n: mix.write(spread(start, mix.names)))
    after = taus(bench, blend, PROJECTION.search)
    assert 0 < after[name].norm() < before[name].norm()
    assert torch.equal(after["model.norm.weight"], before["model.norm.weight"]), "no linear map"
