"""A bill of materials is valid CycloneDX 1.7, names every ancestor that is known, and believes nobody's manifest."""

import hashlib
import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

import peft_adapters
import tiny_models
from mergebarrier.lineage import bill_of_materials
from mergebarrier.lineage.ancestry import MAX_ANCESTORS, MAX_DEPTH, made_from
from mergebarrier.lineage.licence import KIND_OF

#: All that the merge was made of, of the first generation and the second.
INPUTS = ("base", "adapter", "expert", "protected", "one", "two", "earlier")
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_7)


def valid(text: str) -> dict:
    """Return a document that the library of CycloneDX takes."""
    fault = VALIDATOR.validate_str(text)
    assert fault is None, fault
    return json.loads(text)


def ancestors(component: dict) -> list[dict]:
    """Return all ancestors at any depth."""
    parents = component.get("pedigree", {}).get("ancestors", [])
    return [one for parent in parents for one in (parent, *ancestors(parent))]


def properties(component: dict) -> dict[str, str]:
    return {item["name"].removeprefix("mergebarrier:"): item["value"] for item in component["properties"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory, run):
    """A merge of three: an adapter on the base, a protected expert, and a merge of two more."""
    folder = tmp_path_factory.mktemp("bill")
    for name in ("base", "expert", "one", "two"):
        tiny_models.save("qwen2", folder / name)
        (folder / name / "README.md").write_text(f"---\nlicense: mit\n---\n# {name}\n")
        (folder / name / "LICENSE").write_text(f"MIT License\n\nCopyright (c) {name}\n")
        (folder / name / "NOTICE").write_text(f"notice of {name}\n")
    peft_adapters.save_adapter(folder / "adapter", "qwen2", r=2, target_modules=["q_proj"])
    for file, text in (("LICENSE", "MIT License\n\nCopyright (c) adapter\n"), ("NOTICE", "notice of adapter\n")):
        (folder / "adapter" / file).write_text(text)
    run("protect", folder / "expert", "-o", folder / "protected")
    run("merge", folder / "one", folder / "two", "--method", "linear", "-o", folder / "earlier")
    models = (f"{folder / 'base'}+{folder / 'adapter'}", folder / "protected", folder / "earlier")
    bill = folder / "bill.cdx.json"
    run("merge", *models, "--method", "linear", "--sbom", bill, "-o", folder / "merged")
    return folder, bill.read_text()


@pytest.fixture(scope="module")
def run():
    """Run the command line in this process; it must succeed."""
    from mergebarrier.cli import main

    def run(*words) -> None:
        assert main([str(word) for word in words]) == 0

    return run


def test_the_bill_of_a_merge_names_every_ancestor(world) -> None:
    folder, text = world
    bill = valid(text)
    found = ancestors(bill["metadata"]["component"])
    named = [one["name"] for one in found]
    assert {"base", "adapter", "protected", "earlier", "one", "two"} <= set(named)
    original = json.loads((folder / "protected" / "mergebarrier.json").read_text())["content"]["inputs"][0]
    assert original["content_digest"] in {properties(one)["content_digest"] for one in found}
    assert len({one["bom-ref"] for one in found}) == len(found)
    assert all(one["licenses"] == [{"license": {"id": "MIT"}}] for one in found if one["name"] in ("one", "two"))
    files = {file["name"]: file["hashes"] for file in bill["components"]}
    for name, hashes in files.items():
        digest = hashlib.sha256((folder / "merged" / name).read_bytes()).hexdigest()
        assert hashes == [{"alg": "SHA-256", "content": digest}]
    written = {path.name for path in (folder / "merged").iterdir()}
    assert files.keys() == written - {"mergebarrier.json"}


def test_inspect_prints_the_same_bill_and_other_models_have_one_too(world, run, capsys) -> None:
    folder, text = world
    capsys.readouterr()
    run("inspect", folder / "merged", "--format", "cyclonedx")
    assert capsys.readouterr().out == text
    run("inspect", folder / "base", "--format", "cyclonedx")
    bill = valid(capsys.readouterr().out)
    assert bill["metadata"]["component"]["name"] == "base" and "pedigree" not in bill["metadata"]["component"]


def test_all_licence_texts_and_notices_of_the_inputs_are_in_the_output(world) -> None:
    folder, _ = world
    texts = [file for name in INPUTS for file in (folder / name).iterdir() if file.name in ("LICENSE", "NOTICE")]
    assert len(texts) == 2 * len(INPUTS)
    kept = [one for one in (folder / "merged").rglob("*") if one.is_file() and one.suffix != ".safetensors"]
    said = [one.read_text(encoding="utf-8") for one in kept]
    lost = [file for file in texts if not any(file.read_text().strip() in text for text in said)]
    assert lost == [], f"{len(texts) - len(lost)} of {len(texts)}"


def test_a_bill_that_is_there_is_not_replaced(world, capsys) -> None:
    from mergebarrier.cli import main

    folder, text = world
    words = ("merge", folder / "one", folder / "two", "--method", "linear", "--sbom", folder / "bill.cdx.json")
    assert main([*map(str, words), "-o", str(folder / "again")]) == 2
    assert "is there already" in capsys.readouterr().err and not (folder / "again").exists()
    assert (folder / "bill.cdx.json").read_text() == text


@pytest.mark.parametrize("left", ["", "whole"])
def test_a_bill_that_a_killed_run_left_is_written_again_by_resume(left: str, world, tmp_path) -> None:
    from mergebarrier.cli import main

    folder, _ = world
    bill = tmp_path / "again.cdx.json"
    words = ("merge", folder / "one", folder / "two", "--method", "linear", "--sbom", bill, "-o", tmp_path / "again")
    assert main([*map(str, words)]) == 0
    whole = bill.read_text()
    bill.write_text(whole if left else "")
    assert main([*map(str, words), "--resume"]) == 0 and bill.read_text() == whole
    bill.write_text("notes of mine")
    assert main([*map(str, words), "--resume"]) == 2 and bill.read_text() == "notes of mine"


@pytest.mark.parametrize("licence", KIND_OF)
def test_every_licence_of_the_tables_is_named_as_cyclonedx_names_it(licence: str) -> None:
    bill = valid(json.dumps(bill_of_materials("m", None, licence=licence, version="1")))
    (said,) = bill["metadata"]["component"]["licenses"]
    assert next(iter(said["license"].values())).lower().removesuffix("-only") == licence


def test_a_model_of_the_hub_has_a_package_url() -> None:
    bill = bill_of_materials("org/Ti ny", None, licence="unknown", version="1", revision="ABCD")
    assert valid(json.dumps(bill))["metadata"]["component"]["purl"] == "pkg:huggingface/org/Ti%20ny@abcd"


KEYS = st.sampled_from("inputs made name role licence content_digest declared output files sha256 verb method".split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda some: st.lists(some) | st.dictionaries(KEYS, some)
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(KEYS, JSON))
def test_any_manifest_gives_a_valid_bill(content) -> None:
    valid(json.dumps(bill_of_materials("m", content, licence="unknown", version="1")))
    made = made_from(content)
    if made is not None:
        valid(json.dumps(bill_of_materials("m", {"inputs": [{"made": made}]}, licence="unknown", version="1")))


def test_a_manifest_cannot_make_a_bill_without_end() -> None:
    deep: dict = {"inputs": []}
    for _ in range(10 * MAX_DEPTH):
        deep = {"inputs": [{"name": "deep", "made": deep}]}
    wide = {"inputs": [{"name": f"{number}"} for number in range(2 * MAX_ANCESTORS)]}
    for content, most in ((deep, MAX_DEPTH), (wide, MAX_ANCESTORS)):
        made = made_from(content)
        bill = bill_of_materials("m", made, licence="unknown", version="1")
        assert 0 < len(ancestors(bill["metadata"]["component"])) <= most
    assert made["left_out"] == MAX_ANCESTORS
    assert "512 more ancestors are not named" in bill["metadata"]["component"]["pedigree"]["notes"]
