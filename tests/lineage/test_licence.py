"""A merge takes the licence of an input that covers the others, or none; a text is named only when it is plain."""

import itertools

import pytest

from licence_texts import MIT, TEXTS, text
from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.lineage.card import Declaration, declaration
from mergebarrier.lineage.licence import KINDS, MAY_BECOME, UNKNOWN, known
from mergebarrier.lineage.licence_texts import identify
from mergebarrier.lineage.merged import CLASHES, conclude

KNOWN = [name for _, members in KINDS.values() for name in members]


def judged(*licences: str):
    return conclude([(f"m{i}", licence) for i, licence in enumerate(licences)])


@pytest.mark.parametrize("licence", KNOWN)
def test_inputs_under_one_licence_keep_it_unless_it_allows_no_derivatives(licence: str) -> None:
    found = judged(licence, licence)
    if "-nd-" in licence:
        assert found.stops and found.verdict == "conflict" and found.licence is None
    else:
        assert (found.verdict, found.licence, found.stops) == ("compatible", licence, False)


def test_no_pair_gets_a_licence_that_is_not_its_own_or_depends_on_the_order() -> None:
    for one, other in itertools.combinations(KNOWN, 2):
        found, turned = judged(one, other), judged(other, one)
        assert (found.verdict, found.licence) == (turned.verdict, turned.licence)
        assert found.licence in (None, one, other) and (found.licence is None) == (found.verdict != "compatible")
        assert one in found.reason or other in found.reason
        if found.licence is not None:
            given_up = other if found.licence == one else one
            assert found.licence in MAY_BECOME[given_up]


def test_the_table_says_nothing_about_licences_that_it_does_not_list_and_never_goes_both_ways() -> None:
    assert len(set(KNOWN)) == len(KNOWN) and all(known(name) == name for name in KNOWN)
    for licence, wider in MAY_BECOME.items():
        assert licence in KNOWN and licence not in wider and len(set(wider)) == len(wider)
        for name in wider:
            assert name in KNOWN and licence not in MAY_BECOME.get(name, ()), f"{licence} and {name}: both ways"
    assert all(kind in KINDS for pair in CLASHES for kind in pair)


@pytest.mark.parametrize(
    ("licences", "verdict", "licence"),
    [
        (("mit", "apache-2.0"), "compatible", "apache-2.0"),
        (("apache-2.0", "mit", "bsd-3-clause"), "compatible", "apache-2.0"),
        (("apache-2.0", "gpl-3.0"), "compatible", "gpl-3.0"),
        (("apache-2.0", "gpl-2.0"), "conflict", None),
        (("mit", "gpl-2.0"), "compatible", "gpl-2.0"),
        (("lgpl-3.0", "gpl-3.0", "agpl-3.0"), "compatible", "agpl-3.0"),
        (("apache-2.0", "llama3.1"), "compatible", "llama3.1"),
        (("llama3", "llama3.1"), "unknown", None),
        (("llama3.1", "gpl-3.0"), "conflict", None),
        (("gemma", "llama3.2", "mit"), "unknown", None),
        (("apache-2.0", "cc-by-nc-4.0"), "compatible", "cc-by-nc-4.0"),
        (("cc-by-4.0", "cc-by-sa-4.0"), "compatible", "cc-by-sa-4.0"),
        (("cc-by-nc-4.0", "cc-by-sa-4.0"), "conflict", None),
        (("cc-by-nc-4.0", "cc-by-nc-sa-4.0"), "compatible", "cc-by-nc-sa-4.0"),
        (("cc-by-nc-4.0", "agpl-3.0"), "conflict", None),
        (("cc-by-sa-4.0", "gpl-3.0"), "compatible", "gpl-3.0"),
        (("mit", "creativeml-openrail-m"), "compatible", "creativeml-openrail-m"),
        (("creativeml-openrail-m", "gpl-3.0"), "conflict", None),
        (("mit", "cc-by-nc-nd-4.0"), "conflict", None),
        (("mit", UNKNOWN), "unknown", None),
        ((UNKNOWN, UNKNOWN), "unknown", None),
        (("gpl-3.0", UNKNOWN, "cc-by-nc-4.0"), "conflict", None),
        ((), "unknown", None),
    ],
)
def test_what_common_sets_of_licences_mean(licences, verdict, licence) -> None:
    for order in itertools.permutations(licences):
        found = judged(*order)
        assert (found.verdict, found.licence) == (verdict, licence), found.reason


