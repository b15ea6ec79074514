"""A sign that forbids derivatives or merges counts wherever it stands, however it is spelled, and stays with it."""

import itertools
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from licence_texts import TEXTS
from mergebarrier.checkpoint import MANIFEST_NAME, open_checkpoint, read_manifest
from mergebarrier.lineage import declaration, declared, marked, unmarked
from mergebarrier.lineage.card import spoken
from mergebarrier.lineage.licence import KINDS, UNKNOWN, known, named
from mergebarrier.lineage.licence_texts import identify
from mergebarrier.lineage.signs import asks_not_to_merge, forbids_derivatives, signs_in_head, signs_in_prose
from model_folders import small_tensors, write_folder
from tiny_models import save

ROWS = [name for _, members in KINDS.values() for name in members]
FORBIDDING = (
    "CC BY-NC-ND 4.0", "cc_by_nc_nd", "ccbyncnd", "cc-by-nd-2.5", "CC\u2011BY\u2011ND", "NoDerivs", "no derivatives",
    "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International", "No Derivative Works",
    "Namensnennung - Keine Bearbeitungen 4.0", "Attribution - Pas de Modification", "Sin Obras Derivadas",
    "SemDerivações", "Non opere derivate", "表示 - 改変禁止", "署名-禁止演绎", "저작자표시-변경금지",
    "\u0411\u0435\u0437 \u043f\u0440\u043e\u0438\u0437\u0432\u043e\u0434\u043d\u044b\u0445", "no deriv\u0430tives",
    "https://creativecommons.org/licenses/by-nd/4.0/", "MIT OR CC-BY-ND-4.0", "my-own-no-derivatives",
    "no modifications allowed", "No Adaptations", "verbatim copying only", "unmodified redistribution only",
)  # fmt: skip
ALLOWING = ("CC BY-NC-SA 4.0", "apache-2.0", "openrail++", "stand-by", "gpl-3.0", "other", "handy", "by and by")
WISHES = (
    "no-merge", "No Merge", "do_not_merge", "DoNotMerge", "don\u2019t merge", "no-merging", "not-for-merging",
    "NoMerges", "please do not merge", "merging-forbidden", "must-not-be-merged", "never merge", "NO MERGING ALLOWED",
    "d\u043e-n\u043et-merge", "do\u200b-not-merge", "unmergeable", "not-mergeable", "no-model-merging", "do-not-fuse",
    "nicht-mergen", "ne-pas-fusionner", "禁止合并", "マージ禁止", "no-frankenmerge", "no-mergekit", "anti-merge",
    "keep-unmerged", "merge-disabled", "merging off",
)  # fmt: skip
NO_WISHES = ("merge", "merged", "not-merged", "unmerged", "merge-protected", "mergekit", "emerging", "no-robots")


#: What a reader of the page on the wish wrote to get past it, a sentence each.
PROSE_WISHES = (
    "Please don't use it in merges.", "We ask that you not merge this model.", "Not to be used in model merges.",
    "We request that this model not be merged.", "This model is not available for merging.", "Kindly do not merge.",
    "This checkpoint may under no circumstances be merged.", "You can't merge this.", "Merge rights are not granted",
    "No permission is given to merge", "Merging this model violates the license.", "This model shouldn't be merged.",
    "Users may not combine these weights with other models.", "isn't licensed for merging", "It must remain unmerged",
    "Es ist nicht gestattet, dieses Modell zu mergen.", "Das Zusammenführen mit anderen Modellen ist untersagt.",
    "Il est interdit de fusionner ce modèle.", "È vietato fondere questo modello.", "请不要将本模型与其他模型合并",
    "Não é permitido fundir este modelo", "Объединение с другими моделями запрещено",
    "By asking for it you agree not to merge this model",
)  # fmt: skip
HEAD_WISHES: tuple[dict[str, object], ...] = (
    {"policy": {"merging": "disallow"}}, {"allowMerging": False}, {"allowMerge": False}, {"mergePolicy": "deny"},
    {"model_merging": "forbidden"}, {"restrictions": ["merging"]}, {"prohibited_uses": ["training", "merging"]},
    {"restrictions": {"merging": True}}, {"noMerge": True},
)  # fmt: skip
HEADS_WITHOUT: tuple[dict[str, object], ...] = (
    {"merge": False}, {"restrictions": ["military"]}, {"uses": ["merging"]},
    {"allowMerging": True}, {"mergePolicy": "allow"},
)  # fmt: skip


