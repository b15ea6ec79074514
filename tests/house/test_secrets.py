"""The key stays in its file: no output, manifest, weight file, message or traceback holds it, in any spelling."""

import base64
import json
import stat
from pathlib import Path

import pytest

import tiny_models


def _spellings(key: bytes) -> list[bytes]:
    """The key as bytes, hex, base64 and a Python literal, in both cases where that matters."""
    encoded = base64.b64encode(key)
    texts = [key.hex(), key.hex().upper(), str(list(key)), repr(key)]
    return [key, encoded.rstrip(b"="), base64.urlsafe_b64encode(key).rstrip(b"="), *(text.encode() for text in texts)]


def _leaks(key: bytes, *texts: str, folders: tuple[Path, ...] = ()) -> list[str]:
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    places = {f"text {number}": text.encode() for number, text in enumerate(texts)}
    places |= {str(path): path.read_bytes() for path in files}
    return [place for place, content in places.items() if any(spelling in content for spelling in _spellings(key))]


@pytest.fixture(scope="module")
def expert(tmp_path_factory) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path_factory.mktemp("secret") / "expert")


def test_the_search_finds_a_key_that_is_there(tmp_path) -> None:
    key = bytes(range(32))
    (tmp_path / "a").write_text(f"x{key.hex()}y")
    assert _leaks(key, folders=(tmp_path,)) and _leaks(key, base64.b64encode(key).decode())


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_no_output_of_protecting_and_unprotecting_holds_the_key(flags, expert, tmp_path, run_cli) -> None:
    protected, restored, key_file = tmp_path / "protected", tmp_path / "restored", tmp_path / "k.mbkey"
    runs = [
        run_cli("protect", expert, "-o", protected, "--key", key_file, *flags),
        run_cli("inspect", protected, *flags),
        run_cli("unprotect", protected, "--key", key_file, "-o", restored, *flags),
    ]
    assert [ran.exit_code for ran in runs] == [0, 0, 0], [ran.stderr for ran in runs]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = bytes.fromhex(json.loads(key_file.read_text())["key"])
    assert len(key) == 32
    texts = [text for ran in runs for text in (ran.stdout, ran.stderr)]
    assert not _leaks(key, *texts, folders=(protected, restored))


def test_no_message_about_a_bad_key_file_quotes_it(expert, tmp_path, run_cli, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_TRACEBACK", "1")
    protected, key_file = tmp_path / "protected", tmp_path / "k.mbkey"
    assert run_cli("protect", expert, "-o", protected, "--key", key_file).exit_code == 0
    document = json.loads(key_file.read_text())
    key = bytes.fromhex(document["key"])
    for damage in ({"version": 9}, {"key_id": "0" * 16}, {"surplus": 1}, {"key": document["key"] + "00"}):
        key_file.write_text(json.dumps(document | damage))
        ran = run_cli("unprotect", protected, "--key", key_file, "-o", tmp_path / "out")
        assert ran.exit_code == 2 and not (tmp_path / "out").exists(), ran.stderr
        assert not _leaks(key, ran.stdout, ran.stderr)


def test_a_key_is_not_shown_and_not_pickled() -> None:
    import pickle

    from mergebarrier.errors import BadKey
    from mergebarrier.keys import Key

    key = Key(bytes(range(32)))
    assert not _leaks(key.secret, repr(key), str(key), f"{key!r}")
    with pytest.raises(BadKey):
        pickle.dumps(key)
