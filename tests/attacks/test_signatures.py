"""A signature bundle is data of a stranger: whatever is wrong with it is one line, and what holds is of all files."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fuzzing import CONFIG, llama
from mergebarrier.api import sign, verify_signature
from mergebarrier.errors import DigestMismatch, OutputExists, UnsafePath
from model_folders import write_folder

pytestmark = pytest.mark.filterwarnings("ignore")
Bundle = dict[str, Any]
_TYPE = b"application/vnd.in-toto+json"


class Owner:
    """A signed model, the owner's keys, and what an owner alone can do."""

    def __init__(self, folder: Path) -> None:
        self.model, self.bundle = folder / "model", folder / "model.sig"
        self.private, self.public = folder / "ours.pem", folder / "ours.pub"
        self.secret = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        self.private.write_bytes(self.secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        public = self.secret.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public.write_bytes(public)
        write_folder(self.model, llama(0), config=CONFIG)
        sign(self.model, self.private)

    def change(self, change: Callable[[Bundle], object]) -> None:
        """Write the bundle again, changed."""
        document = json.loads(self.bundle.read_bytes())
        change(document)
        self.bundle.write_text(json.dumps(document))

    def restate(self, change: Callable[[Bundle], object]) -> None:
        """Sign another statement, as nobody but the owner can."""

        def signed(document: Bundle) -> None:
            envelope = document["dsseEnvelope"]
            statement = json.loads(base64.b64decode(envelope["payload"]))
            change(statement)
            payload = json.dumps(statement).encode()
            said = b" ".join((b"DSSEv1", str(len(_TYPE)).encode(), _TYPE, str(len(payload)).encode(), payload))
            envelope["payload"] = base64.b64encode(payload).decode()
            envelope["signatures"][0]["sig"] = base64.b64encode(
                self.secret.sign(said, ec.ECDSA(hashes.SHA256()))
            ).decode()

        self.change(signed)


@pytest.fixture(scope="module")
def owner(tmp_path_factory) -> Owner:
    return Owner(tmp_path_factory.mktemp("signed"))


@pytest.fixture(autouse=True)
def as_it_was(owner: Owner):
    kept = owner.bundle.read_bytes()
    yield
    owner.bundle.unlink(missing_ok=True)
    owner.bundle.write_bytes(kept)


def _payload(change: Callable[[str], str]) -> Callable[[Bundle], None]:
    def changed(document: Bundle) -> None:
        text = base64.b64decode(document["dsseEnvelope"]["payload"]).decode()
        document["dsseEnvelope"]["payload"] = base64.b64encode(change(text).encode()).decode()

    return changed


def _certificate(document: Bundle) -> None:
    chain = {"certificates": [{"rawBytes": base64.b64encode(b"x").decode()}]}
    document["verificationMaterial"] = {"x509CertificateChain": chain, "tlogEntries": []}


def _other_kind(document: Bundle) -> None:
    digest = {"algorithm": "SHA2_256", "digest": base64.b64encode(bytes(32)).decode()}
    del document["dsseEnvelope"]
    document["messageSignature"] = {"messageDigest": digest, "signature": base64.b64encode(b"x").decode()}


CHANGED: dict[str, Callable[[Bundle], object]] = {
    "another statement": _payload(lambda text: text.replace('"sha256"', '"sha512"')),
    "a digest of zeros": _payload(lambda text: text.replace(text[text.index('"digest": "') + 11 :][:64], "0" * 64)),
    "no signature": lambda one: one["dsseEnvelope"].update(signatures=[]),
    "a signature of nothing": lambda one: one["dsseEnvelope"]["signatures"][0].update(sig=""),
    "no key": lambda one: one["verificationMaterial"].pop("publicKey"),
    "a certificate": _certificate,
    "another kind": _other_kind,
    "a field more": lambda one: one.update(trusted=True),
    "no material": lambda one: one.pop("verificationMaterial"),
    "material of a list": lambda one: one.update(verificationMaterial=[]),
    "payload of numbers": lambda one: one["dsseEnvelope"].update(payload=7),
    "payload of another type": lambda one: one["dsseEnvelope"].update(payloadType="text/plain"),
    "another version": lambda one: one.update(mediaType="application/vnd.dev.sigstore.bundle.v9+json"),
}
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"PK\x03\x04",
    "cut": b'{"mediaType": "app',
    "a list": b"[]",
    "depth": b'{"a":' * 100_000,
    "a key twice": b'{"dsseEnvelope": {"payload": "e30="}, "dsseEnvelope": {"payload": "e30="}}',
    "no UTF-8": b'{"mediaType": "\xff"}',
    "escapes": b'{"mediaType": "\\u001b[31m\\u202e", "verificationMaterial": {}, "dsseEnvelope": {"payload": "e30="}}',
}


def _refused(owner: Owner, run_cli) -> str:
    ran = run_cli("inspect", owner.model, "--verify-signature", owner.public)
    assert ran.exit_code == 2 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("error: MB1017 ") and ran.stderr.rstrip("\n").isprintable()
    return ran.stderr


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_changed_bundle_is_refused_by_one_line(change, owner: Owner, run_cli) -> None:
    owner.change(change)
    _refused(owner, run_cli)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_no_bundle_is_refused_by_one_line(text: bytes, owner: Owner, run_cli) -> None:
    owner.bundle.write_bytes(text)
    _refused(owner, run_cli)


