"""What a fresh reader of SECURITY.md broke by the command line, each with the way that was tried (rows 31 and up)."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from mergebarrier.checkpoint.write.place import OutputPlace, publish
from mergebarrier.checkpoint.write.unfinished import take_over
from mergebarrier.errors import BadConfig, OutputExists, PartialOutput, unique
from mergebarrier.evaluate import tokenizer_of
from mergebarrier.scan import kind_of, runs
from tiny_models import save

EVIL = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."


def _zipped(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as table:
        table.writestr(name, data)
    return file.getvalue()


def _tarred(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as table:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        table.addfile(info, io.BytesIO(data))
    return file.getvalue()


HIDDEN = {
    "m.pkl.gz": gzip.compress(EVIL),
    "m.bz2": bz2.compress(EVIL),
    "notes.txt": lzma.compress(EVIL),
    "m.nemo": _tarred("m.ckpt", _zipped("data.pkl", EVIL)),
    "a.tar.gz": gzip.compress(_tarred("x", EVIL)),
    "a.zip": _zipped("b.tar", _tarred("c.gz", gzip.compress(EVIL))),
    "a.png": b"\x89PNG\r\n\x1a\n" + bytes(64) + _zipped("d.pkl", EVIL),
}


def test_a_pickle_in_an_archive_of_any_depth_and_a_file_beside_the_uploads_are_seen(tmp_path: Path, run_cli) -> None:
    pytest.importorskip("picklescan")
    for number, (name, data) in enumerate(HIDDEN.items()):
        (save("llama-gqa-untied", tmp_path / "uploads" / f"u{number}") / name).write_bytes(data)
    (tmp_path / "uploads" / "loose.pkl").write_bytes(EVIL)
    for name, data in (("old.txt", b"cos\nsystem\n(S'x'\ntR."), ("page.html", b"<html><script>x</script></html>")):
        (tmp_path / "uploads" / name).write_bytes(data)
    (tmp_path / "uploads" / "README.md").write_text("notes about the uploads")
    (tmp_path / "uploads" / "out").symlink_to("/etc")
    ran = run_cli("scan", tmp_path / "uploads", "--each", "--json")
    said = {(one["model"], one["rule"], one["severity"]) for one in ran.json["findings"]}
    assert {(f"u{number}", "MB7107", "critical") for number in range(len(HIDDEN))} <= said
    beside = {(name, "MB7100", "high") for name in ("loose.pkl", "old.txt", "page.html", "out")}
    assert ran.exit_code == 2 and beside <= said
    assert not any(model in ("README.md",) for model, _, _ in said)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("evil.pth", b"import os; os.system('id')\n", True), ("paths.pth", b"/usr/lib\n", False),
        ("page.html", b"<p><script>x()</script>", True), ("page.html", b"<p>words</p>", False),
        ("a.svg", b"<svg onload='x()'/>", True), ("a.yaml", b"a: !!python/object/apply:os.system [id]", True),
        ("a.txt", b"<script>", False),
    ],
)  # fmt: skip
def test_texts_that_run_something_are_told_from_those_that_do_not(name: str, text: bytes, found: bool) -> None:
    assert kind_of(name, text) == "text" and runs(name, text) is found


def test_a_log_never_goes_into_a_model_a_key_or_a_file_of_someone_else(tmp_path: Path, run_cli) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    for file in (model / "config.json", model / "new.log", tmp_path / "k.mbkey"):
        before = file.write_text('{"key": 1}') and file.read_bytes() if file.suffix == ".mbkey" else None
        kept = file.read_bytes() if file.exists() else None
        ran = run_cli("inspect", model, "--log-file", file)
        assert ran.exit_code == 2 and "MB1011" in ran.stderr
        assert (file.read_bytes() if file.exists() else None) == kept and (before is None or before == kept)
    for _ in range(2):
        assert run_cli("inspect", model, "--log-file", tmp_path / "log").exit_code == 0


def test_overwrite_replaces_a_bill_by_a_bill_alone(tmp_path: Path, run_cli) -> None:
    for name in "ab":
        save("llama-gqa-untied", tmp_path / name)
    thesis = tmp_path / "thesis"
    words = ("merge", tmp_path / "a", tmp_path / "b", "--method", "linear", "-o", tmp_path / "out", "--overwrite")
    thesis.write_text("mine")
    assert run_cli(*words, "--sbom", thesis).exit_code == 2 and thesis.read_text() == "mine"
    for _ in range(2):
        assert run_cli(*words, "--sbom", tmp_path / "bill.json").exit_code == 0


def test_a_foreign_folder_in_the_place_of_a_run_is_neither_used_nor_moved(tmp_path: Path) -> None:
    place = OutputPlace(tmp_path / "out")
    place.partial.mkdir()
    (place.partial / "thesis").write_text("mine")
    with pytest.raises(PartialOutput, match="not written by mergebarrier"):
        take_over(place, resume=True)
    (place.partial / "thesis").unlink()
    place.model.mkdir()
    place.out.mkdir()
    (place.out / "thesis").write_text("mine")  # it came while the run was writing
    with pytest.raises(OutputExists):
        publish(place)
    assert (place.out / "thesis").read_text() == "mine" and not place.replaced.exists()


def test_a_tokenizer_that_makes_its_library_panic_is_a_refused_file() -> None:
    pytest.importorskip("tokenizers")
    data = (
        b'{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []},'
        b'"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}'
    )
    with pytest.raises(BadConfig):
        tokenizer_of(data, "tokenizer.json")


def test_words_of_the_command_line_that_cost_much_or_leak(tmp_path: Path, run_cli, monkeypatch) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    words = ("merge", model, model, "--method", "linear", "-o")
    assert run_cli(*words, tmp_path / "out", "--threads", 99999).exit_code == 64
    assert run_cli(*words, "/").exit_code == 2
    key = os.urandom(32).hex()
    ran = run_cli("unprotect", model, "--key", key, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and key not in ran.stdout + ran.stderr
    monkeypatch.chdir(tmp_path)
    assert run_cli("scan", model, "--baseline", "/dev/zero").exit_code == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "999999999999")
    assert run_cli("inspect", model).exit_code == 0


def test_a_pickle_of_the_base_is_not_taken_for_that_of_a_model_of_its_name(tmp_path: Path, run_cli) -> None:
    model, base = save("llama-gqa-untied", tmp_path / "base"), save("llama-gqa-untied", tmp_path / "x" / "base")
    known = tmp_path / "known.json"
    for folder, word in ((model, b"true"), (base, b"evil")):
        (folder / "args.bin").write_bytes(b"cposix\nsystem\n(S'" + word + b"'\ntR.")
    known.write_text(run_cli("scan", model, "--json").stdout)
    assert run_cli("scan", model, "--base", base, "--baseline", known).exit_code == 1


@pytest.mark.parametrize(
    ("name", "known", "other"),
    [
        ("chat_template.jinja", "{{ x.__class__ }}", "{{ x.__class__ }}{{ x.__class__.__init__.__globals__ }}"),
        ("a/config.json", '{"auto_map": {"AutoModel": "x.Y"}}', '{"auto_map": {"AutoModel": "evil/x--x.Y"}}'),
        ("config.json", '{"auto_map": {"AutoModel": "x.Y"}}', '{"auto_map": {"AutoModel": "evil/x--x.Y"}}'),
    ],
)
def test_a_baseline_knows_a_name_of_code_and_no_other_in_its_file(tmp_path: Path, run_cli, name, known, other) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text(known)
    baseline = tmp_path / "known.json"
    baseline.write_text(run_cli("scan", model, "--fail-on", "medium", "--json").stdout)
    again = run_cli("scan", model, "--fail-on", "medium", "--baseline", baseline)
    (model / name).write_text(other)
    changed = run_cli("scan", model, "--fail-on", "medium", "--baseline", baseline)
    assert (again.exit_code, changed.exit_code) == (0, 1), again.stdout


def test_a_baseline_that_uploaders_may_change_is_refused(tmp_path: Path, run_cli) -> None:
    model = save("llama-gqa-untied", tmp_path / "work" / "uploads" / "m")
    (tmp_path / "known.json").write_text(run_cli("scan", model, "--json").stdout)
    (tmp_path / "work" / ".git").mkdir()
    places = [model / "known.json", tmp_path / "work" / "uploads" / "known.json", tmp_path / "work" / "known.json"]
    for place in places:
        place.write_text((tmp_path / "known.json").read_text())
    (tmp_path / "link.json").symlink_to(places[-1])
    (tmp_path / "work" / "out.json").symlink_to(tmp_path / "known.json")
    (tmp_path / "alias").symlink_to(model)
    for words in ([model], [tmp_path / "work" / "uploads", "--each"], [tmp_path / "alias"]):
        assert run_cli("scan", *words, "--baseline", tmp_path / "known.json").exit_code == 0
        for place in (*places, tmp_path / "link.json", tmp_path / "work" / "out.json"):
            ran = run_cli("scan", *words, "--baseline", place)
            assert ran.exit_code == 2 and "would decide what is known" in ran.stderr


def test_a_baseline_knows_a_link_and_where_it_leads(tmp_path: Path, run_cli) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    (model / "out").symlink_to("/etc/hostname")
    baseline = tmp_path / "known.json"
    baseline.write_text(run_cli("scan", model, "--json").stdout)
    assert run_cli("scan", model, "--baseline", baseline).exit_code == 0
    (model / "out").unlink()
    (model / "out").symlink_to("/etc/passwd")
    assert run_cli("scan", model, "--baseline", baseline).exit_code == 1


def test_a_baseline_knows_a_pickle_and_no_other_under_its_name(tmp_path: Path, run_cli) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    (model / "training_args.bin").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    first = run_cli("scan", model, "--json")
    baseline = tmp_path / "known.json"
    baseline.write_text(first.stdout)
    assert first.exit_code == 1 and run_cli("scan", model, "--baseline", baseline).exit_code == 0
    for other in (b"cbuiltins\neval\n(S'1'\ntR.", b"cposix\nsystem\n(S'false'\ntR."):
        (model / "training_args.bin").write_bytes(other)
        assert run_cli("scan", model, "--baseline", baseline).exit_code == 1


def test_no_name_of_a_stranger_makes_two_models_one() -> None:
    for names in (["x", "x", "x#2"], ["x", "x#1#1", "x", "x#1"], ["base", "base#1"], ["a"] * 3 + ["a#2", "a#2"]):
        assert len({"base", *unique(names, taken=["base"])}) == len(names) + 1
    assert unique(["a", "b", "a"]) == ("a#1", "b", "a#3"), "the others are called as before"
