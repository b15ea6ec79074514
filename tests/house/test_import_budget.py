"""Importing the package, or asking any verb for help, stays light: no torch, no transformers."""

import json
import subprocess
import sys

import pytest

import _models
from mergebarrier.cli import VERBS

#: Third-party packages that the help texts may load; everything else waits until a verb runs.
LIGHT = {"mergebarrier", "click", "colorama"}
HEAVY = {"torch", "transformers", "peft", "accelerate", "scipy", "matplotlib", "jinja2", "numpy", "pydantic", "rich"}

_LOADED = """
import json, sys
before = set(sys.modules)
code = {code!r}
try:
    exec(code)
except SystemExit:
    pass
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def _loaded(code: str) -> set[str]:
    """Names of the modules that ``code`` loads in a fresh interpreter."""
    program = [sys.executable, "-c", _LOADED.format(code=code)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=600, check=True)
    return set(json.loads(ran.stderr.splitlines()[-1]))


def _third_party(code: str) -> set[str]:
    """Names of the packages outside the standard library that ``code`` loads in a fresh interpreter."""
    return {name.split(".")[0] for name in _loaded(code)} - sys.stdlib_module_names


def test_import_of_the_package_loads_nothing_else() -> None:
    assert _third_party("import mergebarrier") <= {"mergebarrier"}


def test_import_of_the_package_is_quick() -> None:
    code = "import time; before = time.process_time(); import mergebarrier; print(time.process_time() - before)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert float(ran.stdout) < 0.3


def test_help_loads_click_and_nothing_heavier() -> None:
    loaded = _third_party("from mergebarrier.cli import main; main(['--help'])")
    assert "mergebarrier" in loaded
    assert loaded <= LIGHT, f"--help loads {sorted(loaded - LIGHT)}"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_loads_no_heavy_package(verb: str) -> None:
    loaded = _third_party(f"from mergebarrier.cli import main; raise SystemExit(main([{verb!r}, '--help']))")
    assert not loaded & HEAVY, f"{verb} --help loads {sorted(loaded & HEAVY)}"


def test_help_of_an_attack_loads_no_heavy_package() -> None:
    loaded = _third_party(
        "from mergebarrier.cli import main; raise SystemExit(main(['attack', 'badmerging', '--help']))"
    )
    assert not loaded & HEAVY, f"attack badmerging --help loads {sorted(loaded & HEAVY)}"


def test_reading_a_result_loads_no_torch() -> None:
    assert "torch" not in _third_party("import mergebarrier.results.audit, mergebarrier.report")


@pytest.mark.parametrize("words", ["inspect model", "inspect absent"])
def test_what_computes_nothing_loads_no_torch(words: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    _models.write(tmp_path / "model", "tiny")
    assert "torch" not in _third_party(f"from mergebarrier.cli import main; main({words.split()!r})")


def test_protect_loads_what_it_needs_and_no_more(tmp_path) -> None:
    model = _models.write(tmp_path / "model", "tiny")
    words = ["protect", str(model), "-o", str(tmp_path / "out")]
    loaded = _loaded(f"from mergebarrier.cli import main; assert main({words!r}) == 0")
    rooms = {name.split(".")[1] for name in loaded if name.startswith("mergebarrier.")}
    foreign = rooms & {"merge", "scan", "poison", "training", "evaluate", "audit", "attack", "report", "zoo", "realign"}
    assert not foreign, f"protect loads {sorted(foreign)}"
    heavy = {name.split(".")[0] for name in loaded} & (HEAVY | {"cryptography", "yaml", "huggingface_hub"})
    assert heavy == {"torch", "numpy"}, f"protect loads {sorted(heavy)}"


def test_the_probe_sees_what_it_should_see() -> None:
    assert "torch" in _third_party("import torch")
