"""The verbs of a publisher, as a publisher meets them."""

import json
import stat
from pathlib import Path

import pytest

import tiny_models
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.checkpoint.files import build_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.save("llama-gqa-untied", tmp_path / "model")


def digests(folder: Path) -> dict[str, str]:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.digests()


def test_protect_then_unprotect_with_the_key_that_was_made(model, tmp_path, run_cli):
    done = run_cli("protect", model, "-o", tmp_path / "out")
    key = tmp_path / "out.mbkey"
    assert done.exit_code == 0 and str(key) in done.stderr and "not cryptographic" in done.stdout
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    back = run_cli("unprotect", tmp_path / "out", "--key", key, "-o", tmp_path / "back", "--json")
    assert back.exit_code == 0 and back.json["bit_identical"] is True
    assert digests(tmp_path / "back") == digests(model) != digests(tmp_path / "out")


def test_a_named_key_is_made_once_and_then_used(model, tmp_path, run_cli):
    key = tmp_path / "keys" / "mine.mbkey"
    key.parent.mkdir()
    assert run_cli("protect", model, "-o", tmp_path / "a", "--key", key).exit_code == 0
    before = key.read_bytes()
    again = run_cli("protect", model, "-o", tmp_path / "b", "--key", key)
    assert again.exit_code == 0 and "read" in again.stderr
    assert key.read_bytes() == before and digests(tmp_path / "a") == digests(tmp_path / "b")


def test_the_key_appears_in_no_output(model, tmp_path, run_cli):
    done = run_cli("protect", model, "-o", tmp_path / "out", "--json")
    secret = json.loads((tmp_path / "out.mbkey").read_text())
    hidden = [
        value for name, value in secret.items() if isinstance(value, str) and name not in ("id", "key_id", "algorithm")
    ]
    files = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for value in hidden:
        assert value not in done.stdout and value not in done.stderr and value.encode() not in files
    assert done.json["key_id"] and done.json["schema_version"] == 1


def test_what_the_base_holder_recovers_is_printed_beside_the_success(model, tmp_path, run_cli):
    expert = tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert")
    done = run_cli("protect", expert, "--base", model, "-o", tmp_path / "out")
    assert "100.0 % of the change is undone" in done.stdout
    recovered = run_cli("realign", tmp_path / "out", "--base", model, "-o", tmp_path / "recovered")
    assert recovered.exit_code == 0 and "Purpose" in recovered.stderr
    assert "licence of the model: unknown; of the base: unknown" in recovered.stderr
    assert digests(tmp_path / "recovered") == digests(expert)


def test_mergebarrier_needs_no_key_and_says_who_can_undo_it(model, tmp_path, run_cli):
    done = run_cli("protect", model, "--method", "mergebarrier", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "from the file alone" in done.stdout and not list(tmp_path.glob("*.mbkey"))
    assert run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back").exit_code == 0
    assert digests(tmp_path / "back") == digests(model)
    literal = run_cli("protect", model, "--method", "mergebarrier", "--form", "literal", "-o", tmp_path / "no")
    assert literal.exit_code == 2 and "rotary" in literal.stderr and not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "mergebarrier", "--profile", "full"],
        ["--method", "mergebarrier", "--key", "x.mbkey"],
        ["--flip-fraction", "0.3"],
        ["--only", "attention,norms"],
        ["--condition", "99", "--profile", "full"],
        ["--profile", "strong"],
    ],
)
def test_options_that_do_not_belong_are_usage_errors(model, tmp_path, run_cli, words):
    done = run_cli("protect", model, "-o", tmp_path / "out", *words)
    assert done.exit_code == 64 and done.stderr.count("error:") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial"))


