"""``merge --as adapter``: what is written loads in peft and computes what the merged model computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mergebarrier.checkpoint import AdaptedCheckpoint, open_adapter, open_checkpoint, read_manifest, verify_manifest
from peft_adapters import loaded, logits_of, merged_by_peft, save_adapter
from tiny_models import build, save

NAME = "llama-gqa-untied"
A = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"]}
B = {"r": 5, "use_rslora": True, "target_modules": ["up_proj", "o_proj"], "rank_pattern": {"o_proj": 2}}
C = {"r": 3, "lora_alpha": 9, "target_modules": ["q_proj", "up_proj"]}
CONV_A = {"r": 2, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
CONV_B = {"r": 4, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, "bias": "lora_only"}
HEAD = {"r": 2, "target_modules": ["v_proj", "embed_tokens"], "modules_to_save": ["lm_head", "norm"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("output")
    save(NAME, root / "base")
    save("gpt2-tied", root / "conv_base")
    pairs: dict[str, tuple[str, dict[str, Any]]] = {
        "a": (NAME, A), "b": (NAME, B), "c": (NAME, C), "head": (NAME, HEAD),
        "conv_a": ("gpt2-tied", CONV_A), "conv_b": ("gpt2-tied", CONV_B),
    }  # fmt: skip
    for i, (name, (base, config)) in enumerate(pairs.items()):
        save_adapter(root / name, base, i, **config)
    return root


FORMS = {
    "linear": (NAME, "base", ("a", "b"), ["--method", "linear", "--weight", "0.3", "--weight", "0.7"]),
    "sum_of_three": (NAME, "base", ("a", "b", "c"), ["--method", "task_arithmetic", "--coefficient", "0.5"]),
    "ties": (NAME, "base", ("a", "b"), ["--method", "ties", "--density", "0.4", "--rank", "48"]),
    "dare": (NAME, "base", ("a", "c"), ["--method", "dare_ties", "--density", "0.5", "--seed", "3", "--rank", "72"]),
    "knots": (NAME, "base", ("a", "b"), ["--method", "knots", "--density", "0.4", "--rank", "48"]),
    "conv1d": ("gpt2-tied", "conv_base", ("conv_a", "conv_b"), ["--method", "task_arithmetic"]),
    "whole": (NAME, "base", ("a", "head"), ["--method", "task_arithmetic", "--coefficient", "0.6"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_written_adapter_is_the_merged_model_on_its_base(form: str, world, tmp_path, run_cli) -> None:
    family, base, names, words = FORMS[form]
    adapters = [world / name for name in names]
    for kind in ("adapter", "model"):
        given = words if kind == "adapter" else [word for word in words if word not in ("--rank", "48", "72")]
        ran = run_cli(
            "merge", *adapters, "--base", world / base, *given, "--as", kind, "-o", tmp_path / kind, "--quiet"
        )
        assert ran.exit_code == 0, ran.stderr
    assert verify_manifest(tmp_path / "adapter") == []
    merged, wanted = merged_by_peft(family, tmp_path / "adapter"), load_file(tmp_path / "model" / "model.safetensors")
    for name, tensor in wanted.items():
        torch.testing.assert_close(
            merged[name], tensor, rtol=1e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    module = build(family)
    module.load_state_dict(wanted, strict=False)
    torch.testing.assert_close(logits_of(loaded(family, tmp_path / "adapter")), logits_of(module), rtol=2e-3, atol=2e-3)
    with open_checkpoint(world / base) as model, open_adapter(tmp_path / "adapter") as adapter:
        expert = AdaptedCheckpoint(model, adapter)
        assert all(factors.scale == 1.0 for factors in adapter.factors.values())
        assert {n for n in wanted if not torch.equal(wanted[n], model.read(n))} <= set(expert.changes)


def test_the_manifest_and_the_card_tell_ranks_scales_and_residuals(world, tmp_path, run_cli) -> None:
    words = ["--method", "task_arithmetic", "--as", "adapter", "--rank", "2", "-o", tmp_path / "out", "--json"]
    ran = run_cli("merge", world / "a", world / "b", *words)
    assert ran.exit_code == 0, ran.stderr
    content = read_manifest(tmp_path / "out")["content"]
    assert [(item["role"], item["name"]) for item in content["inputs"]] == [("adapter", "a"), ("adapter", "b")]
    assert content["output_kind"] == "adapter" and content["lora_space"] == "product"
    modules = content["checks"]["modules"]
    assert modules["model.layers.0.mlp.up_proj"]["rank"] == 2
    assert 0.1 < modules["model.layers.0.mlp.up_proj"]["residual"] < 1
    assert modules["model.layers.0.self_attn.o_proj"]["residual"] < 1e-6
    assert 0 < content["checks"]["residual"] < 1 and ran.json["checks"]["residual"] == content["checks"]["residual"]
    with open_adapter(world / "a") as a, open_adapter(world / "b") as b, open_adapter(tmp_path / "out") as out:
        square = missed = 0.0
        for module in out.factors:
            both = [adapter for adapter in (a, b) if module in adapter.factors]
            pairs = [(adapter.factors[module].scale, *adapter.read(module)) for adapter in both]
            wanted = sum(s * left @ right for s, left, right in pairs)
            left, right = out.read(module)
            square += float(wanted.square().sum())
            missed += float((wanted - left @ right).square().sum())
    assert content["checks"]["residual"] == pytest.approx((missed / square) ** 0.5, rel=0.01)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model_relation: adapter" in card and "library_name: peft" in card and "residual" in card
    for text in (card, json.dumps(content)):
        assert str(world) not in text and str(tmp_path) not in text


def test_factor_space_is_done_on_request_and_warns_with_a_figure(world, tmp_path, run_cli) -> None:
    words = ["--method", "linear", "--as", "adapter", "--lora-space", "factor", "-o", tmp_path / "out"]
    ran = run_cli("merge", world / "a", world / "c", *words)
    assert ran.exit_code == 0, ran.stderr
    share = read_manifest(tmp_path / "out")["content"]["checks"]["cross_terms"]
    assert share > 0.1 and f"{100 * share:.3g} % of the update" in ran.stderr
    with open_adapter(tmp_path / "out") as out:
        assert {factors.rank for factors in out.factors.values()} == {3}


def test_a_recipe_writes_the_adapter_that_the_flags_write(world, tmp_path, run_cli) -> None:
    base = world / "base"
    (tmp_path / "r.yaml").write_text(
        f"merge_method: ties\nbase_model: {base}\nmodels:\n"
        f"- {{model: {base}+{world / 'a'}, parameters: {{weight: 1, density: 0.4}}}}\n"
        f"- {{model: {base}+{world / 'b'}, parameters: {{weight: 1, density: [0.4, 0.8]}}}}\n"
        "mergebarrier: {as: adapter, rank: 6}\n"
    )
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "recipe", "--json")
    assert ran.exit_code == 0, ran.stderr
    words = ["--base", base, "--method", "ties", "--density", "0.4", "--as", "adapter", "--rank", "6"]
    assert run_cli("merge", world / "a", world / "b", *words, "-o", tmp_path / "flags", "--quiet").exit_code == 0
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("recipe", "flags"))
    assert ours.keys() == theirs.keys()
    same = {name: torch.equal(ours[name], theirs[name]) for name in ours}
    for name, equal in same.items():
        assert equal == (".layers.0." in name or "q_proj" in name), "b changes with depth, and has no q_proj"
    assert read_manifest(tmp_path / "recipe")["content"]["recipe"]["mergebarrier"] == {"as": "adapter", "rank": 6}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("out_dtype: bfloat16", "out_dtype: has no effect when the output is an adapter"),
        ("chat_template: auto", "chat_template: has no effect when the output is an adapter"),
        ("mergebarrier: {as: adapter, rank: 0}", "rank is 0"),
        ("mergebarrier: {as: adaptor}", "as is 'adaptor'"),
        ("mergebarrier: {lora_space: factor}", "lora_space: has no effect when the output is a whole model"),
    ],
)
def test_a_recipe_that_no_adapter_can_follow_is_refused(more, says, world, tmp_path, run_cli) -> None:
    kind = "" if "mergebarrier" in more else "mergebarrier: {as: adapter}\n"
    (tmp_path / "r.yaml").write_text(
        f"merge_method: linear\nparameters: {{weight: 1}}\n{kind}{more}\n"
        f"models: [{{model: {world / 'base'}+{world / 'a'}}}, {{model: {world / 'base'}+{world / 'b'}}}]\n"
    )
    ran = run_cli("merge", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and says in ran.stderr, ran.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_inside_of_what_is_read_is_refused(world, run_cli) -> None:
    for inside in ("base", "a"):
        words = ["--base", world / "base", "--method", "linear", "--as", "adapter", "-o", world / inside / "out"]
        ran = run_cli("merge", world / "a", world / "b", *words)
        assert ran.exit_code == 2 and "is inside the other" in ran.stderr, ran.stderr
        assert not (world / inside / "out").exists()


def test_threads_workers_and_a_second_run_write_the_same_bytes(world, tmp_path, run_cli) -> None:
    found = []
    for i, words in enumerate((["--threads", "1"], ["--threads", "2", "--workers", "3"])):
        words += ["--base", world / "base", "--method", "ties", "--density", "0.5", "--as", "adapter", "--rank", "4"]
        assert run_cli("merge", world / "a", world / "b", *words, "-o", tmp_path / str(i), "-q").exit_code == 0
        found.append((tmp_path / str(i) / "adapter_model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_an_interrupted_merge_goes_on(world, tmp_path, run_cli, monkeypatch) -> None:
    from mergebarrier.merge.adapters.adapters import AdapterPlan

    merge, words = AdapterPlan.merge, ["--method", "linear", "--as", "adapter", "--rank", "3", "-q", "--workers", "1"]
    assert run_cli("merge", world / "a", world / "b", *words, "-o", tmp_path / "whole").exit_code == 0
    calls = []

    def dies(self: AdapterPlan, unit: str) -> Any:
        calls.append(unit)
        if len(calls) == 4:
            raise OSError("power cut")
        return merge(self, unit)

    monkeypatch.setattr(AdapterPlan, "merge", dies)
    assert run_cli("merge", world / "a", world / "b", *words, "-o", tmp_path / "out").exit_code != 0
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(AdapterPlan, "merge", merge)
    assert run_cli("merge", world / "a", world / "b", *words, "-o", tmp_path / "out", "--resume").exit_code == 0
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md", "mergebarrier.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["a", "base", "--method", "linear", "--as", "adapter"], 64, "this is a whole model"),
        (["a", "b", "--method", "linear", "--rank", "3"], 2, "rank: has no effect when the output is a whole model"),
        (
            ["a", "b", "--method", "linear", "--as", "model", "--lora-space", "factor"],
            2,
            "no effect when the output is a whole model",
        ),
        (["a", "b", "--method", "linear", "--as", "adapter", "--lora-space", "factor"], 2, "adapters of one rank"),
        (["a", "head", "--method", "linear", "--as", "adapter"], 2, "give --base"),
        (["a", "conv_a", "--method", "linear", "--as", "adapter"], 2, "fan_in_fan_out"),
        (
            ["a", "b", "--method", "linear", "--as", "adapter", "--base", "conv_base"],
            2,
            "the base conv_base has no model",
        ),
    ],
)
def test_what_cannot_be_an_adapter_is_refused(words, exit_code, says, world, tmp_path, run_cli) -> None:
    words = [world / word if (world / word).exists() else word for word in words]
    ran = run_cli("merge", *words, "-o", tmp_path / "out")
    assert ran.exit_code == exit_code and says in ran.stderr, ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_be_written(world, tmp_path, run_cli) -> None:
    words = ["--method", "linear", "--as", "adapter", "--dry-run", "--json", "-o", tmp_path / "out"]
    ran = run_cli("merge", world / "a", world / "b", *words)
    assert ran.exit_code == 0 and ran.json["modules"] == 6 and ran.json["ranks"] == [2, 3, 8]
    assert list(tmp_path.iterdir()) == []