@pytest.mark.parametrize("kind", ["pipe", "link out", "endless", "huge", "folder"])
def test_a_bundle_that_is_no_plain_file_is_neither_followed_nor_waited_for(kind: str, owner: Owner, run_cli) -> None:
    kept = owner.bundle.read_bytes()
    owner.bundle.unlink()
    if kind == "pipe":
        os.mkfifo(owner.bundle)
    elif kind == "folder":
        owner.bundle.mkdir()
    elif kind == "huge":
        with owner.bundle.open("wb") as file:
            file.truncate(1 << 40)
    else:
        (owner.model.parent / "elsewhere").mkdir(exist_ok=True)
        (owner.model.parent / "elsewhere" / "model.sig").write_bytes(kept)
        outside = Path("/dev/zero") if kind == "endless" else Path("/etc/hostname")
        owner.bundle.symlink_to(outside)
    _refused(owner, run_cli)
    if kind == "folder":
        owner.bundle.rmdir()


def test_a_signature_of_another_folder_or_of_part_of_it_does_not_hold(owner: Owner, tmp_path: Path, run_cli) -> None:
    other = write_folder(tmp_path / "other", llama(1), config=CONFIG)
    (tmp_path / "other.sig").write_bytes(owner.bundle.read_bytes())
    with pytest.raises(DigestMismatch):
        verify_signature(other, owner.public)
    for path in ("model.safetensors", ".", "config.json/", "sub/../model.safetensors"):
        owner.restate(lambda one, path=path: one["predicate"]["serialization"].update(ignore_paths=[path]))
        assert "leaves out" in _refused(owner, run_cli)


def test_a_signature_that_was_made_without_the_weights_does_not_hold(tmp_path: Path) -> None:
    from model_signing import hashing, signing

    owner = Owner(tmp_path)
    few = hashing.Config().set_ignored_paths(paths=["model.safetensors"])
    signer = signing.Config().use_elliptic_key_signer(private_key=owner.private).set_hashing_config(few)
    signer.sign(owner.model, owner.bundle)
    with pytest.raises(DigestMismatch, match=r"leaves out 'model\.safetensors'"):
        verify_signature(owner.model, owner.public)


def test_a_statement_that_the_owner_wrote_in_another_form_holds_for_all_files(owner: Owner) -> None:
    owner.restate(lambda one: None)
    assert verify_signature(owner.model, owner.public) == owner.bundle
    for name in ("more.bin", "more/deep.pkl", ".hidden"):
        extra = owner.model / name
        extra.parent.mkdir(exist_ok=True)
        extra.write_bytes(b"\x80\x04.")
        with pytest.raises(DigestMismatch, match="Extra files"):
            verify_signature(owner.model, owner.public)
        extra.unlink()
    (owner.model / "more").rmdir()


def test_files_of_git_beside_a_signature_are_named(owner: Owner, tmp_path: Path, run_cli) -> None:
    (owner.model / ".gitattributes").write_text("*.safetensors filter=evil\n")
    words = ("merge", owner.model, owner.model, "--method", "linear", "-o", tmp_path / "out", "--dry-run")
    for ran in (words, ("inspect", owner.model)):
        said = run_cli(*ran, "--verify-signature", owner.public)
        assert said.exit_code == 0 and ".gitattributes is not covered by" in said.stderr
    (owner.model / ".gitattributes").unlink()


def test_a_bundle_without_the_name_of_its_key_prints_nothing_among_results(owner: Owner, run_cli) -> None:
    owner.change(lambda one: one["verificationMaterial"]["publicKey"].pop("hint"))
    ran = run_cli("inspect", owner.model, "--verify-signature", owner.public, "--json")
    assert ran.exit_code == 0, ran.stderr
    assert ran.json["kind"] == "inspect"


def test_the_bundle_of_a_folder_lies_beside_it_however_it_is_named(owner: Owner, monkeypatch) -> None:
    monkeypatch.chdir(owner.model)
    for name in (".", "../model", f"{owner.model}/", "../model/../model"):
        assert verify_signature(name, owner.public) == owner.bundle
    (owner.model.parent / "sub").mkdir()
    monkeypatch.chdir(owner.model.parent / "sub")
    with pytest.raises(DigestMismatch, match="missing"):
        verify_signature("..", owner.public)


def test_signing_replaces_a_signature_and_no_other_file(tmp_path: Path, run_cli) -> None:
    owner = Owner(tmp_path)
    sign(owner.model, owner.private)
    assert verify_signature(owner.model, owner.public)
    (tmp_path / "out.sig").write_text("a thesis")
    words = ("merge", owner.model, owner.model, "--method", "linear", "-o", tmp_path / "out", "--sign", owner.private)
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "MB1011" in ran.stderr and not (tmp_path / "out").exists()
    assert (tmp_path / "out.sig").read_text() == "a thesis"
    with pytest.raises(OutputExists):
        sign(owner.model.rename(tmp_path / "out"), owner.private)
    (tmp_path / "out.sig").unlink()
    (tmp_path / "out" / "link").symlink_to("config.json")
    with pytest.raises(UnsafePath, match="cannot be signed"):
        sign(tmp_path / "out", owner.private)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out.sig")]
