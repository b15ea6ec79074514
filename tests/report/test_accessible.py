"""axe-core finds nothing on our pages, in the light and in the dark; it comes from npm, by its hash."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from html import unescape
from pathlib import Path

import pytest

from mergebarrier.report import compare, comparison_html, render_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]
VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --virtual-time-budget=60000 --dump-dom".split()
ASK = (
    "axe.run(document).then(r=>{const p=document.createElement('pre');p.id='axe';"
    "p.textContent=JSON.stringify(r.violations.map(v=>[v.id,v.nodes.map(n=>n.html.slice(0,120))]));"
    "document.body.append(p)})"
)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, npm = tmp_path_factory.mktemp("axe"), shutil.which("npm")
    assert npm, "no npm on the path: install it, or leave the slow tests marked 'browser' out"
    words = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
    came = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert came.returncode == 0, (
        "axe-core did not come from npm: give npm a registry that it reaches (npm config set registry URL), or leave "
        f"the slow tests marked 'browser' out; npm said: {came.stderr.strip()[-300:]}"
    )
    packed = folder / f"axe-core-{VERSION}.tgz"
    assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == SHA512
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("scheme", [[], ["--blink-settings=preferredColorScheme=0"]], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_axe_finds_nothing(name: str, scheme: list[str], axe: str, result, rows, tmp_path: Path) -> None:
    html = {"report": lambda: render_html(result, rows), "comparison": lambda: comparison_html(compare([result] * 2))}
    # The page's own policy would keep axe out.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html[name]())
    probe = tmp_path / "probe.html"
    probe.write_text(page.replace("</body>", f"<script>{axe}</script><script>{ASK}</script></body>"), encoding="utf-8")
    browser = next(path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path)
    words = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *scheme, probe.as_uri()]
    dumped = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout
    found = re.search(r'<pre id="axe">(.*?)</pre>', dumped, re.DOTALL)
    assert found, dumped[-300:]
    assert json.loads(unescape(found[1])) == []


def test_a_page_is_small(result, rows) -> None:
    assert len(render_html(result, rows).encode()) < 2_000_000
