"""A folder in the cache is complete or absent, whoever else is at work and however it ended."""

import threading

import pytest

from mergebarrier.cache import cache_folder
from mergebarrier.errors import InternalError, MergebarrierError
from mergebarrier.zoo import side_by_side
from mergebarrier.zoo.packages.cache import make_once
from waiting import stands_in, until


def fill(out) -> None:
    out.mkdir()
    (out / "a").write_text("a")


def test_the_user_says_where(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MERGEBARRIER_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "mergebarrier")


def test_it_is_made_once(tmp_path) -> None:
    place = tmp_path / "zoo" / "x" / "key"
    assert make_once(place, fill) == place and (place / "a").read_text() == "a"
    make_once(place, lambda out: pytest.fail("made twice"))
    assert [p.name for p in place.parent.iterdir() if not p.name.endswith(".lock")] == ["key"]


def test_a_failure_leaves_no_folder_and_the_next_call_starts_afresh(tmp_path) -> None:
    place = tmp_path / "key"

    def half(out) -> None:
        fill(out)
        raise InternalError("half-way")

    with pytest.raises(InternalError):
        make_once(place, half)
    assert not place.exists()
    (tmp_path / ".key.making").mkdir()
    (tmp_path / ".key.making" / "left by a killed process").write_text("x")
    make_once(place, fill)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".key.lock", "key"]


def test_two_at_once_make_it_once(tmp_path) -> None:
    made = []

    def slow(out) -> None:
        made.append(out)
        others = [thread for thread in threads if thread is not threading.current_thread()]
        until(lambda: all(stands_in(thread, "_locked") or stands_in(thread, "slow") for thread in others))
        fill(out)

    threads = [threading.Thread(target=make_once, args=(tmp_path / "key", slow)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and (tmp_path / "key" / "a").is_file()


def test_processes_side_by_side_make_what_they_are_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path))
    seen = []
    side_by_side.make_together(["tickets", "items"], lambda done, total: seen.append((done, total)))
    for name in ("tickets", "items"):
        assert len(list((tmp_path / "zoo" / name).glob("*/test.jsonl"))) == 1


def test_the_line_of_a_child_that_failed_is_the_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path))
    with pytest.raises(MergebarrierError, match="no asset is named 'none'") as refused:
        side_by_side.make_together(["items", "none"], lambda done, total: None)
    assert "MB9005" in str(refused.value)
