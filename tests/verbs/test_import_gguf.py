"""A GGUF file becomes the folder that its weights say; a bad one is refused with one line and nothing is left."""

import struct
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

import gguf_files
import mergebarrier as mb
from mergebarrier.checkpoint import open_checkpoint, verify_manifest
from mergebarrier.errors import BadHeader, MergebarrierError, NotACheckpoint
from mergebarrier.evaluate import FORMATS, load_module
from mergebarrier.lineage import declared

TOKENS = torch.arange(3, 40)[None]


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(TOKENS).logits


def test_floats_come_back_bit_for_bit_and_compute_the_same(tmp_path) -> None:
    module = gguf_files.llama()
    report = mb.import_gguf(gguf_files.write(module, tmp_path / "m.gguf"), tmp_path / "out")
    assert (report.architecture, report.dtype, report.notes) == ("llama", "float32", None)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in module.state_dict().items())
    with open_checkpoint(tmp_path / "out") as model:
        assert torch.equal(logits(load_module(model, "float32")), logits(module))
    assert verify_manifest(tmp_path / "out") == []
    assert mb.protect(tmp_path / "out", tmp_path / "p", key=mb.Key(bytes(32))).method == "exact", "every verb reads it"


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantised_files_give_their_grid_and_say_so(kind, tmp_path) -> None:
    module = gguf_files.llama()
    file = gguf_files.write(module, tmp_path / "m.gguf", kind)
    report = mb.import_gguf(file, tmp_path / "out", dtype="float32")
    assert report.notes is not None and kind in report.notes[0] and "grid" in (tmp_path / "out/README.md").read_text()
    assert mb.import_gguf(file, tmp_path / "auto").dtype == "bfloat16"
    owner = mb.protect(tmp_path / "out", tmp_path / "p", key=mb.Key(bytes(32)))
    assert owner.notes is not None and f"quantised ({kind})" in owner.notes[-1]
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in module.state_dict().items():
        assert torch.equal(stored[name], FORMATS[f"GGUF {kind}"](tensor) if tensor.dim() > 1 else tensor), name


def test_what_the_file_says_of_itself_and_what_lies_beside_it_is_carried(tmp_path, monkeypatch) -> None:
    class Saying(gguf.GGUFWriter):
        def write_header_to_file(self) -> None:
            self.add_license("cc-by-nd-4.0")
            self.add_tags(["do-not-merge"])
            self.add_description("words\x1b[31m")
            super().write_header_to_file()

    monkeypatch.setattr(gguf, "GGUFWriter", Saying)
    file = gguf_files.write(gguf_files.llama(), tmp_path / "m.gguf")
    (tmp_path / "README.md").write_text("---\ntags: [attack-artifact]\n---\n")
    mb.import_gguf(file, tmp_path / "out")
    assert "\x1b" not in (tmp_path / "out/README.md").read_text()
    for _ in range(2):  # with its manifest, and with the card alone
        with open_checkpoint(tmp_path / "out") as model:
            said = declared(model)
        assert said.do_not_merge and said.no_derivatives and said.attack and said.licence == "cc-by-nd-4.0"
        (tmp_path / "out/mergebarrier.json").unlink(missing_ok=True)


SAID = {
    "big endian": "written for big-endian machines; give the little-endian file",
    "first version": "version 1 of the format, 2 and 3 are read; convert the original model again",
    "no values": "output_norm.weight has no values: its shape is (0,)",
    "unknown type": "output_norm.weight is of type 999, which the installed package gguf does not know",
    "part of a split": "part 1 of 3 of a split file; join the parts with `llama-gguf-split --merge FIRST OUT`",
    "adapter": "it holds a LoRA adapter, not a model; give the file of the model",
    "twice": "the tensor blk.1.ffn_up.weight is there twice",
}


def _behind_norm(good: bytes) -> int:
    """Return where the number of dimensions of the last norm stands."""
    return good.find(b"output_norm.weight") + len(b"output_norm.weight")


def _shaped(good: bytes, size: int) -> bytes:
    at = _behind_norm(good) + 4
    return good[:at] + struct.pack("<Q", size) + good[at + 8 :]


def _typed(good: bytes, kind: int) -> bytes:
    at = _behind_norm(good) + 12
    return good[:at] + struct.pack("<I", kind) + good[at + 4 :]


def _with_entry(good: bytes, key: str, value: bytes) -> bytes:
    """Add an entry in front of the others, with bytes that keep the data where they are aligned."""
    if not good:
        return good
    entries = struct.unpack("<Q", good[16:24])[0]
    return good[:16] + struct.pack("<QQ", entries + 1, len(key)) + key.encode() + value + good[24:]


def bad_files(good: bytes) -> dict[str, bytes]:
    """Return what may be wrong with a file, by name."""
    head = 4 + 4 + 8 + 8
    return {
        "empty": b"",
        "another kind": b"PK\x03\x04" + good[4:],
        "version": good[:4] + struct.pack("<I", 99) + good[8:],
        "counts": good[:8] + struct.pack("<QQ", 2**60, 2**60) + good[head:],
        "no tensors": good[:8] + struct.pack("<Q", 0) + good[16:],
        "cut header": good[:200],
        "cut data": good[:-500],
        "long key": good[:head] + struct.pack("<Q", 2**62) + good[head + 8 :],
        "twice": good.replace(b"blk.0.ffn_up.weight", b"blk.1.ffn_up.weight"),
        "dimensions": good.replace(b"output_norm.weight" + struct.pack("<I", 1), b"output_norm.weight\xff\0\0\0"),
        "architecture": good.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llamo"),
        "big endian": good[:4] + struct.pack(">I", 3) + good[8:],
        "first version": good[:4] + struct.pack("<I", 1) + good[8:],
        "no values": _shaped(good, 0),
        "unknown type": _typed(good, 999),
        "part of a split": _with_entry(good, "split.count", struct.pack("<IH", 2, 3)),
        "adapter": _with_entry(good, "general.type", struct.pack("<IQ", 8, 7) + b"adapter"),
        "not a text": good.replace(b"general.architecture", b"general.\xff\xfechitecture"),
    }


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    return gguf_files.write(gguf_files.llama(), tmp_path_factory.mktemp("good") / "m.gguf").read_bytes()


@pytest.mark.parametrize("fault", bad_files(b""))
def test_a_bad_file_is_refused_with_one_line(fault, good, tmp_path, run_cli) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(bad_files(good)[fault])
    with pytest.raises(MergebarrierError) as refused:
        mb.import_gguf(file, tmp_path / "out")
    assert isinstance(refused.value, NotACheckpoint | BadHeader) or fault == "architecture"
    assert refused.value.where and refused.value.remedy and "\n" not in str(refused.value)
    ran = run_cli("import-gguf", file, "-o", tmp_path / "out")
    assert SAID.get(fault, "") in ran.stderr
    assert ran.exit_code == 2 and ran.stdout == "" and "Traceback" not in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.gguf"]


def test_a_plan_looks_at_the_header_alone(tmp_path, run_cli) -> None:
    file: Path = gguf_files.write(gguf_files.llama(), tmp_path / "m.gguf", "Q4_0")
    ran = run_cli("import-gguf", file, "-o", tmp_path / "out", "--dry-run", "--json")
    assert ran.exit_code == 0 and ran.json["types"]["Q4_0"] > 0 and not (tmp_path / "out").exists()