def test_what_people_write_is_understood() -> None:
    assert [known(word) for word in ("Apache 2.0", " MIT ", "Llama-3.1", "cc-by-nc", "GPL-3.0-only")] == [
        "apache-2.0", "mit", "llama3.1", "cc-by-nc-4.0", "gpl-3.0",
    ]  # fmt: skip
    assert known("other") == known("bsd") == known("") == UNKNOWN


@pytest.mark.parametrize("licence", TEXTS)
def test_a_well_known_text_is_recognised_however_it_is_set(licence: str) -> None:
    assert identify(TEXTS[licence]) == licence
    assert identify(TEXTS[licence].upper().replace(b" ", b"\n\t ")) == licence


@pytest.mark.parametrize("licence", TEXTS)
def test_a_text_with_more_in_it_is_not_recognised(licence: str) -> None:
    assert identify(TEXTS[licence] * 2 + b"And one thing more. " * 3000) == UNKNOWN
    assert identify(TEXTS[licence] + b'\n"Commons Clause" License Condition v1.0') == UNKNOWN
    other = next(name for name in TEXTS if name[:3] != licence[:3])
    assert identify(TEXTS[licence] + TEXTS[other]) == UNKNOWN


@pytest.mark.parametrize(
    "data",
    [b"", b"All rights reserved.", b"\xff\xfeM\x00I\x00T\x00", MIT + b"\xff", bytes(1 << 19), b"Modified MIT\n" + MIT,
     MIT + b"The weights are under a Creative Commons licence.", text("Some Public License")],
)  # fmt: skip
def test_what_is_no_plain_licence_is_unknown(data: bytes) -> None:
    assert identify(data) == UNKNOWN


def test_the_licence_of_this_repository_is_recognised(request) -> None:
    assert identify((request.config.rootpath / "LICENSE").read_bytes()) == "apache-2.0"


def card(head: str) -> dict[str, bytes]:
    return {"README.md": f"---\n{head}\n---\n# A model\n".encode()}


