"""A model behind a real server on loopback: what is sent, and every reply that is no answer."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from mergebarrier.errors import ServiceFailed, UsageError
from mergebarrier.evaluate import ServedSuspect
from text_server import TextServer


@pytest.mark.parametrize("interface", ["chat", "completions"])
def test_a_server_is_asked_one_prompt_after_the_other(interface: str) -> None:
    with TextServer(str.upper) as server:
        suspect = ServedSuspect(url=server.url, interface=interface)
        assert suspect.answers(["a b", "ü"], max_tokens=7) == ["A B", "Ü"]
    documents = [document for _, _, document in server.heard if document]
    assert [one["model"] for one in documents] == ["small"] * 2, "the first that it lists"
    assert {one["max_tokens"] for one in documents} == {7} and {one["temperature"] for one in documents} == {0}


def test_the_secret_goes_to_this_machine_or_over_tls_alone(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    with TextServer(str.upper) as server:
        ServedSuspect(url=server.url, model="m").answers(["a"], max_tokens=1)
        assert server.heard[0][1]["Authorization"] == "Bearer s3cret"
    assert ServedSuspect(url="https://example.org/v1", model="m")._secret()
    assert not ServedSuspect(url="http://example.org/v1", model="m")._secret()
    assert not ServedSuspect(url="http://127.0.0.1.example.org/v1", model="m")._secret()


@pytest.mark.parametrize("secret", ["s3cret\rx", "s3cret\nX: y", "s3cr\u20act"])
def test_a_secret_that_no_header_may_hold_is_not_repeated(monkeypatch, secret: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    with TextServer(str.upper) as server, pytest.raises(UsageError) as caught:
        ServedSuspect(url=server.url, model="m").answers(["a"], max_tokens=1)
    assert "s3c" not in str(caught.value) and not server.heard
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret\r\n")
    assert ServedSuspect(url="https://example.org/v1", model="m")._secret() == {"Authorization": "Bearer s3cret"}


def test_half_a_letter_of_a_reply_is_replaced() -> None:
    half = b'{"choices": [{"message": {"content": "a\\ud800b"}}]}'
    with TextServer(str.upper, failures=[half]) as server:
        assert ServedSuspect(url=server.url, model="m").answers(["a"], max_tokens=1) == ["a?b"]


def test_a_busy_server_is_asked_again_and_then_left() -> None:
    with TextServer(str.upper, failures=[503, 429]) as server:
        assert ServedSuspect(url=server.url, model="m", pause_s=0).answers(["a"], max_tokens=1) == ["A"]
    with TextServer(str.upper, failures=[503] * 3) as server:
        with pytest.raises(ServiceFailed, match="503"):
            ServedSuspect(url=server.url, model="m", pause_s=0).answers(["a"], max_tokens=1)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (401, "401"),
        (302, "302"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no text"),
        (b'{"choices": []}', "no text"),
        (b'{"choices": [{"message": {"content": null}}]}', "no text"),
        (b'"' + b"x" * 2**20 + b'"', "longer than"),
    ],
)
def test_a_reply_that_is_no_answer_is_one_line(failure: int | bytes, said: str) -> None:
    with TextServer(str.upper, failures=[failure]) as server:
        with pytest.raises(ServiceFailed, match=said) as caught:
            ServedSuspect(url=server.url, model="m").answers(["a"], max_tokens=1)
    assert "\n" not in str(caught.value) and server.url in str(caught.value)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_server_that_sends_a_byte_now_and_then_is_left(before: bytes) -> None:
    """Each read comes in time; the reply as a whole never would: in its first line, its heads or its body."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            taken, _ = listening.accept()
            with taken, suppress(OSError):
                taken.sendall(before)
                while True:
                    taken.sendall(b"x")
                    time.sleep(0.02)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        suspect = ServedSuspect(url=f"http://127.0.0.1:{listening.getsockname()[1]}/v1", model="m", timeout_s=0.3)
        started = time.monotonic()
        with pytest.raises(ServiceFailed, match=r"takes longer than 0\.3 s"):
            suspect.answers(["a"], max_tokens=1)
        assert time.monotonic() - started < 5
        dripping.join(5)
        assert not dripping.is_alive()


def test_nobody_there_and_no_address() -> None:
    with TextServer(str.upper) as server:
        url = server.url
    with pytest.raises(ServiceFailed, match="cannot be asked"):
        ServedSuspect(url=url).answers(["a"], max_tokens=1)
    for wrong in (
        "ftp://a/v1",
        "http:///v1",
        "http://user:secret@host/v1",
        "http://:secret@host/v1",
        "http://[::1",
        "http://host/v1?key=x",
    ):
        with pytest.raises(UsageError, match="not the address"):
            ServedSuspect(url=wrong)
