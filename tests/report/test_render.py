"""A real browser draws the page: at phone width and in the dark, without a word cut off or a request sent."""

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from mergebarrier.report import render_html

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
DARK = "--blink-settings=preferredColorScheme=0"


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    assert found, "no chromium on the path: apt-get install chromium, or leave the tests marked 'browser' out"
    return found


@pytest.fixture
def page(result, rows, tmp_path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render_html(result, rows), encoding="utf-8")
    return path


def _run(browser: str, page: Path, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    profile = tmp_path / "profile"
    words = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)


def _pixels(path: Path) -> list[bytes]:
    """Decode the rows of an 8-bit PNG (RGB or RGBA) as the browser writes it."""
    data = path.read_bytes()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8 and kind in (2, 6)
    step, at, packed = (3 if kind == 2 else 4), 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        packed += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    raw, before, rows = zlib.decompress(packed), bytearray(width * step), []
    for y in range(height):
        method, line = raw[y * (width * step + 1)], bytearray(raw[y * (width * step + 1) + 1 :][: width * step])
        for i in range(width * step):
            left, up = (line[i - step] if i >= step else 0), before[i]
            corner = before[i - step] if i >= step else 0
            guess = left + up - corner
            near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            line[i] = (line[i] + (0, left, up, (left + up) // 2, near)[method]) % 256
        rows.append(bytes(line))
        before = line
    return rows


@pytest.mark.parametrize(("scheme", "flags", "dark"), [("light", (), False), ("dark", (DARK,), True)])
def test_the_page_follows_the_colour_scheme(browser, page, tmp_path, scheme, flags, dark: bool) -> None:
    picture = tmp_path / f"{scheme}.png"
    _run(browser, page, tmp_path, *flags, "--window-size=500,300", f"--screenshot={picture}")
    corner = _pixels(picture)[2][:3]
    assert (max(corner) < 64) if dark else (min(corner) > 224), tuple(corner)


def test_nothing_is_wider_than_a_phone(browser, page, tmp_path) -> None:
    """The probe frames the page and writes its overflow into the title."""
    probe = tmp_path / "probe.html"
    measure = (
        "const d=f.contentDocument.documentElement;document.title=d.scrollWidth+'/'+d.clientWidth+'/'+d.scrollHeight"
    )
    probe.write_text(
        f'<!doctype html><title>-</title><iframe id="f" src="report.html" width="360" height="700" onload="{measure}">'
        "</iframe>"
    )
    dumped = _run(browser, probe, tmp_path, "--allow-file-access-from-files", "--disable-web-security", "--dump-dom")
    found = re.search(r"<title>(\d+)/(\d+)/(\d+)</title>", dumped.stdout)
    assert found, dumped.stdout[:300]
    needed, given, height = map(int, found.groups())
    assert needed <= given, f"the page needs {needed} pixels and a phone has {given}"
    assert height > 2000


def test_tables_sort_by_press_and_by_key_and_say_so(browser, page, tmp_path) -> None:
    """The probe frames the page, presses the second head of the merges twice, and prints what it then reads."""
    read = (
        "const t=f.contentDocument.querySelector('table.heat'),b=t.tHead.rows[0].cells[1].querySelector('button');"
        "const see=()=>t.tHead.rows[0].cells[1].getAttribute('aria-sort')+':'+[...t.tBodies[0].rows].map(r=>"
        "Math.min(...[...r.cells[1].querySelectorAll('.pair b')].map(x=>+x.textContent))).join();"
        "b.focus();const k=f.contentDocument.activeElement===b;b.click();const up=see();b.click();"
        "document.title=[k,up,see()].join(';')"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(f'<!doctype html><title>-</title><iframe id="f" src="report.html" onload="{read}"></iframe>')
    dumped = _run(browser, probe, tmp_path, "--allow-file-access-from-files", "--disable-web-security", "--dump-dom")
    found = re.search(r"<title>true;ascending:([^;]*);descending:([^<]*)</title>", dumped.stdout)
    assert found, dumped.stdout[:300]
    up, down = ([float(one) for one in side.split(",") if one != "Infinity"] for side in found.groups())
    assert len(up) > 3 and up == sorted(up) and down == sorted(up, reverse=True)


def test_the_policy_lets_the_style_in_and_the_browser_complains_of_nothing(browser, page, tmp_path) -> None:
    ran = _run(browser, page, tmp_path, "--enable-logging=stderr", "--dump-dom")
    assert "Content Security Policy" not in ran.stderr and "Refused to" not in ran.stderr
    assert "Grade" in ran.stdout