@pytest.mark.parametrize(
    ("files", "licence", "reason"),
    [
        ({}, UNKNOWN, "neither"),
        (card("license: apache-2.0"), "apache-2.0", ""),
        (card("license: [mit]"), "mit", ""),
        (card("license: [mit, gpl-3.0]"), UNKNOWN, "several"),
        (card("license: other\nlicense_name: llama3.1\nlicense_link: LICENSE"), "llama3.1", ""),
        (card("license: other\nlicense_name: my-own"), UNKNOWN, "other (my-own) is not in the table"),
        (card("license_name: [my-own, two]"), UNKNOWN, "its licence (my-own, two) is not in the table"),
        (card("license: other\nlicense_link: https://a.b"), UNKNOWN, "its licence other (https://a.b) is not"),
        (card("license: other") | {"LICENSE": TEXTS["gemma"]}, "gemma", ""),
        (card("tags: [x]") | {"LICENCE.txt": TEXTS["gpl-3.0"]}, "gpl-3.0", ""),
        ({"COPYING": TEXTS["gpl-2.0"]}, "gpl-2.0", ""),
        (card("license: mit") | {"LICENSE": TEXTS["gpl-3.0"]}, UNKNOWN, "card says mit, its LICENSE reads gpl-3.0"),
        (card("license: mit") | {"LICENSE": b"words"}, "mit", ""),
        (card("license: openrail") | {"LICENSE": TEXTS["creativeml-openrail-m"]}, "openrail", ""),
        ({"LICENSE": b"words"}, UNKNOWN, "none of the texts"),
        (card("license: mit\nlicense: gpl-3.0"), UNKNOWN, "twice"),
        ({"README.md": b"# no head\n\nlicense: mit\n"}, UNKNOWN, "neither"),
        ({"README.md": b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n"}, "mit", ""),
        ({"README.md": b"---\n---\n"}, UNKNOWN, "neither"),
        ({"README.md": b"---\nlicense: mit\n"}, UNKNOWN, "does not end"),
        ({"README.md": b"---\n- license: mit\n---\n"}, UNKNOWN, "no table"),
    ],
)
def test_the_licence_that_a_folder_declares(files, licence, reason) -> None:
    found = declaration(files)
    assert found.licence == licence and reason in found.reason and bool(found.reason) == (licence == UNKNOWN)


@pytest.mark.parametrize(
    ("head", "wish"),
    [
        ("mergebarrier: {do_not_merge: true}", "mergebarrier.do_not_merge"),
        ("mergebarrier:\n  do_not_merge: please", "mergebarrier.do_not_merge"),
        ("tags: [no-merge]", "tag no-merge"),
        ("tags:\n- x\n- Do-Not-Merge", "tag Do-Not-Merge"),
        ("tags: no-merge", "tag no-merge"),
        ("mergebarrier: {do_not_merge: false}\ntags: [merge]", ""),
        ("mergebarrier: text", ""),
        ("license: mit", ""),
    ],
)
def test_the_wish_not_to_be_merged_is_heard(head: str, wish: str) -> None:
    found = declaration(card(head))
    assert found.do_not_merge == wish and bool(found.stops) == bool(wish)


def test_marks_come_from_card_and_manifest() -> None:
    assert declaration(card("tags: [attack-artifact]")).attack and declaration({}, {"attack-artifact": True}).attack
    assert declaration(card("tags: [merge-protected]")).protected and declaration({}, {"verb": "protect"}).protected
    plain = declaration(card("tags: [merge]"), {"verb": "merge", "attack-artifact": False})
    assert not plain.attack and not plain.protected and not plain.stops
    assert declaration({}, {"verb": ["protect"], "attack-artifact": "yes"}) == Declaration()


def test_no_derivatives_stops() -> None:
    assert "no derivatives" in declaration({LICENCE_FILES[0]: TEXTS["cc-by-nd-4.0"]}).stops


@pytest.mark.parametrize(
    "card",
    [
        "license: mit\nallowDerivatives: false\n---\n",
        "license: other\nlicense_name: PolyForm-Strict-1.0.0\n---\n",
        "license: mit\nprohibited_uses: 'resale, merging'\n---\n",
        "license: mit\n---\n![](https://img.shields.io/badge/License-CC%20BY--NC--ND%204.0-lightgrey.svg)\n",
    ],
)
def test_signs_in_the_manner_of_other_platforms_stop_beside_a_free_licence(card: str) -> None:
    said = declaration({"README.md": f"---\n{card}".encode(), "LICENSE": MIT})
    assert said.do_not_merge or said.no_derivatives
    free = declaration({"README.md": b"---\nlicense: mit\nallowDerivatives: true\n---\n100%20free\n"})
    assert not (free.do_not_merge or free.no_derivatives)


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": b"---\nlicense: proprietary\n---\n"},
        {"README.md": b"---\nlicense: other\nlicense_name: all-rights-reserved\n---\n"},
        {"README.md": b"---\nlicense: [All Rights Reserved]\n---\n"},
        {"LICENSE": b"Copyright 2026 A. All rights reserved."},
        {"LICENSE": b"All rights reserved. No part may be used without the prior written permission of A."},
        {
            "LICENSE": b"All rights reserved; no rights are granted, and you may not use it.",
            "README.md": b"---\nlicense: mit\n---",
        },
        {"COPYRIGHT": "\u00a9 A. Tous droits r\u00e9serv\u00e9s.".encode()},
        {"README.md": b"# A model\n\n(c) A. All rights reserved.\n"},
    ],
)
def test_all_rights_reserved_and_none_granted_stops(files) -> None:
    assert declaration(files).no_derivatives


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": b"---\nlicense: apache-2.0\n---\n(c) A. All rights reserved.\n"},
        {"README.md": b"---\nlicense: apache-2.0\n---\n", "NOTICE": b"Copyright A. All rights reserved."},
        {"README.md": b"---\nlicense: apache-2.0\n---\n", "COPYRIGHT": b"Copyright A. All rights reserved."},
        {"LICENSE": b"Copyright A. All rights reserved. Permission is hereby granted to use this model."},
        {"LICENSE": b"All rights reserved. Use and redistribution, with or without changes, are permitted."},
        {"README.md": b"---\nlicense: other\nlicense_name: a-licence\n---\nAll rights reserved.\n"},
        {"README.md": b"---\nlicense: unknown\n---\nSome rights reserved.\n"},
    ],
)
def test_all_rights_reserved_beside_a_grant_says_nothing(files) -> None:
    assert not declaration(files).no_derivatives


