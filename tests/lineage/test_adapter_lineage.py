"""What an adapter says about itself counts like what a model says, whether it becomes a model or stays an adapter."""

from pathlib import Path

import pytest
import torch

from mergebarrier.checkpoint import read_manifest, verify_manifest
from peft_adapters import save_adapter
from tiny_models import save

NAME = "llama-gqa-untied"
FORMS = {"model": (), "adapter": ("--as", "adapter")}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A base under the licence of Llama 3.1 and two adapters, one under Apache-2.0, one under MIT."""
    save(NAME, tmp_path / "base", dtype=torch.bfloat16)
    for seed, name in ((1, "a"), (2, "b")):
        save_adapter(tmp_path / name, NAME, seed, r=3, lora_alpha=6, target_modules=["q_proj", "up_proj"])
    for name, licence in (("base", "llama3.1"), ("a", "apache-2.0"), ("b", "mit")):
        (tmp_path / name / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    return tmp_path


def words(world: Path, form: str) -> tuple[object, ...]:
    given = ("--base", world / "base", "--method", "task_arithmetic", "-o", world / "out")
    return (world / "a", world / "b", *given, *FORMS[form])


@pytest.mark.parametrize(("form", "licence"), [("model", "llama3.1"), ("adapter", "apache-2.0")])
def test_the_licence_covers_all_that_goes_in(world: Path, run_cli, form: str, licence: str) -> None:
    """The sum of two adapters needs no tensor of the base."""
    ran = run_cli("merge", *words(world, form))
    assert ran.exit_code == 0 and "licence" not in ran.stderr, ran.stderr
    found = read_manifest(world / "out")["content"]["licence"]
    assert (found["verdict"], found["licence"]) == ("compatible", licence)
    assert verify_manifest(world / "out") == []


@pytest.mark.parametrize("form", FORMS)
def test_the_wish_of_an_adapters_owner_stops_the_merge(world: Path, run_cli, form: str) -> None:
    (world / "b" / "README.md").write_text("---\nlicense: mit\ntags: [no-merge]\n---\n")
    ran = run_cli("merge", *words(world, form))
    assert ran.exit_code == 2 and "MB3011 b: its owner asks not to merge it" in ran.stderr, ran.stderr
    assert not list(world.glob("out*"))
    assert run_cli("merge", *words(world, form), "--acknowledge-licence").exit_code == 0
    (wish,) = read_manifest(world / "out")["content"]["licence"]["acknowledged"]
    assert wish.startswith("b: ")
