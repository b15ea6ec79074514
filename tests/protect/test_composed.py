"""Several protections by one flag: applied in order, undone backwards, with streams and parameters of their own."""

import hashlib
import json

import pytest

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import UsageError
from mergebarrier.protect import MergeLock, protection_named

PAIRS = ["params+mergelock", "exact+mergebarrier", "mergebarrier+params+mergelock"]


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("config", ["llama-gqa-untied", "gpt2-tied"])
def test_the_function_is_kept_and_the_way_back_is_what_the_manifest_promises(
    names, config, tmp_path, protect, unprotect
):
    folder = tiny_models.save(config, tmp_path / "model")
    out = protect(folder, protection_named(names, {}))
    assert tiny_models.relative_error(*(tiny_models.logits(one, exact_norms=True) for one in (out, folder))) <= 1e-6
    content = json.loads((out / "mergebarrier.json").read_text())["content"]
    with open_checkpoint(unprotect(out)) as back, open_checkpoint(folder) as original:
        if content["parameters"]["reversibility"] == "exact":
            assert back.digests() == original.digests()
        for name in original.tensors:
            error = float((back.read(name) - original.read(name)).double().norm() / original.read(name).double().norm())
            assert error <= content["roundtrip_bound"]


def test_parts_draw_apart_and_keep_their_parameters(tmp_path, protect):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    one, other = (protect(folder, protection_named(names, {})) for names in ("params+mergelock", "mergelock+params"))
    digests = {hashlib.sha256((side / "model.safetensors").read_bytes()).hexdigest() for side in (one, other)}
    assert len(digests) == 2
    content = json.loads((one / "mergebarrier.json").read_text())["content"]
    assert content["parameters"]["params.preset"] == content["parameters"]["mergelock.preset"] == "small"
    assert protection_named("mergelock", {"preset": "paper"}) == MergeLock(preset="paper")


@pytest.mark.parametrize("names", ["params+params", "params+", "nothing", "exact+nothing"])
def test_a_name_that_is_unknown_or_said_twice_is_refused(names):
    with pytest.raises(UsageError) as refused:
        protection_named(names, {})
    assert refused.value.where == "--method"


def test_the_flag_joins_methods_and_refuses_an_option_of_none_of_them(tmp_path, run_cli):
    folder = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    ran = run_cli("protect", folder, "-o", tmp_path / "out", "--method", "params+mergelock", "--kind", "gl", "--quiet")
    assert ran.exit_code == 0
    content = json.loads((tmp_path / "out" / "mergebarrier.json").read_text())["content"]
    assert content["method"] == "params+mergelock" and content["parameters"]["params.kind"] == "gl"
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back", "--quiet")
    assert ran.exit_code == 0
    ran = run_cli("protect", folder, "-o", tmp_path / "no", "--method", "params+mergelock", "--form", "planes")
    assert ran.exit_code == 64
    ran = run_cli("protect", folder, "-o", tmp_path / "no", "--method", "params+mergelock", "--flip-fraction", "0.5")
    assert ran.exit_code == 64 and "--flip-fraction" in ran.stderr