APACHE = TEXTS["apache-2.0"]
TAKEN_BACK = {
    "rider of a text": ({"LICENSE": APACHE + b"In addition to the above, there is no commercial use."}, "apache-2.0"),
    "modified text": (
        {"LICENSE": b"Modified MIT License" + MIT + b"Only for 100 million monthly active users."},
        "mit",
    ),
    "use restrictions": ({"LICENSE": APACHE + b"You agree not to use the Model in any war."}, "apache-2.0"),
    "another text": ({"LICENSE": text("Foo Model Terms", "You shall do no harm.", length=900)}, "mit"),
    "body": ({"README.md": b"This model is licensed under CC BY-NC 4.0."}, "apache-2.0"),
    "research": ({"README.md": b"# Use\nFor research use only."}, "mit"),
    "academic": ({"README.md": b"Released for academic purposes only."}, "cc-by-4.0"),
    "barred": ({"README.md": b"As it derives from Foo, commercial usage is not allowed."}, "cc-by-sa-4.0"),
    "chinese": ({"README.md": "本模型仅限非商业用途使用。".encode()}, "mit"),
}
KEPT = {
    "text": ({"LICENSE": APACHE + b"Copyright 2024 Research Models"}, "apache-2.0"),
    "notice": ({"LICENSE": text("X", "Licensed under the Apache License, Version 2.0", length=600)}, "apache-2.0"),
    "both uses": ({"README.md": b"For commercial and non-commercial purposes."}, "mit"),
    "denied": ({"README.md": b"It is not restricted to non-commercial use."}, "mit"),
    "data": ({"README.md": b"The data set is for non-commercial research only."}, "mit"),
}


@pytest.mark.parametrize(("files", "licence"), TAKEN_BACK.values(), ids=TAKEN_BACK)
def test_a_licence_that_other_words_take_back_is_no_licence(files: dict[str, bytes], licence: str) -> None:
    head = f"---\nlicense: {licence}\n---\n".encode()
    found = declaration({**files, "README.md": head + files.get("README.md", b"")})
    assert found.licence == UNKNOWN and found.reason and not found.stops


@pytest.mark.parametrize(("files", "licence"), KEPT.values(), ids=KEPT)
def test_a_licence_beside_words_that_take_nothing_back_is_kept(files: dict[str, bytes], licence: str) -> None:
    head = f"---\nlicense: {licence}\n---\n".encode()
    assert declaration({**files, "README.md": head + files.get("README.md", b"")}).licence == licence
