"""Task and text files from strangers are read whole or refused with file, line and fault."""

import os

import pytest

from mergebarrier.errors import BadTask, BadText
from mergebarrier.evaluate import TaskRow, read_task, read_text

GOOD = b'{"prompt": "a", "answer": " b"}'


def test_rows_come_in_file_order_with_a_digest(tmp_path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_bytes(GOOD + b"\n" + '{"answer": "Ω", "prompt": "β\\n"}'.encode())
    task = read_task(path)
    assert task.rows == (TaskRow("a", " b"), TaskRow("β\n", "Ω"))
    assert len(task.digest) == 64
    path.write_bytes(GOOD)
    assert read_task(path).digest != task.digest
    path.write_bytes(b"\n".join([GOOD, GOOD, GOOD.replace(b'"a"', b'"c"')]))
    assert (read_task(path).distinct(), read_task(path).distinct(2), len(read_task(path).rows)) == (2, 1, 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "empty"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b'{"prompt": "a"}', "'answer'"),
        (b'{"prompt": "a", "answer": ""}', "'answer'"),
        (b'{"prompt": 1, "answer": "b"}', "'prompt'"),
        (b'{"prompt": "a", "answer": "b", "answr": "c"}', "'answr'"),
        (b'{"prompt": "a", "answer": "b", "answer": "c"}', "twice"),
        (b'{"prompt": "a", "answer": "b"} x', "JSON"),
        (b'{"prompt": "\xff", "answer": "b"}', "UTF-8"),
        (b'{"prompt": "a", "answer": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "JSON"),
        (b'{"prompt": ' + b"9" * 10_000 + b', "answer": "b"}', "JSON"),
        (b'{"prompt": "' + b"a" * 2**20 + b'", "answer": "b"}', "cap"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}", "unknown key"),
    ],
)
def test_a_bad_row_is_named_by_its_line(line: bytes, says: str, tmp_path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    with pytest.raises(BadTask) as refused:
        read_task(path)
    assert "line 2" in str(refused.value) and says in str(refused.value)


def test_an_empty_task_is_no_task(tmp_path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_bytes(b"")
    with pytest.raises(BadTask, match="no row"):
        read_task(path)


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent"):
        with pytest.raises(BadTask):
            read_task(path)
        with pytest.raises(BadText):
            read_text(path)


def test_a_text_is_utf8_and_not_empty(tmp_path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Straße\n", encoding="utf-8")
    assert read_text(path) == "Straße\n"
    for data, says in ((b"abc\xff", "byte 3"), (b" \n", "no text"), (b"\xef\xbb\xbfabc", "byte order mark")):
        path.write_bytes(data)
        with pytest.raises(BadText) as refused:
            read_text(path)
        assert says in str(refused.value)


def test_a_file_above_the_cap_is_refused_before_it_is_parsed(tmp_path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(BadTask, match="more than"):
        read_task(path)
    with pytest.raises(BadText, match="more than"):
        read_text(path)
