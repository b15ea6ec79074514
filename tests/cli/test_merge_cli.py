"""``mergebarrier merge`` writes a complete folder that says what went in, and refuses what it cannot merge."""

import json
from dataclasses import fields
from pathlib import Path

import click
import pytest
import torch
from safetensors.torch import load_file

from merge_models import tensors
from mergebarrier.checkpoint import read_manifest, verify_manifest
from mergebarrier.cli._merge_options import merge_options, methods
from mergebarrier.cli.merge import command
from mergebarrier.errors import folder_name
from mergebarrier.lineage import model_card
from mergebarrier.merge import DATA_MERGES, MERGES, make
from mergebarrier.parameters import parameters_of


@pytest.fixture
def family(save):
    """A base and two experts of it, on disk and in memory."""
    models = [tensors(i) for i in range(3)]
    folders = [save(name, model) for name, model in zip(("base", "a", "b"), models, strict=True)]
    for folder, licence in zip(folders, ("mit", "mit", "apache-2.0"), strict=True):
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# {folder.name}\n")
    (folders[0] / "tokenizer_config.json").write_text('{"from": "base"}')
    return folders, models


def merged_by(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def test_the_help_names_every_method_and_the_command_has_its_options() -> None:
    context = click.Context(command)
    offered = {option.name: option for option in command.get_params(context)}
    assert isinstance(offered["method"].type, click.Choice)
    assert tuple(offered["method"].type.choices) == (*MERGES, *DATA_MERGES)


def test_every_parameter_of_every_method_has_an_option_and_every_option_a_method() -> None:
    members = [*MERGES.values(), *DATA_MERGES.values()]
    # ``gram_bytes`` follows from --max-ram.
    parameters = {field.name for member in members for field in fields(member)} - {"seed", "gram_bytes"}
    options = {option.name for option in merge_options(methods())} - {"method"}
    assert options == parameters and options <= {option.name for option in command.get_params(click.Context(command))}


def test_every_parameter_of_every_method_is_declared() -> None:
    for member in [*MERGES.values(), *DATA_MERGES.values()]:
        assert [field.name for field in fields(member)] == list(parameters_of(member)), member.name


@pytest.mark.parametrize(
    ("words", "wanted_method"),
    [
        (["--method", "linear", "--weight", "1", "--weight", "3"], make("linear", weights=(1.0, 3.0))),
        (["--method", "linear", "--weight", "0.5", "--no-normalize"], make("linear", weights=(0.5,), normalize=False)),
        (["--method", "task_arithmetic", "--coefficient", "0.7"], make("task_arithmetic", coefficient=0.7)),
        (["--method", "ties", "--density", "0.2", "--reduce", "mean"], make("ties", density=0.2, reduce="mean")),
        (["--method", "ties", "--density", "0.2", "--density", "0.9"], make("ties", density=(0.2, 0.9))),
        (["--method", "dare_linear", "--density", "0.5", "--seed", "7"], make("dare_linear", density=0.5, seed=7)),
        (
            ["--method", "dare_ties", "--density", "0.5", "--rescale", "inverse", "--elect", "unweighted"],
            make("dare_ties", density=0.5, rescale="inverse", elect="unweighted"),
        ),
        (["--method", "slerp", "-t", "0.25"], make("slerp", t=0.25)),
        (["--method", "multislerp"], make("multislerp", task_vectors=True)),
        (["--method", "nuslerp", "--no-flatten", "--no-task-vectors"], make("nuslerp", flatten=False)),
        (["--method", "karcher", "--max-iter", "3"], make("karcher", max_iter=3)),
        (
            ["--method", "breadcrumbs", "--density", "0.5", "--gamma", "0.1"],
            make("breadcrumbs", density=0.5, gamma=0.1),
        ),
        (["--method", "della", "--density", "0.5", "--seed", "7"], make("della", density=0.5, seed=7)),
        (
            ["--method", "della_linear", "--epsilon", "0.1", "--epsilon", "0.2"],
            make("della_linear", epsilon=(0.1, 0.2)),
        ),
        (["--method", "ram", "--epsilon", "0.01"], make("ram", epsilon=0.01)),
        (["--method", "consensus", "--agreement", "1"], make("consensus", agreement=1)),
        (["--method", "iso_cts", "--common-space-fraction", "0.5"], make("iso_cts", common_space_fraction=0.5)),
    ],
)
def test_each_method_writes_what_its_function_returns(run_cli, family, tmp_path, words, wanted_method) -> None:
    (base, *experts), models = family
    ran = run_cli("merge", *experts, "--base", base, *words, "-o", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.json["kind"] == "merge" and ran.json["method"] == wanted_method.name
    merged = merged_by(tmp_path / "out")
    for name in models[0]:
        wanted = wanted_method.merge(models[0][name], [model[name] for model in models[1:]], name=name)
        assert torch.equal(merged[name], wanted), name
    assert verify_manifest(tmp_path / "out") == []


def test_the_manifest_and_the_card_tell_what_went_in(run_cli, family, tmp_path) -> None:
    (base, a, b), _ = family
    words = ("--method", "ties", "--density", "0.5", "--coefficient", "0.8", "-o", tmp_path / "out")
    assert run_cli("merge", a, b, "--base", base, *words).exit_code == 0
    content = read_manifest(tmp_path / "out")["content"]
    assert [(source["role"], source["name"]) for source in content["inputs"]] == [
        ("base", "base"),
        ("expert", "a"),
        ("expert", "b"),
    ]
    assert all(len(source["tensors"]) == 3 for source in content["inputs"])
    assert content["parameters"]["density"] == 0.5 and content["parameters"]["elect"] == "weighted"
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model:\n- "base"\n- "a"\n- "b"\nbase_model_relation: merge\n' in card
    assert '\nlicense: "apache-2.0"\n' in card and content["licence"]["verdict"] == "compatible"
    assert all(source["content_digest"] in card for source in content["inputs"])
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()) == {"from": "base"}
    text = (tmp_path / "out" / "mergebarrier.json").read_text()
    assert str(tmp_path) not in text and str(tmp_path) not in card


def test_workers_and_a_second_run_write_the_same_bytes(run_cli, family, tmp_path) -> None:
    (base, *experts), _ = family
    words = ("--base", base, "--method", "dare_ties", "--density", "0.5")
    files = []
    for name, workers in (("one", 1), ("two", 2)):
        assert run_cli("merge", *experts, *words, "--workers", workers, "-o", tmp_path / name).exit_code == 0
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0].keys() == files[1].keys() and "mergebarrier.json" in files[0]
    differ = [name for name in files[0] if files[0][name] != files[1][name]]
    assert not differ


