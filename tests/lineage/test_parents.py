"""An owner's sign holds for what is made of the model: parents that a card names are asked, where they are here."""

from pathlib import Path

import pytest

from mergebarrier.api.base import cached_folder
from mergebarrier.checkpoint import open_checkpoint, read_manifest
from mergebarrier.lineage import declared, inherited
from mergebarrier.lineage.parents import MAX_PARENTS
from tiny_models import save

NAMES = {"card": "README.md", "licence": "LICENSE", "manifest": "mergebarrier.json"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch):
    """Return cached(name, files): put the words of a model into a Hub cache, without weights."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, **files: str) -> None:
        place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(COMMIT)
        folder = place / "snapshots" / COMMIT
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / NAMES[file]).write_text(text)

    return put


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "a", tmp_path / "b"
    for folder in found:
        save("llama-gqa-untied", folder)
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "a" / "README.md").write_text("---\nlicense: apache-2.0\nbase_model:\n- org/parent\n---\n")
    return found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"card": "---\ntags: [do-not-merge]\n---\n"}, "its parent org/parent: tag do-not-merge"),
        ({"card": "---\nlicense: cc-by-nd-4.0\n---\n"}, "its parent org/parent (its licence cc-by-nd-4.0)"),
        ({"licence": "You may not create derivatives of the weights."}, "its parent org/parent (its LICENSE)"),
        ({"card": "---\na: b: c\n---\n"}, "of its parent org/parent: its model card cannot be read"),
        ({"manifest": "{"}, "of its parent org/parent"),
        ({"card": "---\nbase_model: org/grand\n---\n"}, "its parent org/grand: tag do-not-merge"),
    ],
)
def test_a_parents_sign_stops_and_is_carried(said, why: str, models, cached, tmp_path: Path, run_cli) -> None:
    cached("org/parent", **said)
    cached("org/grand", card="---\ntags: [do-not-merge]\nbase_model: org/parent\n---\n")
    words = ("merge", *models, "--method", "linear", "-o", tmp_path / "out")
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "MB3011" in ran.stderr and why in ran.stderr, ran.stderr
    ran = run_cli(*words, "--acknowledge-licence")
    assert ran.exit_code == 0, ran.stderr
    content = read_manifest(tmp_path / "out")["content"]
    assert why in content["licence"]["acknowledged"][0] and why in str(content["inputs"][0]["declared"])
    with open_checkpoint(tmp_path / "out") as merged:
        assert declared(merged).stops or "of its parent" in why  # what could not be read is no sign to carry


def test_a_parents_licence_is_one_of_the_merge_and_its_attack_mark_too(models, cached, tmp_path: Path, run_cli) -> None:
    cached("org/parent", card="---\nlicense: gpl-3.0\ntags: [attack-artifact]\n---\n")
    ran = run_cli("merge", *models, "--method", "linear", "-o", tmp_path / "out", "--json")
    assert ran.json["licence"]["licence"] == "gpl-3.0"
    assert read_manifest(tmp_path / "out")["content"]["attack-artifact"] is True


def test_no_name_on_a_card_leads_out_of_the_cache(models, tmp_path: Path) -> None:
    asked: list[str] = []
    names = ["../../etc/x", "/etc/passwd", "org/..", "a/b", "x" * 300, "\x1b[31m/b"]
    (models[0] / "README.md").write_text(f"---\nbase_model: {names!r}\n---\n".replace("'", '"').replace("\\x", "\\u00"))
    with open_checkpoint(models[0]) as source:
        said = declared(source)
        assert inherited(said, source, lambda name: asked.append(name)) == (said, [])
    assert asked == ["a/b"] and [cached_folder(name) for name in names] == [None] * 6


@pytest.mark.parametrize(
    "line",
    [
        "base_model: Org/Parent", "base_model: org/parent@main", "base_model: https://huggingface.co/org/parent/tree/main",
        "base_model: hf.co/org/parent", "base_model: '[org/parent](https://huggingface.co/org/parent)'",
        "base_model: {name: org/parent}", "base_model: 'x/y, org/parent'", "base_model: [[org/parent]]",
        "base_models: org/parent", "Base-Model: ' org/parent/ '", "base_model: models--org--parent",
        "finetuned_from: org/parent", "tags: ['base_model:finetune:org/parent']", 
        "base_model: pkg:huggingface/org/parent@1", "base_model: \u043erg/p\u0430rent", "base_model: \uff2frg/parent",
    ],
)  # fmt: skip
def test_a_parent_is_found_however_its_name_is_spelled(models, cached, line: str) -> None:
    cached("org/parent", card="---\ntags: [do-not-merge]\n---\n")
    (models[0] / "README.md").write_text(f"---\nlicense: apache-2.0\n{line}\n---\n")
    with open_checkpoint(models[0]) as source:
        assert "its parent" in inherited(declared(source), source, cached_folder)[0].stops


def test_the_base_that_an_adapter_names_is_a_parent(models, cached, tmp_path: Path) -> None:
    cached("org/parent", card="---\ntags: [do-not-merge]\n---\n")
    with open_checkpoint(models[1]) as source:
        (source.root / "adapter_config.json").write_text('{"base_model_name_or_path": "org/parent"}')
        assert "its parent org/parent" in inherited(declared(source), source, cached_folder)[0].stops
        (source.root / "adapter_config.json").write_text("{")
        assert inherited(declared(source), source, cached_folder)[0].stops == ""


def test_a_card_that_names_more_parents_than_are_asked_stops(models, tmp_path: Path, run_cli) -> None:
    decoys = "".join(f"- org/decoy-{number}\n" for number in range(MAX_PARENTS))
    (tmp_path / "a" / "README.md").write_text(f"---\nlicense: apache-2.0\nbase_model:\n{decoys}- org/last\n---\n")
    ran = run_cli("merge", *models, "--method", "linear", "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "its parent org/last: one of more than 64" in ran.stderr, ran.stderr
    (tmp_path / "a" / "README.md").write_text(f"---\nlicense: apache-2.0\nbase_model:\n{decoys}---\n")
    assert run_cli("merge", *models, "--method", "linear", "-o", tmp_path / "out").exit_code == 0
