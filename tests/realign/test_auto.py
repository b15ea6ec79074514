"""``auto`` names the kind of every protection and brings the expert back, or says why it cannot."""

import pytest
from safetensors.torch import load_file

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import MethodRefused
from mergebarrier.keys import Key
from mergebarrier.protect import PROTECTIONS, protection_named
from mergebarrier.realign import Auto

NAME = "llama-gqa-untied"
#: What it calls each method; a method that is new here has to be given its word.
WORDS = {
    "exact": "as exact", "mergebarrier": "as mergebarrier", "params": "as params", "mergelock": "as mergelock",
    "widen": "as widen", "params+mergelock": "as params", "exact+widen": "as widen",
}  # fmt: skip


@pytest.mark.parametrize("method", [*PROTECTIONS, "params+mergelock", "exact+widen"])
def test_it_names_what_it_sees_and_brings_the_expert_back(method, tmp_path, run_cli):
    base, expert, out, back = (tmp_path / name for name in ("base", "expert", "out", "back"))
    tiny_models.save(NAME, base)
    tiny_models.save_expert(NAME, expert)
    protection = protection_named(method, {})
    with open_checkpoint(expert) as source:
        key = Key(bytes([1]) * 32) if protection.keyed else None
        verbs.protect(source, protection, key, verbs.OutputOptions(out))
    ran = run_cli("realign", out, "--base", base, "-o", back, "--method", "auto")
    assert ran.exit_code == 0 and WORDS[method] in ran.stdout
    sides = [load_file(side / "model.safetensors") for side in (back, expert, base)]
    left, task = (
        sum(float((side[n] - sides[1][n]).double().square().sum()) for n in sides[1]) ** 0.5
        for side in (sides[0], sides[2])
    )
    assert left < 0.7 * task
    assert {path.name for path in tmp_path.iterdir()} == {"base", "expert", "out", "back"}


@pytest.mark.parametrize(("only", "word"), [("mlp", "exact --only mlp"), ("heads", "exact --only heads")])
def test_a_part_is_named_as_what_moves_that_part(only, word, tmp_path, run_cli):
    base = tiny_models.save(NAME, tmp_path / "base")
    expert = tiny_models.save_expert(NAME, tmp_path / "expert")
    assert run_cli("protect", expert, "--only", only, "-o", tmp_path / "out").exit_code == 0
    ran = run_cli("realign", tmp_path / "out", "--base", base, "-o", tmp_path / "back", "--method", "auto")
    assert ran.exit_code == 0 and word in ran.stdout


def test_an_ordinary_fine_tune_is_called_so_and_without_a_base_it_says_what_it_lacks(tmp_path, run_cli):
    base = tiny_models.save(NAME, tmp_path / "base")
    expert = tiny_models.save_expert(NAME, tmp_path / "expert")
    ran = run_cli("realign", expert, "--base", base, "-o", tmp_path / "out", "--method", "auto")
    assert ran.exit_code == 0 and "an ordinary fine-tune" in ran.stdout
    with open_checkpoint(expert) as model, pytest.raises(MethodRefused, match="against the base") as refused:
        verbs.realign(model, None, Auto(), verbs.OutputOptions(tmp_path / "no"))
    assert refused.value.remedy and not (tmp_path / "no").exists()
