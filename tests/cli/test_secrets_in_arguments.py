"""A secret among the arguments, in any place where one may be given by mistake, comes back nowhere."""

import base64
import json
import os
from pathlib import Path

import pytest

import mergebarrier as mb
from mergebarrier.cli._output import Session
from mergebarrier.errors import MergebarrierError, UsageError
from mergebarrier.evaluate import ServedSuspect
from tiny_models import save

KEY = bytes(range(32))
PEM = "\n".join(
    [
        "-----BEGIN EC PRIVATE KEY-----",
        "MHcCAQEEIExample0Example0Example0",
        "Second1Line1OfIt==",
        "-----END EC PRIVATE KEY-----",
    ]
)
SECRETS = [
    KEY.hex(), KEY.hex().upper(), "0x" + KEY.hex(), base64.b64encode(KEY).decode(), "/keys/" + KEY.hex(), PEM,
]  # fmt: skip


def _pieces(secret: str) -> list[str]:
    return [line for line in secret.rpartition("/keys/")[2].splitlines() if "-----" not in line]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save("llama-gqa-untied", tmp_path_factory.mktemp("secrets") / "model")


@pytest.mark.parametrize("secret", SECRETS)
def test_no_stream_log_or_traceback_repeats_a_key(
    secret: str, model: Path, tmp_path: Path, run_cli, monkeypatch
) -> None:
    monkeypatch.setenv("MERGEBARRIER_TRACEBACK", "1")
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    for verb, *words in (
        ("protect", "--key", secret), ("unprotect", f"--key={secret}"), ("unprotect", "--threads", secret),
    ):  # fmt: skip
        ran = run_cli(verb, model, "-o", "out", *words, "-v", "--json", "--log-file", log)
        said = ran.stdout + ran.stderr + log.read_text()
        assert ran.exit_code in (2, 64) and not [piece for piece in _pieces(secret) if piece in said], said
    assert "(hidden)" in log.read_text() and os.listdir() == ["log"]


@pytest.mark.parametrize(
    "login", ["owner:open.sesame", "o:open.sesame", "open.sesame", "owner:open.sesame/@x", ":open.sesame"]
)
def test_a_login_of_an_address_comes_back_nowhere(login: str, tmp_path: Path, run_cli) -> None:
    log, address = tmp_path / "log", f"http://{login}@127.0.0.1:1/v1"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: '{address}', parameters: {{weight: 1}}}}]\n")
    for words in (
        ("watermark", "verify", tmp_path / "ledger", address), ("inspect", address), ("merge", recipe, "-o", "out"),
        ("fingerprint", "verify", tmp_path / "record", "--suspect", address), ("inspect", address.replace("//", "/")),
    ):  # fmt: skip
        ran = run_cli(*words, "--log-file", log, "-v", "--json")
        said = ran.stdout + ran.stderr + log.read_text()
        assert ran.exit_code in (2, 64) and "open.sesame" not in said, said
    with pytest.raises(MergebarrierError) as refused:
        mb.inspect(address)
    assert "open.sesame" not in f"{refused.value} {refused.value.what}"


def test_what_an_address_is_asked_and_a_token_are_hidden(tmp_path: Path, run_cli) -> None:
    for address in ("http://127.0.0.1:1/v1?token=open.sesame", "https://huggingface.co/o/m?token=open.sesame"):
        ran = run_cli("inspect", address, "--log-file", tmp_path / "log", "-v")
        assert ran.exit_code == 2 and "open.sesame" not in ran.stdout + ran.stderr + (tmp_path / "log").read_text()
    with pytest.raises(UsageError) as refused:
        ServedSuspect(url="http://127.0.0.1:1/v1?token=open.sesame")
    assert "open.sesame" not in str(refused.value)
    assert Session(("x", "hf_" + "a" * 30)).secrets == ("hf_" + "a" * 30,)


def test_what_exists_or_is_to_be_written_is_a_name(tmp_path: Path, run_cli, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = save("llama-gqa-untied", Path("ab" * 32))
    ran = run_cli("protect", model, "-o", "cd" * 32, "--json")
    assert ran.exit_code == 0 and "cd" * 32 in json.loads(ran.stdout)["out"], ran.stderr
    assert Session(("protect", "ab" * 32, "-o", "ef" * 32)).secrets == ()