def test_shards_of_the_donor_are_kept(run_cli, save, tmp_path) -> None:
    first, second = tensors(0), tensors(1)
    split = [{name: model[name]} for model in (first,) for name in model]
    a, b = save("a", *split), save("b", second)
    assert run_cli("merge", a, b, "--method", "linear", "-o", tmp_path / "out").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == sorted(
        path.name for path in a.glob("*.safetensors")
    )
    assert verify_manifest(tmp_path / "out") == []


def test_a_base_among_the_models_comes_first_where_no_base_is_used(run_cli, family, tmp_path) -> None:
    (_, a, b), models = family
    ran = run_cli("merge", a, b, "--base", b, "--method", "slerp", "-t", "0.1", "-o", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    name = "model.norm.weight"
    wanted = make("slerp", t=0.1).merge(None, [models[2][name], models[1][name]], name=name)
    assert torch.equal(merged_by(tmp_path / "out")[name], wanted)


def test_dry_run_tells_the_plan_and_writes_nothing(run_cli, family, tmp_path) -> None:
    (base, *experts), _ = family
    words = ("--base", base, "--method", "ties", "--dry-run", "--json", "-o", tmp_path / "out")
    ran = run_cli("merge", *experts, *words)
    assert ran.exit_code == 0 and ran.json["kind"] == "plan"
    assert ran.json["tensors"] == 3 and ran.json["bytes_read"] == 3 * ran.json["bytes_written"]
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["--method", "tie"], 64, "'tie' is not one of"),
        (["--method", "linear", "--density", "0.5"], 64, "--density: not an option of linear"),
        (["--method", "slerp"], 64, "give -t"),
        (["--method", "nearswap"], 64, "nearswap needs a step; give -t"),
        (["--method", "nearswap", "-t", "0.1"], 2, "got 2 experts, takes exactly 1"),
        (["--method", "karcher", "--task-vectors"], 64, "--task-vectors: not an option of karcher"),
        (["--method", "della", "--density", "0.1"], 2, "density 0.1 and epsilon 0.15 give probabilities from -0.05"),
        (["--method", "ties", "--density", "2"], 2, "MB3003 ties: density is 2.0"),
        (
            ["--method", "ties", "--weight", "1", "--weight", "1", "--weight", "1"],
            2,
            "3 values of weights for 2 experts",
        ),
        (["--method", "ties", "--base", "BASE-LISTED"], 64, "the base is also among the models"),
        (["--method", "ties", "--no-base"], 64, "No such option"),
        (["--method", "task_arithmetic", "--base", "NONE"], 2, "needs the base model"),
    ],
)
def test_a_merge_that_cannot_be_done_is_one_line_and_writes_nothing(run_cli, family, tmp_path, words, exit_code, says):
    (base, a, b), _ = family
    words = [{"BASE-LISTED": str(a)}.get(word, word) for word in words]
    if "NONE" in words:
        words = words[: words.index("--base")]
    elif "--base" not in words and "slerp" not in words:
        words += ["--base", str(base)]
    ran = run_cli("merge", a, b, *words, "-o", tmp_path / "out")
    assert ran.exit_code == exit_code and says in ran.stderr, ran.stderr
    assert ran.stderr.count("\n") == 1 and not list(tmp_path.glob("out*"))


def test_equal_models_are_noted(run_cli, save, tmp_path) -> None:
    a, b = save("a", tensors(1)), save("b", tensors(1))
    ran = run_cli("merge", a, b, "--method", "linear", "-o", tmp_path / "out")
    assert ran.exit_code == 0 and "a and b are the same weights" in ran.stderr


def test_a_name_cannot_break_out_of_the_card() -> None:
    name = 'x"\n- evil: [1] | <script> https://evil.example @you'
    source = {"role": "expert", "name": name, "licence": "mit\nevil: 1", "content_digest": "0" * 64}
    licence = {"verdict": "unknown", "licence": None, "reason": f"{name} says nothing", "acknowledged": [name]}
    checks = {"warnings": [name], "weights": {"norm_ratio": 1.0, "tensors": 1, "cosine": {name: 1.0}}}
    content = {"method": "linear", "parameters": {"a": name}, "inputs": [source], "licence": licence, "checks": checks}
    lines = model_card(content | {"version": "0"}).splitlines()
    head, body = lines[: lines.index("---", 1)], "\n".join(lines[lines.index("---", 1) :])
    assert "- " + json.dumps(name) in head and not any(line.startswith("- evil") for line in lines)
    assert not any(word in body for word in ("<script>", "https://", "@you"))


def test_a_model_of_the_hub_cache_is_named_by_its_hub_name() -> None:
    assert folder_name(Path("/x/models--org--some-model/snapshots/abc")) == "org/some-model"
    assert folder_name(Path("/x/my-expert")) == "my-expert"
