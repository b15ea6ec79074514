"""Key files: private, never overwritten, never inside a model, and refused when anything is off."""

import json
import os
import stat
from pathlib import Path

import pytest

import tiny_models
from mergebarrier.errors import BadKey, MergebarrierError, OutputExists, UnsafePath
from mergebarrier.keys import key_id, read_key_file, write_key_file
from model_folders import small_tensors, write_folder

KEY = bytes(range(32))
GOLDEN = (
    b'{"algorithm":"hkdf-sha256","key":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
    b'"key_id":"7ca73cda3416d80d","version":1}\n'
)


def test_a_key_comes_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_key_file(tmp_path / "k.mbkey", KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k.mbkey").stat().st_mode) == 0o600
    assert read_key_file(tmp_path / "k.mbkey") == KEY


def test_the_format_of_release_one_is_readable_for_ever(tmp_path: Path) -> None:
    write_key_file(tmp_path / "k.mbkey", KEY)
    assert (tmp_path / "k.mbkey").read_bytes() == GOLDEN
    (tmp_path / "old.mbkey").write_bytes(GOLDEN)
    (tmp_path / "old.mbkey").chmod(0o600)
    assert read_key_file(tmp_path / "old.mbkey") == KEY


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_key_file(tmp_path / "k.mbkey", KEY)
    with pytest.raises(OutputExists):
        write_key_file(tmp_path / "k.mbkey", bytes(32))
    assert read_key_file(tmp_path / "k.mbkey") == KEY


def test_a_key_is_not_written_into_a_model_folder_or_through_a_link(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    with pytest.raises(BadKey, match="model folder"):
        write_key_file(folder / "k.mbkey", KEY)
    (tmp_path / "link.mbkey").symlink_to(tmp_path / "target")
    with pytest.raises(OutputExists):
        write_key_file(tmp_path / "link.mbkey", KEY)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    write_key_file(tmp_path / "k.mbkey", KEY)
    (tmp_path / "k.mbkey").chmod(mode)
    with pytest.raises(BadKey, match="chmod 600"):
        read_key_file(tmp_path / "k.mbkey")


@pytest.mark.parametrize(
    "change",
    [
        {"key": "00"},
        {"key": 5},
        {"key": "00" * 32},
        {"key_id": "0" * 16},
        {"version": 2},
        {"algorithm": "rot13"},
        {"more": 1},
    ],
)
def test_a_malformed_key_is_refused_without_showing_it(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "k.mbkey"
    path.write_text(json.dumps(json.loads(GOLDEN) | change))
    path.chmod(0o600)
    with pytest.raises(BadKey) as caught:
        read_key_file(path)
    assert KEY.hex() not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"{" * 100, b" " * 70_000, b'{"key":1,"key":2}'])
def test_rubbish_is_no_key(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "k.mbkey").write_bytes(text)
    (tmp_path / "k.mbkey").chmod(0o600)
    with pytest.raises(MergebarrierError):
        read_key_file(tmp_path / "k.mbkey")


def test_missing_and_special_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match="no such key file"):
        read_key_file(tmp_path / "none.mbkey")
    os.mkfifo(tmp_path / "fifo.mbkey", 0o600)
    with pytest.raises(UnsafePath):
        read_key_file(tmp_path / "fifo.mbkey")
    with pytest.raises(BadKey):
        write_key_file(tmp_path / "no" / "folder.mbkey", KEY)
    with pytest.raises(BadKey, match="31"):
        write_key_file(tmp_path / "short.mbkey", bytes(31))


def test_the_key_id_does_not_tell_the_key() -> None:
    assert key_id(KEY) == json.loads(GOLDEN)["key_id"]
    assert key_id(bytes(32)) != key_id(KEY)


@pytest.mark.parametrize("below", ["k.mbkey", "keys/k.mbkey", "a/b/k.mbkey"])
def test_a_key_anywhere_in_a_model_folder_is_refused(tmp_path: Path, below: str, run_cli) -> None:
    model = tiny_models.save("llama-gqa-untied", tmp_path / "model")
    place = model / below
    place.parent.mkdir(parents=True, exist_ok=True)
    ran = run_cli("protect", model, "--key", place, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "MB4002" in ran.stderr and not place.exists()
    made = run_cli("protect", model, "-o", tmp_path / "made")
    assert made.exit_code == 0
    (tmp_path / "made.mbkey").rename(place)
    ran = run_cli("protect", model, "--key", place, "-o", tmp_path / "out")
    assert ran.exit_code == 2 and "would be published" in ran.stderr and not list(tmp_path.glob("out*"))
