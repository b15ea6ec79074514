"""One page and one document for every verb that gives evidence: what they say, that they are escaped, and signed."""

import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import mergebarrier as mb
from mergebarrier.api import statement_of, verify_signature, write_statement
from mergebarrier.api.base import EvidenceFinding, ProvenanceEvidence, ProvenanceInput, Said
from mergebarrier.errors import OutputExists
from tiny_models import save, save_expert

NEVER = re.compile(r"stolen|copied|steal|theft", re.IGNORECASE)
HOSTILE = '\x1b[31m\u202e<script>alert("x")</script>'


class Made(ProvenanceEvidence):
    """Evidence that holds whatever a stranger may have called a model."""

    kind = "relation"

    def said(self) -> Said:
        figures = ((HOSTILE, HOSTILE),)
        findings = [
            EvidenceFinding(about=HOSTILE, says=HOSTILE, holds=True, p=1e-9, tail=tail, figures=figures)
            for tail in (True, False)
        ]
        return Said(title=HOSTILE, null="chance", level=0.01, findings=tuple(findings))


MADE = Made(
    claim=HOSTILE, assumed=(HOSTILE,), not_proved=("who",), command=HOSTILE, resolution=HOSTILE,
    inputs=(ProvenanceInput(role="suspect", name=HOSTILE, content_digest=""),),
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """A base and an expert."""
    place = tmp_path_factory.mktemp("models")
    return save("llama-mha-tied", place / "base"), save_expert("llama-mha-tied", place / "expert")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    secret = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    public.write_bytes(
        secret.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_relations_and_parents_come_as_a_page_that_is_signed(models, tmp_path: Path, keys, run_cli) -> None:
    related = ("provenance", "relate", *models[::-1])
    parents = ("provenance", "parents", models[1], "--base", models[0], "--candidate", models[1])
    for number, words in enumerate((related, parents)):
        folder = tmp_path / f"page-{number}"
        ran = run_cli(*words, "--page", folder, "--sign", keys[0])
        assert ran.exit_code == 0 and "signed" in ran.stderr, ran.stderr
        assert verify_signature(folder, keys[1]).name == f"page-{number}.sig"
        document = json.loads((folder / "statement.json").read_text())
        page = (folder / "statement.html").read_text()
        assert document["kind"] == "statement" and document["document_of_report"]["kind"] in ("relation", "parents")
        for part in (document["claim"], document["null"], document["findings"][0]["p_in_words"].split("<")[0]):
            assert part in page.replace("&#39;", "'").replace("&lt;", "<")
        for text in (page, document["resolution"], ran.stdout):
            assert "assumption, so no p below 1e-06 is stated" in text
        said = re.findall(r'"(?:p|adjusted|stream|neurons|stored)": ([\d.e-]+)', json.dumps(document))
        assert said and min(map(float, said)) == 1e-6 and "< 1e-06" in ran.stdout, "a tail is no count"
        for one in document["inputs"]:
            assert re.fullmatch("[0-9a-f]{64}", one["content_digest"]) and one["content_digest"] in page
        assert not NEVER.search(page + json.dumps(document)), "evidence accuses nobody"
        (folder / "statement.json").write_text("{}")
        with pytest.raises(mb.MergebarrierError, match="does not hold"):
            verify_signature(folder, keys[1])


def test_what_strangers_call_things_is_escaped_and_nothing_comes_from_outside(tmp_path: Path) -> None:
    folder = write_statement(MADE, tmp_path / "s")
    page = (folder / "statement.html").read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page) and "\\x1b[31m" in page
    assert "<script" not in page and page.count("&lt;script&gt;") >= 6
    assert "default-src &#39;none&#39;" in page and not re.search(r"\b(?:src|href)=", page)
    words = [one.p_in_words for one in statement_of(MADE).findings]
    assert words == ["p < 1e-06", "p = 1e-09"], "what was counted or is exact may be smaller than a fitted tail"


def test_a_folder_of_somebody_else_is_left_alone_and_a_statement_is_written_anew(tmp_path: Path) -> None:
    write_statement(MADE, tmp_path / "s")
    write_statement(MADE, tmp_path / "s")
    (tmp_path / "s" / "mine.txt").write_text("x")
    with pytest.raises(OutputExists, match=r"mine\.txt"):
        write_statement(MADE, tmp_path / "s")


def test_nothing_is_computed_for_a_key_that_cannot_sign(models, tmp_path: Path, keys, run_cli) -> None:
    related = ("provenance", "relate", *models[::-1])
    assert run_cli(*related, "--sign", keys[0]).exit_code == 64
    ran = run_cli(*related, "--page", tmp_path / "s", "--sign", models[0] / "config.json")
    assert ran.exit_code == 2 and not (tmp_path / "s").exists()
