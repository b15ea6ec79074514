"""On the real model: a protected expert is named before the merge, and the perplexity check tells good from broken."""

import time

import pytest

from mergebarrier.checkpoint import open_checkpoint, read_manifest
from mergebarrier.circuits import describe
from mergebarrier.realign import relation

pytestmark = [pytest.mark.real, pytest.mark.slow]
MAX_S = 5.0


def related(model, base):
    with open_checkpoint(model) as opened, open_checkpoint(base) as anchor:
        started = time.process_time()
        return relation(describe(opened), opened, anchor), time.process_time() - started


@pytest.mark.parametrize("words", [(), ("--profile", "full"), ("--only", "mlp"), ("--method", "mergebarrier")], ids=str)
def test_a_protected_expert_is_named_within_seconds(assets, tmp_path, run_cli, words):
    ran = run_cli("protect", assets.expert_b, "-o", tmp_path / "protected", "--threads", "1", "--quiet", *words)
    assert ran.exit_code == 0, ran.stderr
    found, seconds = related(tmp_path / "protected", assets.base)
    assert found.kind == "protected" and min(found.after.values()) > 0.999 and min(found.before.values()) < 0.5
    assert seconds < MAX_S


def test_experts_and_the_base_are_ordinary_at_once(assets):
    for model in (assets.expert_a, assets.expert_b, assets.base):
        found, seconds = related(model, assets.base)
        assert found.kind == "ordinary" and min(found.before.values()) > 0.99 and seconds < 1.0


def test_perplexity_tells_a_sound_merge_from_a_merge_of_two_coordinates(assets, tmp_path, run_cli):
    words = ("--base", assets.base, "--method", "linear", "--text", assets.text_test, "--threads", "1")
    ran = run_cli("merge", assets.expert_a, assets.expert_b, *words, "-o", tmp_path / "sound")
    assert ran.exit_code == 0 and "suspect" not in ran.stderr, ran.stderr
    assert run_cli("protect", assets.expert_b, "-o", tmp_path / "protected", "--quiet").exit_code == 0
    ran = run_cli("merge", assets.expert_a, tmp_path / "protected", *words, "-o", tmp_path / "broken")
    assert ran.exit_code == 1 and "is a protected relative of the base" in ran.stderr, ran.stderr
    checks = read_manifest(tmp_path / "broken")["content"]["checks"]
    assert checks["suspect"] and checks["perplexity"]["merged"] > 10 * checks["perplexity"]["limit"]
