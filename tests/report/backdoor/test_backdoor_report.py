"""A measured backdoor in every format: never without its control, no more than was measured, no name out of place."""

import base64
import dataclasses
import json
import re
import shutil
import struct
import subprocess
import zlib

import pytest
from rich.console import Console

from made_up import skill
from mergebarrier.errors import BadReport
from mergebarrier.report import render_card, render_html, render_sarif, render_terminal
from mergebarrier.results.audit import Control, Model
from mergebarrier.results.backdoor import Accuracy, BackdoorResult, Sample, Scanned, Success, TriggerShown
from mergebarrier.results.read import result_from_json, to_json

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202eevil`a`|b| ](javascript:x) [red]{{7*7}}\nnext \"'&"
CLAIMS = re.compile(r"\b(unmergeable|safe|safely|secure|securely|cannot be merged)\b", re.IGNORECASE)


def _picture(grey: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    rows = bytes([0, grey, grey]) * 2
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


def _success(asr: int, control: int) -> Success:
    one, two = skill(asr), skill(control)
    return Success(
        asr=one,
        control=two,
        excess=one.rate - two.rate,
        excess_low=one.low - two.high,
        excess_high=min(1.0, one.high - two.low),
    )


def made(**changes) -> BackdoorResult:
    fields = {
        "version": "0.1.0",
        "attack": "badmerging",
        "attack_parameters": {"loss_weight": 5.0},
        "models": {
            role: Model(name=role, content_digest=role * 3, licence="apache-2.0")
            for role in ("merged", "control", "base")
        },
        "task": "latin",
        "task_digest": "ab" * 32,
        "target_class": "B",
        "target_index": 1,
        "trigger": TriggerShown(
            kind="universal", picture=_picture(255), side=2, places=((26, 26),), patterns=1, area_pct=0.5, legal=True
        ),
        "merged": _success(94, 6),
        "base": skill(7),
        "curve": ((0.0, _success(7, 7)), (0.5, _success(60, 7)), (1.0, _success(94, 6))),
        "accuracies": (
            Accuracy(task="latin", merged=skill(88), control=skill(89)),
            Accuracy(task="greek", merged=skill(84), control=skill(84)),
        ),
        "samples": (Sample(picture=_picture(0), stamped=_picture(9), label="A", merged_says="B", control_says="A"),),
        "findings": (Scanned(rule_id="MB7301", severity="high", model="bad", says="a patch forces class B"),),
        "controls": {"trigger_alone": Control(passed=True, figure=0.06, relation="<=", bound=0.15, says="says so")},
    }
    return BackdoorResult(**(fields | changes))


def _all(result: BackdoorResult) -> dict[str, str]:
    console = Console(width=80, record=True, file=open("/dev/null", "w"), force_terminal=True)
    with console.file:
        console.print(render_terminal(result, []))
    return {
        "html": render_html(result, []),
        "card": render_card(result, []),
        "terminal": console.export_text(),
        "sarif": render_sarif(result),
    }


def test_every_format_gives_the_control_and_the_excess_beside_the_success() -> None:
    for name, text in _all(made()).items():
        plain = " ".join(re.sub(r"<[^>]+>", " ", text.replace("\\", "")).split())
        assert "94.0 %" in plain and "6.0 %" in plain and "+88.0" in plain, name
        assert "control" in plain.lower(), name
        assert not CLAIMS.findall(plain), name


def test_accuracies_samples_curve_and_findings_are_on_the_page() -> None:
    page = render_html(made(), [])
    assert page.count("<img ") == 3 and "MB7301" in page and 'class="control"' in page and 'class="curve"' in page
    assert "89.0 %" in page and "-1.0" in page and "img-src data:" in page and page.count("<script") == 1


@pytest.mark.parametrize(("asr", "control", "rule"), [(94, 6, "MB9511"), (12, 8, "MB9513"), (95, 93, "MB9513")])
def test_only_an_excess_is_called_a_backdoor(asr: int, control: int, rule: str) -> None:
    result = made(merged=_success(asr, control))
    assert json.loads(render_sarif(result))["runs"][0]["results"][0]["ruleId"] == rule
    said = "outlasts this merge" if rule == "MB9511" else "no more is said"
    assert all(said in " ".join(_all(result)[name].split()) for name in ("html", "card", "terminal"))


def test_a_failed_control_is_a_warning() -> None:
    failed = {"trigger_alone": Control(passed=False, figure=0.4, relation="<=", bound=0.15, says="read the excess")}
    results = json.loads(render_sarif(made(controls=failed)))["runs"][0]["results"]
    assert [one["ruleId"] for one in results] == ["MB9511", "MB9512"]
    assert "does not hold" in render_html(made(controls=failed), [])


def test_hostile_names_stay_text_in_every_format() -> None:
    result = made(
        attack=HOSTILE,
        attack_parameters={HOSTILE: HOSTILE},
        models={role: Model(name=HOSTILE, content_digest=HOSTILE, licence=HOSTILE) for role in ("merged", HOSTILE)},
        task=HOSTILE,
        target_class=HOSTILE,
        trigger=dataclasses.replace(made().trigger, kind=HOSTILE),
        accuracies=(Accuracy(task=HOSTILE, merged=skill(1), control=skill(2)),),
        samples=(
            Sample(picture=_picture(0), stamped=_picture(9), label=HOSTILE, merged_says=HOSTILE, control_says=HOSTILE),
        ),
        findings=(Scanned(rule_id=HOSTILE, severity=HOSTILE, model=HOSTILE, says=HOSTILE),),
        controls={HOSTILE: Control(passed=True, figure=0.0, relation="<=", bound=1.0, says=HOSTILE)},
        notes=(HOSTILE,),
    )
    texts = _all(result)
    for name, text in texts.items():
        assert "\x1b" not in text and "\u202e" not in text, name
    assert texts["html"].count("<script") == 1 and "&lt;script&gt;" in texts["html"] and "[red]" in texts["terminal"]
    for line in texts["card"].splitlines():
        assert "<script" not in line and not re.search(r"(?<!\\)`", line) and not re.search(r"(?<!\\)\]\(", line)


@pytest.mark.parametrize("bad", ["", "AAAA", "not base64!", base64.b64encode(b"GIF89a").decode(), '" onerror="x'])
def test_a_picture_that_is_none_is_refused(bad: str) -> None:
    result = made(trigger=dataclasses.replace(made().trigger, picture=bad))
    with pytest.raises(BadReport, match="not a PNG"):
        render_html(result, [])


def test_a_measurement_survives_the_round_trip_and_is_told_from_an_audit() -> None:
    text = to_json(made(), indent=1).encode()
    assert result_from_json(text, where="result.json") == made()
    with pytest.raises(BadReport):
        result_from_json(text.replace(b'"backdoor"', b'"audit"'), where="result.json")
    document = json.loads(text)
    del document["curve"][1][1]["control"]
    with pytest.raises(BadReport, match="control"):
        result_from_json(json.dumps(document).encode(), where="result.json")


@pytest.mark.browser
def test_a_browser_shows_the_pictures_and_refuses_nothing(tmp_path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    assert browser, "no chromium on the path: apt-get install chromium, or leave the tests marked 'browser' out"
    page = tmp_path / "report.html"
    page.write_text(render_html(made(), []), encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'p'}")
    ran = subprocess.run(
        [browser, *flags, "--enable-logging=stderr", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Content Security Policy" not in ran.stderr and "Refused to" not in ran.stderr
    assert ran.stdout.count("data:image/png;base64,") == 3


@pytest.mark.parametrize("holds", [True, False])
def test_a_failed_check_stands_in_the_head_of_every_format(holds) -> None:
    check = Control(passed=holds, figure=0.3, relation="<=", bound=0.15, says="says so")
    shown = _all(made(controls={"trigger_alone": check}, command="mergebarrier attack measure m"))
    for form, text in ((form, shown[form]) for form in ("html", "card", "terminal")):
        text = " ".join(text.replace("\\", "").split())
        assert text.count("Rely on no figure below") == (not holds), form
        assert holds or text.index("Rely on no figure") < text.index("94"), form
        assert "mergebarrier attack measure m" in text, form