def test_a_dry_run_writes_nothing(model, tmp_path, run_cli):
    before = sorted(tmp_path.rglob("*"))
    done = run_cli("protect", model, "-o", tmp_path / "out", "--dry-run", "--json")
    assert done.exit_code == 0 and done.json["kind"] == "plan" and done.json["parameters"]["profile"] == "lossless"
    key = run_cli("protect", model, "-o", tmp_path / "real")
    assert key.exit_code == 0
    plan = run_cli("unprotect", tmp_path / "real", "-o", tmp_path / "out", "--dry-run")
    assert "bit for bit" in plan.stdout
    realign = run_cli("realign", tmp_path / "real", "--base", model, "-o", tmp_path / "out", "--dry-run")
    assert realign.exit_code == 0
    assert not (tmp_path / "out").exists() and len(sorted(tmp_path.rglob("*"))) > len(before)


def test_a_key_inside_the_published_folder_is_refused(model, tmp_path, run_cli):
    done = run_cli("protect", model, "-o", tmp_path / "out", "--key", tmp_path / "out" / "k.mbkey")
    assert done.exit_code == 64 and "published" in done.stderr


def test_a_key_that_others_can_read_is_refused(model, tmp_path, run_cli):
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    key = tmp_path / "out.mbkey"
    key.chmod(0o644)
    done = run_cli("unprotect", tmp_path / "out", "--key", key, "-o", tmp_path / "back")
    assert done.exit_code == 2 and "MB4002" in done.stderr and not (tmp_path / "back").exists()


def test_inspect_tells_family_symmetries_and_protection(model, tmp_path, run_cli):
    plain = run_cli("inspect", model, "--json")
    assert plain.json["family"] == "llama" and plain.json["manifest"] is None
    assert plain.json["dims"]["n_kv_heads"] == 2 and any(
        "rotary planes" in one["what"] for one in plain.json["freedoms"]
    )
    run_cli("protect", model, "-o", tmp_path / "out")
    protected = run_cli("inspect", tmp_path / "out", "--json")
    assert protected.json["manifest"]["method"] == "exact"
    assert "value_output" in run_cli("inspect", model).stdout


def test_a_missing_base_and_a_foreign_base_write_nothing(model, tmp_path, run_cli):
    gone = run_cli("realign", model, "--base", tmp_path / "gone", "-o", tmp_path / "out")
    assert gone.exit_code == 2 and "gone" in gone.stderr
    other = tiny_models.save("gpt2-tied", tmp_path / "gpt2")
    foreign = run_cli("realign", model, "--base", other, "-o", tmp_path / "out")
    assert foreign.exit_code == 2 and "MB5001" in foreign.stderr
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("lost", ["inputs", "key_id", "roundtrip_bound", "parameters", "profile", "reversibility"])
def test_a_manifest_that_lacks_what_protect_writes_is_refused(model, tmp_path, run_cli, lost):
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    path = tmp_path / "out" / "mergebarrier.json"
    document = json.loads(path.read_text())
    content = document["content"]
    del (content["parameters"] if lost in ("profile", "reversibility") else content)[lost]
    path.write_bytes(build_manifest(content, document["environment"]))
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back")
    assert ran.exit_code == 2 and f"lacks {lost}" in ran.stderr and not (tmp_path / "back").exists()


def test_a_manifest_that_no_verb_wrote_is_no_reason_to_end(model, tmp_path, run_cli):
    """As those of models that a script of ours or a stranger made: what is promised of every manifest, and no more."""
    assert run_cli("protect", model, "-o", tmp_path / "out").exit_code == 0
    path = tmp_path / "out" / "mergebarrier.json"
    document = json.loads(path.read_text())
    kept = ("schema_version", "tool", "output", "plan_sha256")
    content = {name: document["content"][name] for name in kept if name in document["content"]}
    path.write_bytes(build_manifest(content, document["environment"]))
    for verb in ("inspect", "protect"):
        ran = run_cli(verb, tmp_path / "out", *(["-o", tmp_path / "again"] if verb == "protect" else []))
        assert ran.exit_code == 0, ran.stderr


def test_realign_refuses_in_one_line(model, tmp_path, run_cli):
    foreign = tiny_models.save_expert("llama-gqa-untied", tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps(config | {"model_type": "no_such_model"}))
    done = run_cli("realign", foreign, "--base", model, "-o", tmp_path / "out")
    assert done.exit_code == 2 and "MB2001" in done.stderr and len(done.stderr.splitlines()) == 1
