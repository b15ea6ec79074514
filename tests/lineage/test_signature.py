"""A signature covers every file of a folder, is checked without a network, and any change is one line."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tiny_models import save


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    secret = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(secret.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.mark.filterwarnings("ignore")
def test_a_signed_merge_is_verified_and_a_changed_one_is_refused(tmp_path: Path, run_cli) -> None:
    for name in ("a", "b"):
        save("llama-gqa-untied", tmp_path / name)
    (private, public), (_, other) = keys(tmp_path, "ours"), keys(tmp_path, "other")
    out = tmp_path / "out"
    words = ("merge", tmp_path / "a", tmp_path / "b", "--method", "linear", "-o", out, "--sign", private)
    ran = run_cli(*words)
    assert ran.exit_code == 0 and (tmp_path / "out.sig").is_file(), ran.stderr
    fine = run_cli("inspect", out, "--verify-signature", public)
    assert fine.exit_code == 0 and "signature holds" in fine.stderr
    for key, code in ((other, "MB1017"), (tmp_path / "gone.pub", "MB4002")):
        ran = run_cli("inspect", out, "--verify-signature", key)
        assert ran.exit_code == 2 and ran.stderr.startswith(f"error: {code} ") and len(ran.stderr.splitlines()) == 1
    with (out / "config.json").open("ab") as file:
        file.write(b" ")
    ran = run_cli("inspect", out, "--verify-signature", public)
    assert ran.exit_code == 2 and "MB1017" in ran.stderr and ran.stdout == ""
    (tmp_path / "out.sig").unlink()
    assert run_cli("inspect", out, "--verify-signature", public).exit_code == 2


@pytest.mark.filterwarnings("ignore")
def test_a_merge_checks_the_signatures_of_all_that_it_reads(tmp_path: Path, run_cli) -> None:
    from mergebarrier.api import sign

    (ours, public), (theirs, other) = keys(tmp_path, "ours"), keys(tmp_path, "other")
    for name, key in (("a", ours), ("b", theirs), ("base", ours)):
        save("llama-gqa-untied", tmp_path / name)
        sign(tmp_path / name, key)
    words = ["merge", tmp_path / "a", tmp_path / "b", "--base", tmp_path / "base", "--method", "task_arithmetic"]
    words += ["-o", tmp_path / "out", "--verify-signature", public]
    ran = run_cli(*words)
    assert ran.exit_code == 2 and "MB1017" in ran.stderr and "b.sig" in ran.stderr and not (tmp_path / "out").exists()
    assert run_cli(*words, "--verify-signature", other, "--dry-run").exit_code == 0
    models = "".join(f"- model: {tmp_path}/{name}\n" for name in "ab")
    (tmp_path / "recipe.yaml").write_text(f"merge_method: linear\nmodels:\n{models}")
    recipe = ("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out", "--verify-signature", public)
    assert run_cli(*recipe).exit_code == 2
    (tmp_path / "base" / "README.md").write_text("changed")
    ran = run_cli(*words, "--verify-signature", other)
    assert ran.exit_code == 2 and "base.sig" in ran.stderr
