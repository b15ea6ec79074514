"""Every format says the same, hides nothing, and lets no name out of its place."""

import dataclasses
import html.parser
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from made_up import cell, made_up_result
from mergebarrier.audit.ladder import LEVELS
from mergebarrier.errors import BadReport
from mergebarrier.report import render_card, render_html, render_sarif, render_terminal
from mergebarrier.report.view import view
from mergebarrier.report.wording import merge_name
from mergebarrier.results.audit import Line, Model
from mergebarrier.results.read import result_from_json, to_json

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202eevil`a`|b| ](javascript:x) [red]{{7*7}}\nnext \"'&"
CLAIMS = re.compile(r"\b(unmergeable|safe|safely|secure|securely|cannot be merged)\b", re.IGNORECASE)


def _terminal(result, rows, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), force_terminal=True)
    with console.file:
        console.print(render_terminal(result, rows))
    return console.export_text()


def _all(result, rows) -> dict[str, str]:
    return {
        "html": render_html(result, rows),
        "card": render_card(result, rows),
        "terminal": _terminal(result, rows),
    }


class _Page(html.parser.HTMLParser):
    """Tags, attributes and shown text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.shown: list[str] = []
        self._silent = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._silent = tag if tag in ("style", "title") else ""

    def handle_endtag(self, tag: str) -> None:
        self._silent = ""

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())


def test_every_format_shows_the_attack_beside_the_success(result, rows) -> None:
    for name, text in _all(result, rows).items():
        plain = " ".join((_Page(text).text if name == "html" else text.replace("\\", "")).split())
        answers = ("By itself it keeps", "Stock merging recovers", "The best attacker recovers", "Breaking it took")
        for said in (*answers, "not cryptographic", "RUF 1.00"):
            assert said in plain.replace("*", ""), (name, said)
        assert "0 %" in plain and "100 %" in plain


def test_success_and_attack_are_set_in_the_same_type(result, rows) -> None:
    page = _Page(render_html(result, rows))
    figures = [attributes for tag, attributes in page.tags if attributes.get("class") == "figure" and tag == "p"]
    statements = [attributes["class"] for tag, attributes in page.tags if "statement" in attributes.get("class", "")]
    assert len(figures) == 4 and len(statements) == 4
    assert {re.sub(r" t\d+", "", name) for name in statements} == {"statement"}


def test_every_test_cell_of_the_result_is_in_the_heat_table(result, rows) -> None:
    text = render_html(result, rows)
    shown = re.findall(r'<b class="t(\d+)">(\d\.\d\d)</b><b class="t(\d+)">(\d\.\d\d)</b>', text)
    wanted = sorted((f"{row.skill_protected.rate:.2f}", f"{row.skill_partner.rate:.2f}") for row in rows)
    assert sorted((ours, theirs) for _, ours, _, theirs in shown) == wanted
    assert all(int(tint) == round(10 * float(rate)) for *pair, _, _ in shown for tint, rate in [pair])


def test_validation_cells_are_not_shown(result, rows) -> None:
    extra = cell("protected", "slerp", {"coefficient": 0.123}, 99, 99, split="validation")
    assert render_html(result, [*rows, extra]) == render_html(result, rows)


def test_what_the_report_does_not_know_stands_under_its_own_name(result, rows) -> None:
    """A level, an attack, a control and a state that no word of the report is about: none of them is left out."""
    level = dataclasses.replace(result.levels[2], level=7, name="odd-name", attack="odd-attack", state="odd-state")
    line = Line(barrier=3.21, curve=result.barrier.curve)
    extra = dataclasses.replace(result.extras[0], name="odd-extra", attack="odd-aside")
    odd = dataclasses.replace(
        result,
        levels=(*result.levels, level),
        extras=(extra,),
        barrier=dataclasses.replace(result.barrier, further={"odd-line": line}),
        controls={"odd-check": dataclasses.replace(result.controls["two_keys"], passed=False)},
    )
    found = _all(odd, [*rows, cell("odd-state", "ties", {"coefficient": 1.0}, 77, 78)])
    names = ("odd-name", "odd-attack", "odd-state", "odd-extra", "odd-aside", "odd-check")
    for name, text in {**found, "sarif": render_sarif(odd)}.items():
        shown = "".join(text.replace("\\", "").split())
        assert not [one for one in names if one not in shown], name
    for name in ("html", "terminal"):
        assert "3.21" in found[name] and "odd-line" in "".join(found[name].split()), name
    assert "77</b>" in found["html"] and "0.77 / 0.78" in found["card"].replace("\\", "")


def test_the_page_draws_eleven_points_before_and_after_realignment(result, rows) -> None:
    page = _Page(render_html(result, rows))
    lines = [attributes["points"].split() for tag, attributes in page.tags if tag == "polyline"]
    assert [len(points) for points in lines] == [11, 11, 11, 11]
    heights = [min(float(point.split(",")[1]) for point in points) for points in lines]
    assert heights[1] < heights[3], "the naive barrier is the higher curve (a smaller y)"


def test_without_level_2_the_page_says_that_it_was_not_run(result, rows) -> None:
    barrier = dataclasses.replace(result.barrier, realigned=None, curve_realigned=())
    changes = {"levels": result.levels[:2], "extras": (), "barrier": barrier, "ruf_max": 0.0}
    short = dataclasses.replace(result, **changes, grade_level=None, grade_final=False)
    for text in _all(short, rows).values():
        plain = " ".join(text.split())
        assert "at least" in plain and "was not run" in plain
        assert "measured: RUF" not in plain


def test_the_page_takes_nothing_from_outside_and_runs_its_own_script_alone(result, rows) -> None:
    page = _Page(render_html(result, rows))
    assert [tag for tag, _ in page.tags].count("script") == 1  # ours, which the policy names by its hash
    assert not {tag for tag, _ in page.tags} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "a",
    }
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "style", "srcset")]
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert "url(" not in render_html(result, rows) and "@import" not in render_html(result, rows)


def _hostile():
    result = made_up_result(
        method=HOSTILE,
        method_parameters={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        models={role: Model(name=HOSTILE, content_digest=HOSTILE, licence=HOSTILE) for role in ("protected", HOSTILE)},
    )
    levels = tuple(dataclasses.replace(level, name=HOSTILE, attack=HOSTILE) for level in result.levels)
    controls = {HOSTILE: dataclasses.replace(result.controls["two_keys"], says=HOSTILE)}
    return dataclasses.replace(result, levels=levels, controls=controls)


def test_hostile_names_stay_text_in_every_format(rows) -> None:
    strange = [*rows, cell("protected", HOSTILE, {HOSTILE: 0.5}, 1, 1)]
    texts = _all(_hostile(), strange)
    for name, text in texts.items():
        assert "\x1b" not in text and "\u202e" not in text, name
    tags = [tag for tag, _ in _Page(texts["html"]).tags]
    assert tags.count("script") == 1 and "red" not in tags
    assert "&lt;script&gt;" in texts["html"] and "49" not in re.findall(r"evil.{0,60}", texts["html"])[0]
    assert "[red]" in texts["terminal"]
    for line in texts["card"].splitlines():
        assert "<script" not in line and not re.search(r"(?<!\\)`", line) and not re.search(r"(?<!\\)\]\(", line)
    assert "javascript" in texts["card"]


def test_a_hostile_name_adds_no_cell_to_a_table_of_the_card(rows) -> None:
    tables = [line for line in render_card(_hostile(), rows).splitlines() if line.startswith("|")]
    plain = [line for line in render_card(made_up_result(), rows).splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in tables] == [
        len(re.findall(r"(?<!\\)\|", line)) for line in plain
    ]


def test_no_format_claims_more_than_a_measurement_can_carry(result, rows) -> None:
    for text in _all(result, rows).values():
        assert not CLAIMS.findall(text)


def test_the_same_result_gives_the_same_bytes(result, rows) -> None:
    assert _all(result, rows) == _all(made_up_result(), rows)


def test_the_terminal_table_fits_into_80_columns(result, rows) -> None:
    assert max(len(line) for line in _terminal(result, rows).splitlines()) <= 80


def test_the_summary_has_the_shape_of_the_contract(result) -> None:
    document = dataclasses.asdict(result)
    assert document["schema_version"] == 2 and document["kind"] == "audit"
    assert {"original", "protected", "max_rel_logit_error", "kl_nats", "top1_agreement"} <= document[
        "standalone"
    ].keys()
    assert {"skill", "perplexity"} <= document["standalone"]["original"].keys()
    assert {"level", "attack", "best", "ruf", "flops", "tokens", "seconds"} <= document["levels"][0].keys()
    assert {"merge", "coefficients", "skill_protected", "skill_partner"} <= document["levels"][0]["best"].keys()
    assert {"naive", "realigned", "curve"} <= document["barrier"].keys()
    assert {"ruf_max", "grade", "controls"} <= document.keys()


def test_a_result_survives_the_round_trip(result) -> None:
    assert result_from_json(to_json(result, indent=1).encode(), where="result.json") == result


@pytest.mark.parametrize(("find", "put"), [('"grade": "C"', '"grade": "E"'), ('"ruf_max"', '"ruf"'), ("{", "[")])
def test_a_damaged_result_is_refused(result, find: str, put: str) -> None:
    with pytest.raises(BadReport, match=re.escape("result.json")):
        result_from_json(to_json(result).replace(find, put, 1).encode(), where="result.json")


def test_an_oversized_result_is_refused_unread() -> None:
    with pytest.raises(BadReport, match="bytes"):
        result_from_json(b" " * (16 * 2**20 + 1), where="result.json")


def test_sarif_has_one_result_per_level_and_per_failed_control():
    result = made_up_result()
    document = json.loads(render_sarif(result))
    run = document["runs"][0]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    found = [(item["ruleId"], item["level"]) for item in run["results"]]
    assert document["version"] == "2.1.0" and {rule for rule, _ in found} <= rules
    broken = sum(level.ruf >= 0.9 for level in result.levels)
    assert found.count(("MB9501", "error")) == broken > 0
    assert found.count(("MB9503", "note")) == len(result.levels) - broken
    assert found.count(("MB9502", "warning")) == sum(not control.passed for control in result.controls.values())
    digest = result.models["protected"].content_digest
    assert all(item["fingerprints"]["contentDigest/v1"] == digest for item in run["results"])


@pytest.mark.parametrize("holds", [True, False])
def test_a_failed_check_stands_in_the_head_of_every_format(holds, result, rows) -> None:
    controls = {name: dataclasses.replace(check, passed=holds) for name, check in result.controls.items()}
    for form, text in _all(dataclasses.replace(result, controls=controls), rows).items():
        text = _Page(text).text if form == "html" else " ".join(text.split())
        assert text.count("Rely on no figure below") == (not holds), form
        assert holds or text.index("Rely on no figure") < text.index("Falls at level"), form


def test_every_format_says_how_to_make_it_again(result, rows) -> None:
    made = dataclasses.replace(result, command="mergebarrier audit ours --base b\x1b[2J --seed 3")
    for form, text in _all(made, rows).items():
        text = _Page(text).text if form == "html" else " ".join(text.split()).replace("\\", "")
        assert "To make it again: mergebarrier audit ours --base b" in text and "\x1b" not in text, form
        assert "--seed 3" in text


def test_the_price_is_that_of_the_cheapest_attack_that_breaks_it_or_of_none(result, rows) -> None:
    dear = replace(result.levels[-1], level=3, flops=10 * result.levels[-1].flops, attack="something dear")
    broken = replace(result, levels=(*result.levels, dear))
    held = replace(result, levels=tuple(replace(level, ruf=0.1) for level in result.levels))
    shown = {name: view(one, rows) for name, one in (("broken", broken), ("held", held))}
    assert result.levels[-1].attack in shown["broken"].price and "something dear" not in shown["broken"].price
    assert shown["held"].price_figure == "not broken" and "Full distillation" in shown["held"].price


def test_who_needs_more_than_another_who_undoes_it_is_not_named(result, rows) -> None:
    realign = result.levels[-1]
    said = {"the public base, and rows": replace(realign, level=4, needs="the public base, and rows"),
            "a friend inside": replace(realign, level=5, needs="a friend inside")}  # fmt: skip
    broken = render_card(replace(result, levels=(*result.levels, *said.values())), rows)
    held = replace(result, levels=(*result.levels[:-1], replace(realign, ruf=0.2), *said.values()))
    assert "with the public base can" in broken and "and rows can" not in broken and "a friend inside can" in broken
    assert "with the public base can" in render_card(held, rows) and "and rows can" in render_card(held, rows)


def test_every_attack_of_the_ladder_has_a_name_for_people() -> None:
    tuners = [tuner.name for level in LEVELS.values() for tuner in level.tuners]
    assert not [name for name in tuners if name != "grid" and merge_name(name) == name] and "recover-100" in tuners
    assert merge_name("recover-100") == "Fine-tuned on 100 rows" and merge_name("recover-x") == "recover-x"
