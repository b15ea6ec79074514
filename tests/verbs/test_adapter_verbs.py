"""BASE+ADAPTER stands for a model in the other verbs: what they write is what they write for the whole model."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergebarrier.audit import AuditSpec
from mergebarrier.audit.bench.workbench import Bench
from mergebarrier.checkpoint import AdaptedCheckpoint, open_checkpoint, open_reference
from mergebarrier.evaluate import load_module
from mergebarrier.report import Journal
from model_folders import write_folder
from peft_adapters import logits_of, save_adapter
from tiny_models import save, save_expert

NAME = "llama-gqa-untied"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter of it, and the model that the two make."""
    root = tmp_path_factory.mktemp("verbs")
    save(NAME, root / "base")
    save_adapter(root / "lora", NAME, 1, r=3, lora_alpha=0.5, target_modules=["q_proj", "up_proj", "down_proj"])
    config = json.loads((root / "base" / "config.json").read_text())
    with open_reference(f"{root / 'base'}+{root / 'lora'}") as expert:
        assert isinstance(expert, AdaptedCheckpoint)
        write_folder(root / "whole", {name: expert.read(name) for name in expert.tensors}, config=config)
    return root


@pytest.mark.parametrize(
    "words",
    [
        ["protect", "MODEL", "--key", "KEY"],
        ["realign", "MODEL", "--base", "BASE"],
        ["merge", "MODEL", "--base", "BASE", "--method", "ties", "--density", "0.5"],
    ],
    ids=lambda words: words[0],
)
def test_a_verb_writes_the_same_for_a_base_with_an_adapter(words, world, tmp_path, run_cli) -> None:
    found = []
    for name in (f"{world / 'base'}+{world / 'lora'}", world / "whole"):
        out = tmp_path / str(len(found))
        names = {"MODEL": name, "KEY": tmp_path / "k.mbkey", "BASE": world / "base"}
        ran = run_cli(*(names.get(word, word) for word in words), "-o", out, "--quiet")
        assert ran.exit_code == 0, ran.stderr
        found.append(load_file(out / "model.safetensors"))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_it_is_inspected_and_run_like_the_whole_model(world, run_cli) -> None:
    expert = f"{world / 'base'}+{world / 'lora'}"
    ran = run_cli("inspect", expert, "--json")
    assert ran.exit_code == 0 and ran.json["family"] == run_cli("inspect", world / "whole", "--json").json["family"]
    with open_reference(expert) as ours, open_checkpoint(world / "whole") as theirs:
        one, other = (logits_of(load_module(model, "float32")) for model in (ours, theirs))
    assert torch.equal(one, other)


def test_an_output_never_touches_either_folder(world, tmp_path, run_cli) -> None:
    expert = f"{world / 'base'}+{world / 'lora'}"
    for inside in ("base", "lora"):
        out = world / inside / "out"
        for words in (["protect", expert, "--key", tmp_path / "k"], ["merge", expert, "--method", "linear"]):
            ran = run_cli(*words, "-o", out)
            assert ran.exit_code == 2 and "is inside the other" in ran.stderr, ran.stderr
        assert not out.exists()


def test_a_literal_folder_wins_and_another_model_is_not_mistaken(world, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(world / "base")
    (tmp_path / "lora").symlink_to(world / "lora")
    with open_reference("base+lora") as expert:
        assert isinstance(expert, AdaptedCheckpoint)
    save_expert(NAME, tmp_path / "base+lora")
    with open_reference("base+lora") as model, open_checkpoint("base+lora") as same:
        assert not isinstance(model, AdaptedCheckpoint) and model.content_digest() == same.content_digest()


def test_an_adapter_is_scanned_as_the_model_that_it_makes(world, tmp_path, run_cli) -> None:
    lora = tmp_path / "lora"
    shutil.copytree(world / "lora", lora)
    (lora / "README.md").write_text("---\ntags:\n- do-not-merge\n---\n# An adapter\n")
    both, base = f"{world / 'base'}+{lora}", world / "base"
    with open_checkpoint(world / "whole") as whole:
        wanted = whole.content_digest()
    for model, name in ((lora, "lora"), (both, "base+lora")):
        ran = run_cli("scan", model, "--base", base, "--checks", "folder,relation", "--json")
        assert ran.exit_code == 0 and ran.json["checks_run"] == ["folder", "relation"]
        assert [(one["rule"], one["model"]) for one in ran.json["findings"]] == [("MB7103", name)]
        assert ran.json["digests"][name] == wanted
    (lora / "adapter_model.safetensors").write_bytes(b"no tensors")
    ran = run_cli("scan", lora, "--base", base, "--json")
    assert ran.exit_code == 1 and ran.json["findings"][0]["rule"] == "MB7101"


def test_an_audit_opens_an_adapter_as_the_model_that_it_makes(world, tmp_path) -> None:
    rows = [json.dumps({"prompt": f"w{i}", "answer": f"w{i + 1}"}) for i in range(4)]
    (tmp_path / "task.jsonl").write_text("\n".join(rows))
    (world / "lora" / "README.md").write_text("---\nlicense: mit\n---\n")
    task = tmp_path / "task.jsonl"
    both = Path(f"{world / 'base'}+{world / 'lora'}")
    spec = AuditSpec(
        protected=both,
        original=world / "whole",
        base=world / "base",
        partner=world / "lora",
        task=task,
        partner_task=task,
        work=tmp_path,
    )
    with ExitStack() as stack:
        journal = Journal.open(tmp_path / "report", resume=False, overwrite=False)
        bench = Bench(spec, journal, lambda _: None, stack, states=())
        digests = {role: bench.digest(role) for role in ("original", "protected", "partner")}
        assert len(set(digests.values())) == 1 and digests["original"] != bench.digest("base")
        assert bench.model("protected").name == "base+lora" and bench.model("partner").licence == "unknown"


def test_dora_is_no_product_and_read_where_weights_are_transposed(tmp_path, run_cli) -> None:
    save(NAME, tmp_path / "base")
    save_adapter(tmp_path / "dora", NAME, 1, r=3, target_modules=["q_proj"], use_dora=True)
    words = ["merge", tmp_path / "dora", tmp_path / "dora", "--method", "linear", "-o", tmp_path / "out"]
    ran = run_cli(*words, "--as", "adapter")
    assert ran.exit_code == 2 and "leave --as out" in ran.stderr and not (tmp_path / "out").exists()
    assert run_cli(*words, "--base", tmp_path / "base").exit_code == 0
    save("gpt2-tied", tmp_path / "gpt2")
    kept = {"target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": True}
    save_adapter(tmp_path / "transposed", "gpt2-tied", 1, r=3, **kept)
    ran = run_cli("inspect", f"{tmp_path / 'gpt2'}+{tmp_path / 'transposed'}")
    assert ran.exit_code == 0, ran.stderr
