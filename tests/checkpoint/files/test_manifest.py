"""The manifest: canonical, checked when read, and able to tell what changed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergebarrier.checkpoint import (
    BLAKE3,
    SHA256,
    Writer,
    canonical_json,
    layout_like,
    open_checkpoint,
    read_finished,
    read_manifest,
    verify_manifest,
)
from mergebarrier.errors import BadManifest, CheckpointError
from model_folders import small_tensors, write_folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.fixture(params=[SHA256, BLAKE3])
def written(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    source = write_folder(tmp_path / "model", small_tensors())
    with open_checkpoint(source) as checkpoint:
        layout = layout_like(checkpoint)
        writer = Writer.create(tmp_path / "out", layout, plan={}, inputs=[source], hashing=request.param)
        for name in checkpoint.tensors:
            writer.put(name, checkpoint.read(name))
        writer.finish("all", tuple(checkpoint.tensors))
        return writer.commit({"seed": 1}, {"date": "today"}, {"config.json": checkpoint.read_side_file("config.json")})


@given(JSON)
def test_canonical_json_is_one_text_per_value(value: Any) -> None:
    text = canonical_json(value)
    assert text.endswith(b"\n") and text.isascii() and b"\n" not in text[:-1]
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_has_no_nan_and_sorts_keys() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "ü"]}) == b'{"a":[1.5,"\\u00fc"],"b":1}\n'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_content_does_not_depend_on_the_environment(written: Path) -> None:
    manifest = read_manifest(written)
    assert "today" not in json.dumps(manifest["content"])
    assert str(written.parent) not in json.dumps(manifest["content"])
    assert manifest["environment"] == {"date": "today"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_verify_names_what_changed(written: Path, name: str) -> None:
    assert verify_manifest(written) == []
    data = bytearray((written / name).read_bytes())
    data[-3] ^= 1
    (written / name).write_bytes(data)
    assert [name in problem and "the manifest lists" in problem for problem in verify_manifest(written)] == [True]
    (written / name).write_bytes(data + b"x")
    assert [name in problem for problem in verify_manifest(written)] == [True]
    (written / name).unlink()
    assert ["missing" in problem for problem in verify_manifest(written)] == [True]


def test_a_folder_whose_removal_was_cut_short_is_not_finished(written: Path) -> None:
    whole = {name: (written / name).read_bytes() for name in ("model.safetensors", "config.json")}
    assert read_finished(written) == read_manifest(written)
    for name, data in whole.items():
        (written / name).unlink()
        with pytest.raises(BadManifest, match=name):
            read_finished(written)
        (written / name).write_bytes(data)
    os.truncate(written / "model.safetensors", 100)
    with pytest.raises(BadManifest, match="cut"):
        read_finished(written)


def test_verify_names_extra_weights_and_traps(written: Path) -> None:
    (written / "other.safetensors").write_bytes(b"")
    (written / "config.json").unlink()
    os.mkfifo(written / "config.json")
    problems = verify_manifest(written)
    assert len(problems) == 2 and "regular" in problems[0] and "other.safetensors" in problems[1]


def edited(written: Path, change: Any) -> None:
    document = json.loads((written / "mergebarrier.json").read_text())
    change(document)
    (written / "mergebarrier.json").write_bytes(canonical_json(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["content"].update(seed=2),
        lambda d: d.pop("environment"),
        lambda d: d.update(more=1),
        lambda d: d.update(content=[]),
        lambda d: d["content"].update(schema_version=99),
        lambda d: d["content"].update(schema_version=True),
    ],
)
def test_an_edited_manifest_is_refused(written: Path, change: Any) -> None:
    edited(written, change)
    with pytest.raises(BadManifest):
        read_manifest(written)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"content":1,"content":2}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(written: Path, text: str) -> None:
    (written / "mergebarrier.json").write_text(text)
    with pytest.raises(CheckpointError):
        read_manifest(written)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../b", "a//b", "a/", "a\\b", "a/b/c/d/e", "", ".."])
def test_a_manifest_cannot_make_us_read_elsewhere(written: Path, name: str) -> None:
    import hashlib

    def change(document: dict[str, Any]) -> None:
        document["content"]["output"]["files"][name] = {"sha256": "0" * 64, "size_bytes": 0}
        document["content_sha256"] = hashlib.sha256(canonical_json(document["content"])).hexdigest()

    edited(written, change)
    with pytest.raises(BadManifest, match="not a plain file name"):
        verify_manifest(written)


def test_the_version_says_the_hash_and_a_header_is_part_of_the_weights(written: Path) -> None:
    content = read_manifest(written)["content"]
    (hashing,) = content["output"]["files"]["model.safetensors"].keys() - {"size_bytes"}
    assert content["schema_version"] == {SHA256: 1, BLAKE3: 2}[hashing]
    weights = written / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b'{"format":"pt"}', b'{"format":"np"}'))
    assert [line.partition(":")[0] for line in verify_manifest(written)] == ["model.safetensors"]
