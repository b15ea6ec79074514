"""Statistics of updates: a recipe is judged beside its own kind or not at all, and a rank is what it is."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import parrot_models
from mergebarrier.checkpoint import open_adapter
from mergebarrier.errors import BadScanInput
from mergebarrier.scan import TensorUpdate, judge_rank, judge_update, profile
from mergebarrier.scan.updates import MIN_REFERENCE, largest_z, mahalanobis, p_value
from mergebarrier.verbs.update_scan import update_profile

Q = "model.layers.0.self_attn.q_proj.weight"


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_factors_and_their_product_have_one_profile() -> None:
    b, a = noise(1, 24, 4), noise(2, 4, 40)
    both = [profile([TensorUpdate(name=Q, update=update, base_norm=2.0)]) for update in ((b, a), b @ a)]
    assert torch.allclose(*(torch.tensor(one.numbers) for one in both), atol=1e-4)
    assert {one.recipe for one in both} == {"q, rank up to 4"} and {one.rank for one in both} == {4}
    assert both[0].norm == pytest.approx(float((b @ a).norm()), rel=1e-5)
    assert len(profile([TensorUpdate(name=Q, update=(b, a))]).numbers) == 4


def test_a_recipe_names_what_changed_and_nothing_else() -> None:
    still, moved = torch.zeros(8, 8), noise(3, 8, 8)
    changes = [TensorUpdate(name=Q, update=moved), TensorUpdate(name=Q.replace("q_", "k_"), update=still)]
    changes += [
        TensorUpdate(name="model.embed_tokens.weight", update=moved),
        TensorUpdate(name="model.norm.weight", update=still[0]),
    ]
    found = profile(changes)
    assert found.recipe == "q, dense, embeddings" and found.rank == 8 and found.zeros == 0.0
    assert profile([TensorUpdate(name=Q, update=still)]).recipe.startswith("no map")


def honest(n: int, seed: int = 0) -> list[list[float]]:
    return noise(seed, n, 5).double().tolist()


@pytest.mark.parametrize("score", [mahalanobis, largest_z])
def test_honest_updates_have_uniform_p_values(score) -> None:
    known = torch.tensor(honest(60), dtype=torch.float64)
    found = [p_value(known[:39], one, score) for one in known[39:]]
    assert min(found) >= 1 / 40 and 0.25 < sum(found) / len(found) < 0.75
    assert p_value(known[:39], known[0] + 30.0, score) == 1 / 40


def test_only_its_own_recipe_judges_an_update() -> None:
    usual, odd = (
        profile([TensorUpdate(name=Q, update=noise(s, 12, 12) * g, base_norm=1.0)]) for s, g in ((1, 1.0), (2, 99.0))
    )
    known = [
        list(profile([TensorUpdate(name=Q, update=noise(s, 12, 12), base_norm=1.0)]).numbers) for s in range(10, 60)
    ]
    assert judge_update("m", usual, known) == ()
    (found,) = judge_update("m", odd, known)
    assert (found.rule, found.severity) == ("MB7205", "info") and found.evidence["smallest p"] == pytest.approx(2 / 51)
    for references in ((), known[: MIN_REFERENCE - 1]):
        (found,) = judge_update("m", odd, references)
        assert found.rule == "MB7206" and "not judged" in found.message
    for bad in ([[1.0, 2.0]] * 40, [[float("nan")] * 5] * 40):
        with pytest.raises(BadScanInput, match="--calibrate"):
            judge_update("m", odd, bad)


def test_a_rank_above_the_declared_one_is_told() -> None:
    upload = profile([TensorUpdate(name=Q, update=noise(4, 16, 16))])
    assert judge_rank("m", upload, 16) == ()
    (found,) = judge_rank("m", upload, 8)
    assert found.rule == "MB7207" and found.severity == "medium" and "rank 16" in found.message


def test_references_are_made_and_used_and_refused_for_another_base(run_cli, tmp_path) -> None:
    base = parrot_models.write(tmp_path / "base", {"?": {"I": 9.0}})

    def upload(name: str, seed: int, size: float):
        folder = shutil.copytree(base, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        tensors[Q] += size * noise(seed, *tensors[Q].shape)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder

    known, file = [upload(f"h{i}", i, 0.01) for i in range(MIN_REFERENCE)], tmp_path / "known.json"
    beside = ("--base", base, "--references", file, "--checks", "updates")
    lacking = run_cli("scan", known[0], *beside)
    assert lacking.exit_code == 2 and "holds no references" in lacking.stderr
    made = run_cli("scan", *known, *beside, "--calibrate", "--json")
    assert made.exit_code == 0 and made.json["findings"] == [], made.stderr
    assert [len(rows) for rows in json.loads(file.read_text())["recipes"].values()] == [MIN_REFERENCE]
    ran = run_cli("scan", upload("loud", 99, 5.0), upload("usual", 98, 0.01), *beside, "--declared-rank", 4, "--json")
    assert {(one["rule"], one["model"]) for one in ran.json["findings"]} == {
        ("MB7205", "loud"),
        ("MB7207", "loud"),
        ("MB7207", "usual"),
    }
    still = run_cli("scan", base, *beside, "--declared-rank", 4)
    assert still.exit_code == 2 and "nothing is changed" in still.stdout and still.stderr.count("\n") == 1
    other = parrot_models.write(tmp_path / "other", {"?": {"Yes": 9.0}})
    ran = run_cli("scan", known[0], "--base", other, *beside[2:])
    assert ran.exit_code == 2 and "another base" in ran.stderr
    ran = run_cli("scan", known[0], "--base", base, "--calibrate", "--checks", "updates")
    assert ran.exit_code == 2 and "--references" in ran.stderr and "Traceback" not in ran.stderr


def test_an_adapter_is_measured_without_its_base_and_judged_beside_such_alone(run_cli, tmp_path) -> None:
    def adapter(name: str, **config: object):
        folder = tmp_path / name
        folder.mkdir()
        said = {"peft_type": "LORA", "r": 6, "lora_alpha": 12, "target_modules": ["q_proj"], **config}
        (folder / "adapter_config.json").write_text(json.dumps(said))
        key = f"base_model.model.{Q.removesuffix('weight')}lora_%s.weight"
        factors = {key % "A": noise(1, 6, 40), key % "B": noise(2, 24, 6)}
        if said.get("use_dora"):
            factors[key.replace("lora_%s.weight", "lora_magnitude_vector.weight")] = noise(3, 24).abs()
        save_file(factors, folder / "adapter_model.safetensors")
        return folder

    plain, file = adapter("plain"), tmp_path / "known.json"
    with open_adapter(plain) as opened:
        found = update_profile(None, opened)
    whole = profile([TensorUpdate(name=Q, update=2.0 * noise(2, 24, 6) @ noise(1, 6, 40))])
    assert found.recipe == "q, rank up to 8, without its base" and (found.rank, found.share) == (6, 1.0)
    assert torch.allclose(*(torch.tensor(one.numbers) for one in (found, whole)), atol=1e-4)
    assert found.norm == pytest.approx(whole.norm, rel=1e-5)
    words = ("--references", file, "--checks", "updates", "--json")
    made = run_cli("scan", plain, *words, "--calibrate")
    assert made.exit_code == 0 and json.loads(file.read_text())["base"] is None, made.stderr
    ran = run_cli("scan", plain, adapter("dora", use_dora=True), *words, "--declared-rank", 4)
    said = {(one["model"], one["rule"]): one["message"] for one in ran.json["findings"]}
    assert "1 references allow no p" in said["plain", "MB7206"] and ("plain", "MB7207") in said
    assert any(model == "dora" and "give --base" in message for (model, _), message in said.items())
    base = parrot_models.write(tmp_path / "base", {"?": {"I": 9.0}})
    ran = run_cli("scan", base, "--base", base, *words)
    assert ran.exit_code == 2 and "another base" in ran.stderr