def card(head: str, body: str = "") -> dict[str, bytes]:
    return {"README.md": f"---\n{head}\n---\n# A model\n{body}\n".encode()}


def test_spellings_are_told_apart() -> None:
    assert [text for text in FORBIDDING if not forbids_derivatives(text)] == []
    assert [text for text in ALLOWING if forbids_derivatives(text)] == []
    assert [text for text in WISHES if not asks_not_to_merge(text)] == []
    assert [text for text in NO_WISHES if asks_not_to_merge(text)] == []


def test_wishes_of_a_person_who_does_not_know_our_words_are_heard() -> None:
    assert [text for text in PROSE_WISHES if not signs_in_prose(text, text)[0]] == []
    assert [head for head in HEAD_WISHES if not signs_in_head(head)[0]] == []
    assert [head for head in HEADS_WITHOUT if signs_in_head(head)[0]] == []


@pytest.mark.parametrize("licence", [name for name in TEXTS if "-nd-" not in name])
def test_no_text_of_a_licence_that_allows_derivatives_holds_a_sign(licence: str) -> None:
    text = TEXTS[licence].decode()
    assert not forbids_derivatives(text) and signs_in_prose(text, text) == ("", "")


def test_the_texts_of_this_machine_hold_no_sign() -> None:
    """Real texts of GNU, Apache, Mozilla and Artistic licences speak of derivatives, and forbid none."""
    texts = [path for path in Path("/usr/share/common-licenses").glob("*") if path.is_file()]
    texts.append(Path(__file__).parents[2] / "LICENSE")
    assert [path.name for path in texts if forbids_derivatives(path.read_text(errors="replace"))] == []


@pytest.mark.parametrize("text", FORBIDDING)
@pytest.mark.parametrize("key", ["license", "license_name", "license_link", "tags", "list", "file"])
def test_a_sign_against_derivatives_stops_wherever_it_stands(key: str, text: str) -> None:
    word = json.dumps(text, ensure_ascii=False)
    if key == "file":
        files = card("license: mit") | {"COPYING": f"Terms\n\n{text}\n".encode("utf-16"), "LICENSE": TEXTS["mit"]}
    else:
        line = f"license: [mit, {word}]" if key == "list" else f"{key}: {word}"
        files = card(line if key in ("license", "list") else f"license: mit\n{line}")
    assert "allows no derivatives" in declaration(files).stops


@pytest.mark.parametrize(
    "head",
    [
        *(f"tags: [x, {json.dumps(text)}]" for text in WISHES),
        "do-not-merge: yes", "No_Merge: true", "mergebarrier: do-not-merge", "mergebarrier: [x, no merging]",
        "mergebarrier: {merge: forbidden}", "allow_merge: false", "may-merge: 'no'", "license_name: no-merge-1.0",
        "Tags: [do-not-merge]", "tags: 'a, do-not-merge'", "tags: {do-not-merge: true}", "tags: [[do-not-merge]]",
        "MergeBarrier: {do_not_merge: true}", "metadata: {tags: [do-not-merge]}", "keywords: [do-not-merge]",
        "mergeable: false", "can_merge: no", "merge_allowed: false", "usage: {merge: false}", "tags: ['merge:no']",
        "allow_merging: {value: false}", "merging_allowed: {answer: [no]}",
        "do_not_merge: forbidden", "extra_gated_prompt: You may not merge this model.", "# do not merge this model",
        "mergebarrier: {do-not-merge: please}", "license: other\nlicense_name: Do not merge",
    ],
)  # fmt: skip
def test_a_wish_is_heard_in_any_spelling(head: str) -> None:
    assert declaration(card(head)).stops.startswith("its owner asks not to merge it")


