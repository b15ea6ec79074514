"""A model card, a licence file or a manifest of a stranger costs little, decides nothing by force, and stays data."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergebarrier.checkpoint import MANIFEST_NAME, open_checkpoint, read_manifest, verify_manifest
from mergebarrier.lineage import declared
from model_folders import small_tensors, write_folder

MAX_S = 2.0


def seconds_allowed() -> float:
    """Return the processor seconds that a hostile file may cost; a tracer, as of coverage, doubles what code costs."""
    return MAX_S * (1 if sys.gettrace() is None else 3)


def within_bounds(read: Callable[[], Any]) -> Any:
    """Return what is read, cheap in one of three turns at least: what else a machine does only adds to the cost."""
    costs = list[float]()
    for _ in range(3):
        started = time.process_time()
        found = read()
        costs.append(time.process_time() - started)
        if costs[-1] < seconds_allowed():
            break
    assert min(costs) < seconds_allowed()
    return found


FINE = "license: mit"

HEADS: dict[str, bytes] = {
    "aliases_that_grow": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nlicense: mit",
    "an_anchor": b"license: &l mit\nlicense_name: *l",
    "a_merge_key": b"x: {license: mit}\n<<: {license: mit}",
    "a_tag_of_python": b"license: !!python/object/apply:os.system [id]",
    "a_licence_twice": b"license: gpl-3.0\nlicense: mit",
    "a_wish_twice": b"license: mit\nmergebarrier: {do_not_merge: true, do_not_merge: false}",
    "ten_megabytes": b"license: mit\nx: " + b"a" * 10_000_000,
    "ten_megabytes_of_keys": b"license: mit\n" + b"".join(b"k%d: 1\n" % i for i in range(900_000)),
    "no_utf8": b"license: mit\nx: \xff\xfe",
    "deep_lists": b"license: mit\nx: " + b"[" * 60_000,
    "deep_lists_closed": b"license: mit\nx: " + b"[" * 60_000 + b"]" * 60_000,
    "deep_indents": b"license: mit\n" + b"".join(b" " * i + b"x:\n" for i in range(450)),
    "many_values": b"license: mit\ntags: [" + b"a," * 60_000 + b"]",
    "a_number_in_base_sixty": b"license: mit\nx: " + b"1:" * 60_000 + b"1",
    "a_number_of_many_digits": b"license: mit\nx: " + b"9" * 120_000,
    "quotes_without_an_end": b'license: mit\nx: "' + b"\\n" * 60_000,
    "two_documents": b"license: mit\n--- \nlicense: gpl-3.0",
    "a_key_of_a_list": b"license: mit\n? [a, b]\n: c",
    "a_nul": b"license: mit\nx: \x00",
}
#: The first fence ends a head, as it does on the Hub.
READ = {"two_documents": "mit"}


def model(folder: Path, seed: int = 1, **files: bytes) -> Path:
    write_folder(folder, small_tensors(seed))
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def card(head: bytes) -> bytes:
    return b"---\n" + head + b"\n---\n# A model\n"


@pytest.mark.parametrize("attack", HEADS)
def test_a_hostile_card_says_nothing_and_costs_little(attack: str, tmp_path: Path) -> None:
    with open_checkpoint(model(tmp_path / "model", README__md=card(HEADS[attack]))) as source:
        found = within_bounds(lambda: declared(source))
    assert found.licence == READ.get(attack, "unknown")
    assert len(found.reason) < 400 and found.reason.isprintable() and not found.do_not_merge and not found.attack
    assert bool(found.stops) is (attack not in READ) and found.stops.isprintable()


@pytest.mark.parametrize("attack", ["aliases_that_grow", "ten_megabytes", "no_utf8", "a_licence_twice"])
def test_a_hostile_card_stops_a_merge_and_gives_no_licence(
    attack: str, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    fine = model(tmp_path / "fine", README__md=card(FINE.encode()))
    evil = model(tmp_path / "evil", 2, README__md=card(HEADS[attack]))
    words = ("merge", fine, evil, "--method", "linear", "-o", tmp_path / "out")
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "MB3011 evil: its model card cannot be read" in ran.stderr
    ran = run_cli(*words, "--acknowledge-licence")
    assert ran.exit_code == 0 and "warning: licence unknown: " in ran.stderr and "evil" in ran.stderr
    assert all(line.isprintable() for line in ran.stderr.splitlines())
    assert read_manifest(tmp_path / "out")["content"]["licence"]["licence"] is None
    assert verify_manifest(tmp_path / "out") == []


WORDS = "x | `y` <b> [z](http://e.example) \x1b[31m \u202e"


def test_hostile_words_stay_words(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    head = f"license: {json.dumps(WORDS)}\nlicense_name: {json.dumps(WORDS)}\nlicense_link: {json.dumps(WORDS)}"
    evil = model(tmp_path / "evil | <i>", README__md=card(head.encode()))
    fine = model(tmp_path / "fine", 2, README__md=card(FINE.encode()))
    ran = run_cli("merge", evil, fine, "--method", "linear", "-o", tmp_path / "out")
    assert ran.exit_code == 0 and all(line.isprintable() for line in ran.stderr.splitlines())
    text = (tmp_path / "out" / "README.md").read_text()
    body = text[text.index("\n---\n", 4) :]
    assert not any(word in body for word in ("<b>", "<i>", "http://", "\x1b", "\u202e", "`y`", "[z]("))
    ran = run_cli("inspect", evil)
    assert ran.exit_code == 0 and all(line.isprintable() for line in ran.stdout.splitlines())


MANIFESTS: dict[str, bytes] = {
    "not_json": b"\xff{",
    "deep": b'{"content":' + b"[" * 1_000_000,
    "long": b'{"content":{"a":"' + b"a" * 20_000_000 + b'"}}',
    "unsigned": b'{"content":{"attack-artifact":false,"verb":"merge"},"content_sha256":"0","environment":{}}',
    "values": b'{"content":{"a":[' + b"1," * 5_000_000 + b"1]}}",
}


@pytest.mark.parametrize("attack", MANIFESTS)
def test_a_hostile_manifest_says_nothing_and_costs_little(attack: str, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", README__md=card(FINE.encode()))
    (folder / MANIFEST_NAME).write_bytes(MANIFESTS[attack])
    with open_checkpoint(folder) as source:
        found = within_bounds(lambda: declared(source))
    assert found.licence == "mit" and not found.attack and not found.protected
    assert found.stops.startswith(f"its {MANIFEST_NAME} cannot be read: ")


def test_a_mark_in_an_edited_manifest_still_counts_in_the_card(tmp_path: Path) -> None:
    folder = model(tmp_path / "model", README__md=card(b"license: mit\ntags: [attack-artifact]"))
    (folder / MANIFEST_NAME).write_bytes(MANIFESTS["unsigned"])
    with open_checkpoint(folder) as source:
        assert declared(source).attack


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "COPYING"])
def test_a_file_that_leads_outside_or_hangs_is_refused(name: str, tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    (tmp_path / "secret").write_text("MIT License")
    folder = model(tmp_path / "model")
    (folder / name).symlink_to(tmp_path / "secret")
    assert run_cli("inspect", folder).exit_code == 2
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert run_cli("inspect", folder).exit_code == 2