@pytest.mark.parametrize(
    "head",
    [
        "merge: false",
        "do_not_merge: false",
        "do_not_merge: 'no'",
        "merged: true",
        "mergebarrier: {merge: true}",
        "allow_merge: true",
        "allow_merge: {value: true}",
        "tags: [not-merged]",
    ],
)
def test_what_is_no_wish_stops_nothing(head: str) -> None:
    assert declaration(card(head)).stops == ""


@pytest.mark.parametrize(
    ("body", "stops"),
    [
        ("Please do not merge this model with others.", True),
        ("Merging of these weights is not permitted.", True),
        ("The weights may not be merged.", True),
        ("They must not be used for merging.", True),
        ("DO NOT MERGE!!!", True),
        ("You are not allowed to merge it.", True),
        ("You may merge this model only with my permission.", True),
        ("I do not consent to merging.", True),
        ("Keep this out of your merges.", True),
        ("<b>Do not</b> merge. It may&nbsp;not be merged.", True),
        ("| use | allowed |\n| merging | \u274c |", True),
        ("**Merging:** no", True),
        ("No frankenmerges, please.", True),
        ("No derivative works.", True),
        ("You may not create derivative models.", True),
        ("Bitte nicht mergen. Ne pas fusionner ce modèle. 本模型禁止合并", True),
        ("Merge requests are welcome; do not merge PRs without review. We did not merge anything.", False),
        ("The optimiser needs no derivatives; no derivatives are computed. Conflicts cannot be merged.", False),
        ("You may merge this model. The LoRA was not merged into the base.", False),
        ("This work is licensed under a CC BY-NC-ND licence.", True),
        ("LoRA adapters cannot be merged into quantised layers; models that differ do not merge well.", False),
        ("It is a merge of two models. Merging was done with TIES.", False),
    ],
)
def test_prose_is_read_for_plain_words_alone(body: str, stops: bool) -> None:
    assert bool(declaration(card("license: mit", body)).stops) is stops


WISH = b"---\nlicense: mit\ntags: [do-not-merge]\n---\n# A\n"


@pytest.mark.parametrize(
    "name",
    ["readme.md", "README", "README.rst", "Model_Card.md", "README_zh.md", "LICENSE-MODEL", "License.rst", "TERMS.md",
     "EULA.txt", "LICENSES/own.txt", "model.license", "NOTICE", "docs/anything.md", "Notice.txt"],
)  # fmt: skip
def test_terms_are_heard_in_every_file_that_people_write_them_into(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(WISH)
    files, unread = spoken(tmp_path)
    assert unread == "" and "asks not to merge" in declaration(files).stops


@pytest.mark.parametrize(
    ("settings", "stops"),
    [
        ({"do_not_merge": True}, "config.json: do_not_merge"),
        ({"license": "cc-by-nc-nd-4.0"}, "config.json, licence cc-by-nc-nd-4.0"),
        ({"tags": ["No-Merge"]}, "config.json: tag No-Merge"),
        ({"mergebarrier": {"do_not_merge": True}}, "config.json: mergebarrier.do_not_merge"),
        ({"m\u0435rge_allowed": False}, "config.json: m\u0435rge_allowed"),
        ({"spatial_merge_size": 2, "lora": {"merge": False}, "merges_file": None, "license": "mit"}, ""),
    ],
)
def test_a_configuration_is_heard_and_its_settings_are_no_wishes(tmp_path: Path, settings: dict, stops: str) -> None:
    with open_checkpoint(write_folder(tmp_path / "m", small_tensors(), config=settings)) as checkpoint:
        assert stops in declared(checkpoint).stops and bool(stops) == bool(declared(checkpoint).stops)


@pytest.mark.parametrize("key", ["modelspec.license", "license"])
def test_metadata_of_weights_is_heard(tmp_path: Path, key: str) -> None:
    folder = write_folder(tmp_path / "m", small_tensors())
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {key: "CC BY-ND 4.0"})
    with open_checkpoint(folder) as checkpoint:
        assert "metadata of model.safetensors, licence" in declared(checkpoint).stops


def test_a_notice_about_other_works_and_documents_about_licences_bar_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "paper.pdf").write_bytes(b"%PDF-1.4")
    for name in ("NOTICE", "docs/data.md"):
        (tmp_path / name).write_text("Contains pictures under Creative Commons BY-NC-ND 4.0, which ship apart.")
    files, unread = spoken(tmp_path)
    assert files.keys() == {"NOTICE", "docs/data.md"} and not unread and declaration(files).stops == ""


@pytest.mark.parametrize(
    "card",
    [WISH.decode().encode("utf-16"), WISH.decode().encode("utf-16-le"), b"\n\n" + WISH, WISH.replace(b"\n", b"\r"),
     b"----\ntags: [do-not-merge]\n----\n", b"+++\ntags = [\"do-not-merge\"]\n+++\n",
     b"---\nlicense: mit\n---\n" + WISH],
)  # fmt: skip
def test_a_card_in_an_odd_form_is_read_all_the_same(card: bytes) -> None:
    assert "asks not to merge" in declaration({"README.md": card}).stops


def test_terms_that_are_no_text_stop(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.pdf").write_bytes(b"%PDF-1.7 terms")
    assert "its LICENSE.pdf cannot be read" in declaration(spoken(tmp_path)[0]).stops
    (tmp_path / "LICENSE.pdf").unlink()
    (tmp_path / "COPYING").symlink_to("/etc/passwd")
    assert "its COPYING cannot be read" in spoken(tmp_path)[1]
    (tmp_path / "COPYING").unlink()
    for number in range(70):
        (tmp_path / f"LICENSE-{number}").write_text("MIT")
    assert "64 were read" in spoken(tmp_path)[1]


@pytest.mark.parametrize(
    ("head", "why"),
    [("license: mit\nlicense: mit", "line 3: the key 'license' stands twice"), ("a: &b c", "line 2: anchors"),
     ("tags: [no", "line 3: ")],
)  # fmt: skip
def test_a_card_that_cannot_be_read_stops_with_its_line(head: str, why: str) -> None:
    assert f"its model card cannot be read: {why}" in declaration(card(head)).stops


def test_a_text_too_long_to_look_at_stops() -> None:
    assert "longer than" in declaration({"LICENSE": b"MIT " * (1 << 20) + b"and more"}).stops


def test_the_models_that_one_was_made_from_speak_too() -> None:
    for item in ({"licence": "cc-by-nd-4.0"}, {"licence": "unknown", "declared": {"no_derivatives": "its tag x"}}):
        assert "allows no derivatives" in declaration({}, {"inputs": [item]}).stops
    assert "asks not" in declaration({}, {"inputs": [{"declared": {"do_not_merge": "tag no-merge"}}]}).stops
    assert "asks not" in declaration({}, {"do_not_merge": True}).stops
    for odd in ({"inputs": 3}, {"inputs": ["x", {"declared": 1}]}, {"inputs": [{"licence": ["cc-by-nd-4.0"]}]}):
        assert declaration({}, odd).stops == ""


def test_every_text_that_is_recognised_has_a_row_and_every_row_is_known() -> None:
    assert [name for name in TEXTS if identify(TEXTS[name]) not in ROWS] == []
    for version in ("1.0", "2.0", "2.5", "3.0", "4.0"):
        for first, second in itertools.product(("", "-NonCommercial"), ("", "-ShareAlike", "-NoDerivs")):
            found = identify(f"Attribution{first}{second} {version} Generic".encode())
            assert found in ROWS and ("-nd-" in found) is (second == "-NoDerivs")
    assert identify(b"Mozilla Public License Version 2.0\ncovered software") == known("MPL-2.0") == "mpl-2.0"


def test_expressions_of_spdx_are_read_by_their_parts() -> None:
    assert named("(MIT OR Apache-2.0) AND CC-BY-4.0") == ("mit", "apache-2.0", "cc-by-4.0")
    assert named("GPL-2.0-only WITH Classpath-exception-2.0") == (UNKNOWN,)
    assert named("mit and (foo") == named("x" * 5000 + " or mit") == (UNKNOWN,)
    assert known("GPL-3.0+") == known("gpl-3.0-or-later") == "gpl-3.0"


CARDS = (
    b"", b"# No head\n", b"---\nlicense: mit\n---\n# A\n", b"---\r\nlicense: mit\r\n---\r\n# A\r\n",
    b"---\ntags:\n- a\n- b\nlicense: mit\n---\nx", b"---\ntags:\n  - a\n---\nx", b"---\ntags: [a, b]\n---\nx\n",
    b"---\ntags: []\nlicense: mit\n---\n", b"---\nlicense: mit\nlicense: mit\n---\nx", b"---\ntags: one\n---\nx",
    b"---\n---\n# A\n",
)  # fmt: skip


@pytest.mark.parametrize("before", CARDS)
def test_marks_are_inserted_and_taken_back_without_a_trace(before: bytes) -> None:
    after = marked(before, ["merge-protected"], "## Protection\n\nwords")
    assert unmarked(after) == before
    assert b"## Protection" in after and marked(after, ["merge-protected"], "## Protection\n\nwords") == after
    readable = not declaration({"README.md": before}).unread and b"tags: one" not in before
    assert declaration({"README.md": after}).protected is readable


def test_protect_and_unprotect_carry_wishes_and_marks(tmp_path: Path, run_cli) -> None:
    model = save("llama-gqa-untied", tmp_path / "model")
    before = b"---\nlicense: mit\ntags:\n- attack-artifact\n---\n# Mine\n"
    (model / "README.md").write_bytes(before)
    ran = run_cli("protect", model, "-o", tmp_path / "out", "--do-not-merge")
    assert ran.exit_code == 0, ran.stderr
    ran = run_cli("unprotect", tmp_path / "out", "-o", tmp_path / "back")
    assert ran.exit_code == 0, ran.stderr
    for name, protected in (("out", True), ("back", False)):
        with open_checkpoint(tmp_path / name) as source:
            said = declared(source)
        assert said.do_not_merge == "tag do-not-merge" and said.attack and said.protected is protected
        content = read_manifest(tmp_path / name)["content"]
        assert content["attack-artifact"] is True and content["inputs"][0]["licence"] == "mit"
    assert b"## Protection against merging" in (tmp_path / "out" / "README.md").read_bytes()
    (tmp_path / "back" / "README.md").unlink()
    (tmp_path / "back" / MANIFEST_NAME).rename(tmp_path / "back" / "x.json")
    ran = run_cli("merge", tmp_path / "out", tmp_path / "model", "--method", "linear", "-o", tmp_path / "m")
    assert ran.exit_code == 2 and "MB3011 out: its owner asks not to merge it" in ran.stderr


def test_an_acknowledged_merge_still_asks(tmp_path: Path, run_cli) -> None:
    for name in ("a", "b"):
        save("llama-gqa-untied", tmp_path / name)
    (tmp_path / "a" / "README.md").write_bytes(b"---\ntags: [no_merge]\n---\n")
    words = (
        "merge",
        tmp_path / "a",
        tmp_path / "b",
        "--method",
        "linear",
        "-o",
        tmp_path / "m",
        "--acknowledge-licence",
    )
    assert run_cli(*words).exit_code == 0
    card = (tmp_path / "m" / "README.md").read_bytes()
    assert declaration({"README.md": card}).do_not_merge == "tag do-not-merge"
